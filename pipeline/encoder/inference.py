"""An encoder that is ready to embed crops: loading, digest and precision."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tclr.pipeline.encoder.backbones import BACKBONES
from tclr.pipeline.encoder.info import EncoderInfo
from tclr.pipeline.encoder.input_transform import normalise, to_input
from tclr.pipeline.encoder.network import TemporalEncoder, build_encoder
from tclr.pipeline.encoder.weights import (
    ENCODER_INSIDE,
    fit_weights,
    has_embedding_layer,
    read_weights,
    require_arch,
    take_inside,
)
from tclr.pipeline.system import run_ahead
from tclr.schemas.errors import InputError, ModelError

SMALLEST_STEP, LARGEST_STEP = 8, 32
"""Crops per pass through the network on a CPU, at 224 px and at small sizes (docs/performance.md).

The order in which convolutions sum depends on the numbers of crops and threads. Both are therefore fixed: the number of
crops by their size, padded with black crops, and one thread.
"""
LEAST_SPEEDUP = 1.2
"""Speed of bfloat16 relative to float32 above which ``choose_precision`` takes it."""


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU.

    >>> default_device().type in ("cuda", "cpu")
    True
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cpu_step(image_size: int) -> int:
    """Return the number of crops per pass through the network on a CPU, for an input side in pixels."""
    return int(np.clip(SMALLEST_STEP * (224 / image_size) ** 2, SMALLEST_STEP, LARGEST_STEP))


def _require_crops(frames: np.ndarray) -> np.ndarray:
    if frames.ndim != 4 or frames.shape[1] != frames.shape[2] or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise InputError(
            f"Expected frames of shape (n, S, S, 3) and dtype uint8, but got {frames.shape} and {frames.dtype}. "
            "Give RGB crops as 'tclr preprocess' stores them."
        )
    return frames


def _regroup(batches: Iterable[np.ndarray], n: int) -> Iterator[np.ndarray]:
    """Yield the same crops in batches of ``n``; the last batch may be smaller."""
    rest: np.ndarray | None = None
    for batch in batches:
        crops = batch if rest is None else np.concatenate([rest, batch])
        n_whole = len(crops) - len(crops) % n
        yield from (crops[start : start + n] for start in range(0, n_whole, n))
        rest = crops[n_whole:] if n_whole < len(crops) else None
    if rest is not None:
        yield rest


class LoadedEncoder:
    """An encoder that is ready to embed crops, by default on the GPU if there is one.

    ``precision`` is the arithmetic of the network, ``fp32`` or ``bf16``; its input is always float32.

    >>> encoder = load_encoder("encoder.safetensors")
    >>> embeddings = encoder.embed(np.zeros((3, 40, 40, 3), np.uint8))
    >>> embeddings.shape, bool(np.allclose(np.linalg.norm(embeddings, axis=1), 1))
    ((3, 32), True)
    """

    precision = "fp32"

    def __init__(self, model: TemporalEncoder, info: EncoderInfo, device: torch.device | None = None) -> None:
        self.device = device or default_device()
        self.model = model.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.info = info
        self.digest = encoder_digest(model, info)
        self.embedding_dim = info.embedding_dim

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Return the embeddings (n, embedding_dim) float32 of unit length of crops (n, S, S, 3) uint8 RGB, n >= 0.

        On a CPU, a crop's embedding is the same to the last bit whatever the other crops and the number of threads.

        Raises
        ------
        InputError
            If the array has another shape or dtype: float crops in 0..1 would silently give wrong features.
        """
        return np.concatenate([np.empty((0, self.embedding_dim), np.float32), *self.embed_all([frames])])

    def embed_now(self, frames: np.ndarray) -> np.ndarray:
        """Return the embeddings of a few crops as ``embed`` does, but equal to rounding only.

        ``embed`` fills up a pass through the network, which makes a single crop as dear as ``cpu_step`` of them. On a
        CPU one thread is used: for so little, more of them only wait for each other.
        """
        if not len(frames):
            return np.empty((0, self.embedding_dim), np.float32)
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return self._run(_require_crops(frames))
        finally:
            torch.set_num_threads(n_threads)

    def embed_all(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Embed batches of crops of one size, as ``embed`` does; the next batch is read while the network computes.

        Embeddings are yielded in order: per batch on a GPU, per ``cpu_step`` crops on a CPU.
        """
        checked = map(_require_crops, batches)
        if self.device.type != "cpu":
            with closing(run_ahead(checked, 1)) as ready:
                yield from map(self._run, ready)
            return
        steps = _regroup(checked, cpu_step(self.info.image_size))
        yield from map(self._run_padded, steps) if torch.get_num_threads() == 1 else self._run_in_threads(steps)

    def _run_in_threads(self, steps: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Run steps in parallel, each in one thread."""
        n_threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                waiting: deque[Future[np.ndarray]] = deque()
                for step in steps:
                    waiting.append(pool.submit(self._run_padded, step))
                    if len(waiting) > 2 * n_threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
        finally:
            torch.set_num_threads(n_threads)  # threads started later use the value that was set last

    def _run_padded(self, frames: np.ndarray) -> np.ndarray:
        padded = np.zeros((cpu_step(self.info.image_size), *frames.shape[1:]), np.uint8)
        padded[: len(frames)] = frames
        return self._run(padded)[: len(frames)]

    @torch.inference_mode()
    def _run(self, frames: np.ndarray) -> np.ndarray:
        x = normalise(to_input(torch.from_numpy(frames).to(self.device), self.info), self.info)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.model(x).float().cpu().numpy()

    def with_precision(self, precision: str) -> LoadedEncoder:
        """Return this encoder with another arithmetic, ``fp32`` or ``bf16``; weights are shared."""
        if precision == self.precision:
            return self
        other = copy(self)
        other.precision = precision
        return other


@dataclass(frozen=True)
class PrecisionChoice:
    """The chosen arithmetic, the speed of bfloat16 relative to float32, and the largest change of an embedding."""

    precision: str
    speedup: float
    largest_difference: float


def choose_precision(encoder: LoadedEncoder, frames: np.ndarray, runs: int = 3) -> PrecisionChoice:
    """Time an encoder in float32 and in bfloat16 on some crops, and choose bfloat16 if it is clearly faster.

    ``frames`` are (n, S, S, 3) uint8 RGB, n >= 1. Each arithmetic is timed ``runs`` times; the fastest run counts.

    >>> choice = choose_precision(load_encoder("encoder.safetensors"), np.zeros((2, 32, 32, 3), np.uint8))
    >>> choice.precision in ("fp32", "bf16"), choice.speedup > 0
    (True, True)
    """
    ways = [encoder.with_precision(name) for name in ("fp32", "bf16")]
    first, second = (way.embed(frames) for way in ways)
    seconds = [math.inf, math.inf]
    for _ in range(runs):
        for place, way in enumerate(ways):
            started = time.perf_counter()
            way.embed(frames)
            seconds[place] = min(seconds[place], time.perf_counter() - started)
    speedup = seconds[0] / seconds[1]
    chosen = "bf16" if speedup >= LEAST_SPEEDUP else "fp32"
    return PrecisionChoice(chosen, speedup, float(np.abs(first - second).max()))


def encoder_digest(model: TemporalEncoder, info: EncoderInfo) -> str:
    """Return the SHA-256 of all that determines embeddings: weights in order of name, and the input transform.

    >>> encoder = load_encoder("encoder.safetensors")
    >>> encoder_digest(encoder.model, encoder.info)
    '2b92b0d45c636d53...'
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(json.dumps([info.image_size, info.crop_ratio, info.mean, info.std]).encode())
    return digest.hexdigest()


def untrained_encoder(info: EncoderInfo, *, device: torch.device | None = None) -> LoadedEncoder:
    """Return an encoder with random weights, determined by the info's seed and architecture.

    >>> untrained_encoder(EncoderInfo(embedding_dim=8, arch="mobilenet_v2", seed=1)).embedding_dim
    8
    """
    return LoadedEncoder(build_encoder(info.embedding_dim, info.seed, info.arch), info, device)


def _require_embedding_layer(weights: Mapping[str, Tensor], where: str) -> None:
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
        return untrained_encoder(replace(info, arch=arch or info.arch), device=device)
    weights, stored = read_weights(source)
    _require_embedding_layer(weights, str(source))
    info = stored or replace(info, arch=require_arch(weights, str(source)), recipe=Path(source).name)
    model = build_encoder(info.embedding_dim, seed, info.arch)
    fit_weights(model, weights, str(source))
    return LoadedEncoder(model, info, device)


def encoder_inside(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], where: str) -> LoadedEncoder | None:
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
    model = build_encoder(info.embedding_dim, 0, info.arch)
    fit_weights(model, weights, where)
    return LoadedEncoder(model, info)


def _pass_features(model: TemporalEncoder) -> None:
    """Make the embedding the pooled features."""
    model.fc1 = nn.Linear(model.n_features, model.n_features, device=model.fc1.weight.device)
    with torch.no_grad():
        model.fc1.weight.copy_(torch.eye(model.n_features))
        model.fc1.bias.zero_()


def pooled_features(encoder: LoadedEncoder) -> LoadedEncoder:
    """Return an encoder whose embedding is the pooled features of another, scaled to unit length.

    >>> pooled_features(load_encoder("encoder.safetensors")).embedding_dim
    1280
    """
    model = deepcopy(encoder.model)
    _pass_features(model)
    return LoadedEncoder(model, replace(encoder.info, embedding_dim=model.n_features), encoder.device)


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
    weights, stored = read_weights(source)
    arch, origin = require_arch(weights, str(source)), stored or EncoderInfo()
    model = build_encoder(BACKBONES[arch].n_features, 0, arch)
    fit_weights(model, {name: value for name, value in weights.items() if not name.startswith("fc1.")}, str(source))
    _pass_features(model)
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
    return LoadedEncoder(model, info, device)
