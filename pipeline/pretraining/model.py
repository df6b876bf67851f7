"""The trained module, encoder and objective together, and the encoder's initial weights."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tclr.pipeline.au import find_encoder
from tclr.pipeline.encoder import (
    EncoderInfo,
    TemporalEncoder,
    build_encoder,
    fit_weights,
    load_weights,
    normalise,
)
from tclr.pipeline.faces import find_model, read_landmark_network
from tclr.pipeline.pretraining.data import TrainingData
from tclr.pipeline.pretraining.objective import Objective
from tclr.pipeline.tuples import TupleBatch
from tclr.schemas.config import PretrainConfig

FACEMESH = "facemesh"
"""Name of an encoder, and of the initial weights that Google gave it."""


class PretrainModel(nn.Module):
    """Encoder and objective as one module, so that their gradients are averaged together.

    Only the encoder is released; its input is normalised by ``info``. With ``bf16`` the encoder computes in bfloat16;
    the objective never does.
    """

    def __init__(self, encoder: TemporalEncoder, objective: Objective, info: EncoderInfo, bf16: bool) -> None:
        super().__init__()
        self.encoder, self.objective, self.info, self.bf16 = encoder, objective, info, bf16

    def embed(self, encoder: nn.Module, x: Tensor, n_tuples: int) -> Tensor:
        """Embed pictures (B * F, 3, H, W) in 0..1: (B, F, D) float32."""
        # a process without tuples contributes to batch statistics, whose dtype must be the same in all processes
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16 and n_tuples > 0):
            embeddings = encoder(normalise(x, self.info))
        embeddings = embeddings.to(torch.get_default_dtype())
        return embeddings.view(n_tuples, -1, embeddings.shape[-1]) if n_tuples else embeddings

    def forward(self, x: Tensor, batch: TupleBatch | None) -> dict[str, Tensor]:
        """Return the losses, means over tuples, of a batch with augmented pictures (B * F, 3, H, W) in 0..1.

        ``batch`` is None if this process has none. Its loss is then 0 but depends on every parameter, as averaging
        gradients over processes requires.
        """
        embeddings = self.embed(self.encoder, x, 0 if batch is None else len(batch))
        if batch is not None:
            return self.objective(embeddings, batch)
        return {"loss": sum((p.sum() for p in self.objective.parameters()), embeddings.sum()) * 0}


def facemesh_weights(bundle: Path) -> dict[str, np.ndarray]:
    """Return the weights of mediapipe's landmark network, under the names of the encoder ``facemesh``.

    Raises
    ------
    ModelError
        If the bundle holds another network.

    Examples
    --------
    >>> from tclr.pipeline.faces import find_model
    >>> facemesh_weights(find_model())["facemesh.stages.0.0.enter.weight"].shape
    (16, 3, 3, 3)
    """
    model = build_encoder(1, 0, FACEMESH)
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.PReLU)]
    weights = {
        name: value.numpy() for name, value in model.state_dict().items() if ".norm." in name
    }  # the encoder's own
    for name, (is_depthwise, arrays) in zip(layers, read_landmark_network(bundle), strict=False):  # landmarks follow
        if len(arrays) == 2:  # a convolution; TensorFlow keeps channels last
            weight, bias = arrays
            weights[f"{name}.weight"] = weight.transpose((3, 0, 1, 2) if is_depthwise else (0, 3, 1, 2))
            weights[f"{name}.bias"] = bias
        else:
            weights[f"{name}.weight"] = arrays[0].ravel()
    fit_weights(model, weights, str(bundle))
    return weights


def start_encoder(config: PretrainConfig, init: Path | str | None) -> tuple[TemporalEncoder, EncoderInfo]:
    """Return the initial encoder, on the CPU, and the info of its file; ``pretrain`` explains ``init``.

    Examples
    --------
    >>> from tclr.schemas.config import PretrainConfig
    >>> encoder, info = start_encoder(PretrainConfig(arch="facemesh"), "facemesh")
    >>> encoder.n_features, info.mean
    (2048, (0.0, 0.0, 0.0))
    """
    encoder = build_encoder(config.embedding_dim, config.seed, config.arch)
    if str(init) == FACEMESH:
        fit_weights(encoder, facemesh_weights(find_model()), "mediapipe's landmark network")
        # it reads pixels as 0..1
        return encoder, EncoderInfo(arch=FACEMESH, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    before = load_weights(encoder, find_encoder(init, [FACEMESH])) if init is not None else None
    return encoder, before or EncoderInfo()


def describe_encoder(config: PretrainConfig, data: TrainingData, before: EncoderInfo) -> EncoderInfo:
    """Return the info of the trained encoder; its subjects include those of its initial weights, ``before``."""
    subjects = {f"{data.dataset}/{subject}" for subject in data.train_subjects} | set(before.subjects)
    return EncoderInfo(
        embedding_dim=config.embedding_dim,
        image_size=config.image_size,
        crop_ratio=config.crop_ratio,
        mean=before.mean,
        std=before.std,
        arch=config.arch,
        recipe=config.recipe,
        seed=config.seed,
        detect_hash=data.detect_hash,
        align_hash=data.align_hash,
        data_hash=data.data_hash,
        crop_size=data.train_tuples.crop_size,
        n_subjects=len(data.train_subjects),
        subjects=tuple(sorted(subjects)),
        supervised=before.supervised or config.supervision_weight > 0,
        tclr_version=version("tclr-face"),
    )


def build_model(
    encoder: TemporalEncoder, info: EncoderInfo, config: PretrainConfig, data: TrainingData, device: torch.device
) -> PretrainModel:
    """Return encoder and objective on a device; geometry targets are whitened by a sample of the data."""
    objective = Objective(config, data.train_tuples.n_targets)
    if config.geometry_weight and data.train_tuples.n_targets:
        objective.fit_targets(data.train_tuples.sample_targets())
    encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    bf16 = config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")
    return PretrainModel(encoder, objective.to(device), info, bf16)
