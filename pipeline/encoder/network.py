"""The network: a backbone's pooled features -> linear 256 -> L2 norm; its weights into and out of files.

Parameter names are as in the paper's released checkpoint: torchvision's names after the architecture's
(``resnet18.``), and ``fc1.`` for the linear layer. Source: Lu et al., BMVC 2020, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tclr.pipeline.encoder.backbones import BACKBONES
from tclr.pipeline.encoder.info import EncoderInfo, info_to_json
from tclr.pipeline.encoder.weights import (
    CLASSIFIER_NAMES,
    FORMAT,
    FORMAT_VERSION,
    Weights,
    has_embedding_layer,
    read_weights,
    require_arch,
)
from tclr.pipeline.system import write_tensors
from tclr.schemas.errors import ModelError, suggestion


class TemporalEncoder(nn.Module):
    """The paper's encoder: (N, 3, H, W) normalised float32 to (N, embedding_dim) of unit length.

    ``arch`` is a name of ``BACKBONES``; the backbone is the attribute of that name, such as ``model.resnet18``.

    Raises
    ------
    ModelError
        If there is no such architecture.

    Examples
    --------
    >>> TemporalEncoder(8, "mobilenet_v2").n_features
    1280
    """

    def __init__(self, embedding_dim: int = 256, arch: str = "resnet18") -> None:
        super().__init__()
        if arch not in BACKBONES:
            names = sorted(BACKBONES)
            raise ModelError(
                f"Expected one of the architectures {', '.join(names)}, but got {arch!r}.{suggestion(arch, names)}"
            )
        self.arch = arch
        self.n_features = BACKBONES[arch].n_features
        self.add_module(arch, BACKBONES[arch].build())
        self.fc1 = nn.Linear(self.n_features, embedding_dim)

    def features(self, x: Tensor) -> Tensor:
        """Return (N, n_features) pooled features of the backbone, before ``fc1``."""
        return getattr(self, self.arch)(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, embedding_dim) embeddings, L2-normalised."""
        return functional.normalize(
            self.fc1(self.features(x)).float(), dim=1
        )  # bfloat16 is too coarse for the loss's margin


def build_encoder(embedding_dim: int, seed: int, arch: str = "resnet18") -> TemporalEncoder:
    """Return an encoder with random weights that depend on ``seed`` alone; torch's own random state is unchanged.

    >>> import torch
    >>> torch.equal(build_encoder(8, seed=1).fc1.weight, build_encoder(8, seed=1).fc1.weight)
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TemporalEncoder(embedding_dim, arch)


def weights_of(model: TemporalEncoder) -> Weights:
    """Return copies of a network's tensors by name.

    >>> weights_of(build_encoder(8, seed=0, arch="mobilenet_v2"))["fc1.bias"].shape
    (8,)
    """
    return {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()}


def save_encoder(path: Path, model: TemporalEncoder, info: EncoderInfo) -> None:
    """Write the weights and the info to one ``.safetensors`` file.

    Raises
    ------
    ModelError
        If the architectures of info and model differ.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> info = EncoderInfo(embedding_dim=8, arch="mobilenet_v2")
    >>> save_encoder(Path("new.safetensors"), build_encoder(8, seed=0, arch="mobilenet_v2"), info)
    >>> load_encoder("new.safetensors").info == info
    True
    """
    if info.arch != model.arch:
        raise ModelError(
            f"Expected the info of a {model.arch} encoder, but got {info.arch!r} for {path}. Give the model's arch."
        )
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "info": info_to_json(info)}
    write_tensors(path, weights_of(model), metadata)


def _check_arch(model: TemporalEncoder, weights: Mapping[str, np.ndarray], where: str) -> None:
    arch = require_arch(weights, where)
    if arch != model.arch:
        raise ModelError(
            f"Expected weights of {model.arch}, but {where} seems to hold {arch}. "
            f"Give a file of {model.arch}, or pretrain with --arch {arch}."
        )
    classifier = tuple(f"{arch}.{name}" for name in CLASSIFIER_NAMES)
    backbone = {name for name in weights if name.startswith(f"{arch}.") and not name.startswith(classifier)}
    foreign = sorted(backbone - model.state_dict().keys())
    if foreign:
        raise ModelError(
            f"Expected only the tensors of {arch}, but got {foreign[0]!r} in {where}. It is of another architecture: "
            "give one that 'tclr pretrain --help' lists under --arch."
        )


def fit_weights(model: TemporalEncoder, weights: Mapping[str, np.ndarray], where: str) -> None:
    """Load tensors into a model; ``fc1`` is unchanged if they have none, like ImageNet weights.

    Raises
    ------
    ModelError
        If they are of another architecture, or a tensor is missing or of another size.

    Examples
    --------
    >>> weights = weights_of(build_encoder(8, seed=1, arch="mobilenet_v2"))
    >>> fit_weights(build_encoder(8, seed=0, arch="mobilenet_v2"), weights, "my weights")
    """
    _check_arch(model, weights, where)
    own = model.state_dict()
    imagenet = not has_embedding_layer(weights)
    for name, value in own.items():
        given = weights.get(name)
        if given is None:
            if name.endswith("num_batches_tracked") or (imagenet and name.startswith("fc1.")):
                continue
            raise ModelError(
                f"Expected tensor {name!r}, but {where} has none. Check that it is a {model.arch} encoder."
            )
        if given.dtype.kind not in "fiubV":
            raise ModelError(f"Expected real numbers for {name!r}, but got {given.dtype} in {where}.")
        if given.shape != value.shape:
            raise ModelError(
                f"Expected {name!r} of size {tuple(value.shape)}, but got {tuple(given.shape)} in {where}. "
                "Give a checkpoint of this architecture and --embedding-dim."
            )
    model.load_state_dict(own | {name: _as_tensor(weights[name], own[name]) for name in own if name in weights})


def _as_tensor(values: np.ndarray, like: Tensor) -> Tensor:
    """Return values as a tensor; NumPy has no bfloat16 that PyTorch takes."""
    whole = not like.is_floating_point()
    return torch.from_numpy(np.array(values, np.int64 if whole else np.float32))


def load_weights(model: TemporalEncoder, source: str | Path) -> EncoderInfo | None:
    """Load a file into a model: tclr's, the paper's, or torchvision's ImageNet weights (without ``fc1``).

    Returns the file's info if tclr wrote it.

    Raises
    ------
    ModelError
        If the file cannot be read, is of another architecture, or a tensor is missing or of another size.

    Examples
    --------
    >>> load_weights(build_encoder(32, seed=0, arch="mobilenet_v2"), "encoder.safetensors").subjects
    ('bp4d/F001',)
    """
    weights, info = read_weights(source)
    fit_weights(model, weights, str(source))
    return info
