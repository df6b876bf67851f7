"""From files and weights to encoders that are ready to embed crops."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tclr.pipeline.encoder.devices import has_gpu
from tclr.pipeline.encoder.info import EncoderInfo
from tclr.pipeline.encoder.lite_encoder import ARCH, LiteEncoder
from tclr.pipeline.encoder.loaded import LoadedEncoder
from tclr.pipeline.encoder.weights import ENCODER_INSIDE, has_embedding_layer, read_weights, require_arch, take_inside
from tclr.schemas.errors import ModelError

if TYPE_CHECKING:
    import torch


def _require_embedding_layer(weights: Mapping[str, np.ndarray], where: str) -> None:
    if not has_embedding_layer(weights):
        raise ModelError(
            f"Expected an encoder with the layer 'fc1', but found none in {where}: its embeddings were never trained. "
            "Give such weights to 'tclr pretrain --init'."
        )


def load_encoder(
    source: str | Path,
    *,
    device: torch.device | None = None,
    seed: int = 0,
    image_size: int = 224,
    embedding_dim: int = 256,
) -> LoadedEncoder:
    """Load an encoder of any architecture, by default on the GPU if there is one.

    On a CPU, LiteRT runs one of architecture ``facemesh`` such as the bundled one, and PyTorch is not loaded.

    Parameters
    ----------
    source : str or Path
        A ``.safetensors`` file, a run folder of ``tclr pretrain`` or its checkpoint.pt, a ``.pt`` checkpoint with
        the paper's names, ``random`` for an untrained ResNet-18, or ``random:ARCH`` for another architecture.
    seed : int
        Seed of ``random``.
    image_size, embedding_dim : int
        For ``random`` and files without this information.

    Raises
    ------
    ModelError
        If the file is missing, does not fit, or has no trained embedding layer.

    Examples
    --------
    >>> load_encoder("encoder.safetensors").info.arch
    'mobilenet_v2'
    >>> load_encoder("random", image_size=64).embed(np.zeros((2, 96, 96, 3), np.uint8)).shape
    (2, 256)
    """
    info = EncoderInfo(embedding_dim=embedding_dim, image_size=image_size, seed=seed)
    kind, _, arch = str(source).partition(":")
    if kind == "random":
        from tclr.pipeline.encoder.torch_encoder import untrained_encoder

        return untrained_encoder(replace(info, arch=arch or info.arch), device=device)
    weights, stored = read_weights(source)
    _require_embedding_layer(weights, str(source))
    info = stored or replace(info, arch=require_arch(weights, str(source)), recipe=Path(source).name)
    return open_encoder(weights, info, str(source), device)


def _check_numbers(weights: Mapping[str, np.ndarray], where: str) -> None:
    """Raise for weights that would turn every embedding into NaN; others that do not fit are refused later."""
    for name, values in weights.items():
        if values.dtype.kind not in "fV":
            continue
        with np.errstate(over="ignore"):
            numbers = values.astype(np.float32)
        if not np.isfinite(numbers).all() or (name.endswith("running_var") and (numbers < 0).any()):
            raise ModelError(
                f"Expected finite numbers, and no negative variance, but got others for {name!r} in {where}. The file "
                "is damaged, or its training diverged: give another."
            )


def open_encoder(
    weights: Mapping[str, np.ndarray], info: EncoderInfo, where: str, device: torch.device | None = None
) -> LoadedEncoder:
    """Return the encoder with these weights, under tclr's names, by default on the GPU if there is one.

    Raises
    ------
    ModelError
        If they do not fit; the message says that they are in ``where``.

    Examples
    --------
    >>> encoder = load_encoder("encoder.safetensors")
    >>> open_encoder(encoder.weights(), encoder.info, "memory").digest == encoder.digest
    True
    """
    _check_numbers(weights, where)
    on_cpu = not has_gpu() if device is None else device.type == "cpu"
    if info.arch == ARCH and on_cpu:
        with suppress(ValueError, KeyError):  # what is wrong is said below
            return LiteEncoder(weights, info)
    from tclr.pipeline.encoder.network import build_encoder, fit_weights
    from tclr.pipeline.encoder.torch_encoder import TorchEncoder

    model = build_encoder(info.embedding_dim, 0, info.arch)
    fit_weights(model, weights, where)
    return TorchEncoder(model, info, device)


def encoder_inside(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str], where: str) -> LoadedEncoder | None:
    """Return the encoder in the content of a file of another format, such as a fine-tuned head's; None without one.

    Raises
    ------
    ModelError
        If it does not fit its own description.

    Examples
    --------
    >>> encoder_inside({}, {"format": "tclr-au-head"}, "au.safetensors") is None
    True
    """
    if ENCODER_INSIDE not in metadata:
        return None
    weights, info = take_inside(tensors, metadata, where)
    _require_embedding_layer(weights, where)
    return open_encoder(weights, info, where)


def load_backbone(source: str | Path, like: EncoderInfo, *, device: torch.device | None = None) -> LoadedEncoder:
    """Load a backbone, such as ImageNet's, as an encoder whose embedding is the pooled features.

    Embeddings are scaled to unit length, as those of all encoders. ``source`` has weights in torchvision's names or is
    an encoder, whose embedding layer is then ignored. The input has the sizes of ``like``, and the mean and standard
    deviation of the encoder, or else ImageNet's.

    Raises
    ------
    ModelError
        If the file cannot be read or is of an unknown architecture.

    Examples
    --------
    >>> load_backbone("encoder.safetensors", like=EncoderInfo(image_size=64)).embedding_dim
    1280
    """
    from tclr.pipeline.encoder.backbones import BACKBONES
    from tclr.pipeline.encoder.network import build_encoder, fit_weights
    from tclr.pipeline.encoder.torch_encoder import TorchEncoder, pass_features

    weights, stored = read_weights(source)
    arch, origin = require_arch(weights, str(source)), stored or EncoderInfo()
    model = build_encoder(BACKBONES[arch].n_features, 0, arch)
    fit_weights(model, {name: value for name, value in weights.items() if not name.startswith("fc1.")}, str(source))
    pass_features(model)
    info = EncoderInfo(
        embedding_dim=model.n_features,
        image_size=like.image_size,
        crop_ratio=like.crop_ratio,
        mean=origin.mean,
        std=origin.std,
        arch=arch,
        recipe=Path(source).name,
        data_hash=origin.data_hash,
        subjects=origin.subjects,
        supervised=origin.supervised,
    )
    return TorchEncoder(model, info, device)
