"""What every encoder that is ready to embed crops has, whichever library runs it; its digest and its precision."""

from __future__ import annotations

import hashlib
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tclr.pipeline.encoder.info import EncoderInfo
from tclr.schemas.errors import InputError

if TYPE_CHECKING:
    import torch

    from tclr.pipeline.encoder.network import TemporalEncoder

LEAST_SPEEDUP = 1.2
"""Speed of bfloat16 relative to float32 above which ``choose_precision`` takes it."""


class LoadedEncoder(ABC):
    """An encoder that is ready to embed crops.

    ``info`` describes it, ``device`` is where it runs, ``precision`` is the arithmetic of the network, ``fp32`` or
    ``bf16``; its input is always float32.

    >>> encoder = load_encoder("encoder.safetensors")
    >>> embeddings = encoder.embed(np.zeros((3, 40, 40, 3), np.uint8))
    >>> embeddings.shape, bool(np.allclose(np.linalg.norm(embeddings, axis=1), 1))
    ((3, 32), True)
    """

    precision = "fp32"
    info: EncoderInfo
    model: TemporalEncoder
    device: torch.device

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding."""
        return self.info.embedding_dim

    @cached_property
    def digest(self) -> str:
        """See ``weights_digest``."""
        return weights_digest(self.weights(), self.info)

    @abstractmethod
    def weights(self) -> dict[str, np.ndarray]:
        """Return the tensors of the network by name."""

    def embed(self, frames: np.ndarray) -> np.ndarray:
        """Return the embeddings (n, embedding_dim) float32 of unit length of crops (n, S, S, 3) uint8 RGB, n >= 0.

        On a CPU, a crop's embedding is the same to the last bit whatever the other crops and the number of threads.

        Raises
        ------
        InputError
            If the array has another shape or dtype: float crops in 0..1 would silently give wrong features.
        """
        return np.concatenate([np.empty((0, self.embedding_dim), np.float32), *self.embed_all([frames])])

    @abstractmethod
    def embed_now(self, frames: np.ndarray) -> np.ndarray:
        """Return the embeddings of a few crops as ``embed`` does, but equal to rounding only, and without delay."""

    @abstractmethod
    def embed_all(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Embed batches of crops of one size, as ``embed`` does; embeddings are yielded in order, in other batches."""

    @abstractmethod
    def with_precision(self, precision: str) -> LoadedEncoder:
        """Return this encoder with another arithmetic, ``fp32`` or ``bf16``; weights are shared."""


def require_crops(frames: np.ndarray) -> np.ndarray:
    """Return crops (n, S, S, 3) uint8 as they are; raise ``InputError`` for other shapes and types."""
    if frames.ndim != 4 or frames.shape[1] != frames.shape[2] or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise InputError(
            f"Expected frames of shape (n, S, S, 3) and dtype uint8, but got {frames.shape} and {frames.dtype}. "
            "Give RGB crops as 'tclr preprocess' stores them."
        )
    return frames


def weights_digest(weights: Mapping[str, np.ndarray], info: EncoderInfo) -> str:
    """Return the SHA-256 of all that determines embeddings: weights in order of name, and the input transform.

    >>> encoder = load_encoder("encoder.safetensors")
    >>> weights_digest(encoder.weights(), encoder.info)
    '2b92b0d45c636d53...'
    """
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(value.tobytes())
    digest.update(json.dumps([info.image_size, info.crop_ratio, info.mean, info.std]).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class PrecisionChoice:
    """The chosen arithmetic, the speed of bfloat16 relative to float32, and the largest change of an embedding."""

    precision: str
    speedup: float
    largest_difference: float

    @property
    def comparison(self) -> str:
        """The speed of bfloat16 in words.

        >>> PrecisionChoice("fp32", 0.25, 0.01).comparison
        'took 4.0 times as long as'
        """
        is_faster = self.speedup >= 1
        return (
            f"was {self.speedup:.1f} times as fast as" if is_faster else f"took {1 / self.speedup:.1f} times as long as"
        )


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
