"""The encoder of architecture ``facemesh`` on a CPU, run by LiteRT: no PyTorch to load, and half its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tclr.pipeline.encoder.facemesh_layout import GRID, MAX_MIDDLE, N_BLOCKS, N_FEATURES, WIDTHS
from tclr.pipeline.encoder.info import EncoderInfo, resized_side
from tclr.pipeline.encoder.loaded import LoadedEncoder, require_crops
from tclr.pipeline.system import (
    SAME,
    LiteNetwork,
    NetworkWriter,
    count_threads,
    norm_factors,
    run_ahead,
    wide_lanes,
    widened,
)

if TYPE_CHECKING:
    import torch

    from tclr.pipeline.encoder.network import TemporalEncoder
    from tclr.pipeline.encoder.torch_encoder import TorchEncoder

Take = Callable[..., np.ndarray]
ARCH = "facemesh"
SIDE_STEP = 2 ** len(WIDTHS) * GRID
"""Inputs whose side is a multiple of it end in a map that is divided evenly into regions."""


class LiteEncoder(LoadedEncoder):
    """An encoder of architecture ``facemesh`` that LiteRT runs; see ``LoadedEncoder``.

    Its embeddings equal PyTorch's to rounding: 1e-6, or 1e-4 on average where crops are resized, see ``cut_centre``.
    Every crop is a pass of its own, on one thread. PyTorch is loaded only if its ``model`` or bfloat16 is wanted.

    Raises
    ------
    ValueError, KeyError
        If the tensors are not those of such a network, or the input's side is no multiple of ``SIDE_STEP``.

    Examples
    --------
    >>> from tclr.pipeline.encoder import TorchEncoder, untrained_encoder
    >>> torch_encoder = untrained_encoder(EncoderInfo(embedding_dim=8, image_size=128, arch="facemesh"))
    >>> encoder, crops = LiteEncoder(torch_encoder.weights(), torch_encoder.info), np.zeros((2, 64, 64, 3), np.uint8)
    >>> bool(np.allclose(encoder.embed(crops), torch_encoder.embed(crops), atol=1e-5))
    True
    """

    def __init__(self, weights: Mapping[str, np.ndarray], info: EncoderInfo) -> None:
        self.info = info
        self._weights = {name: _as_computed(name, value) for name, value in weights.items()}
        mean, std = (np.array(values) for values in (info.mean, info.std))
        self._normalising = (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)
        self._network = LiteNetwork(write_facemesh(self._weights, info))

    @cached_property
    def _torch_encoder(self) -> TorchEncoder:
        from tclr.pipeline.encoder.network import build_encoder, fit_weights
        from tclr.pipeline.encoder.torch_encoder import TorchEncoder

        model = build_encoder(self.embedding_dim, 0, ARCH)
        fit_weights(model, self._weights, "the encoder")
        return TorchEncoder(model, self.info, self.device)

    @property
    def model(self) -> TemporalEncoder:  # type: ignore[override]
        """The network in PyTorch."""
        return self._torch_encoder.model

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The CPU."""
        import torch

        return torch.device("cpu")

    def weights(self) -> dict[str, np.ndarray]:
        """Return the tensors of the network by name."""
        return dict(self._weights)

    def embed_now(self, frames: np.ndarray) -> np.ndarray:
        """Return the embeddings of a few crops as ``embed`` does, on one thread."""
        return self._run(require_crops(frames))

    def embed_all(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Embed batches of crops as ``embed`` does; with several threads, the next batch is read meanwhile."""
        checked, n_threads = map(require_crops, batches), count_threads()
        if n_threads == 1:
            yield from map(self._run, checked)
            return
        with closing(run_ahead(checked, 1)) as ready, ThreadPoolExecutor(n_threads) as pool:
            for batch in ready:
                yield np.concatenate(list(pool.map(self._run, np.array_split(batch, n_threads))))

    def with_precision(self, precision: str) -> LoadedEncoder:
        """Return this encoder for ``fp32``; for ``bf16`` one that PyTorch runs."""
        return self if precision == self.precision else self._torch_encoder.with_precision(precision)

    def _run(self, crops: np.ndarray) -> np.ndarray:
        """Return the embeddings of crops, on this thread."""
        if not len(crops):
            return np.empty((0, self.embedding_dim), np.float32)
        embedded = np.concatenate([self._network(self._input(crop)[None])[0] for crop in crops])
        return embedded / np.maximum(np.linalg.norm(embedded, axis=1, keepdims=True), np.float32(1e-12))

    def _input(self, crop: np.ndarray) -> np.ndarray:
        """Return a crop (S, S, 3) uint8 as the network's input, see ``to_input`` and ``normalise``."""
        centre = cut_centre(crop, resized_side(self.info), self.info.image_size)
        scale, shift = self._normalising
        return centre * scale + shift if shift.any() else centre * scale


def _as_computed(name: str, value: np.ndarray) -> np.ndarray:
    """Return a tensor in the type that PyTorch's module has it in."""
    if value.dtype.kind not in "fiubV":  # V: bfloat16
        raise ValueError(f"numbers of type {value.dtype}")
    return value.astype(np.int64 if name.endswith("num_batches_tracked") else np.float32)


def cut_centre(crop: np.ndarray, side: int, size: int) -> np.ndarray:
    """Resize a crop (S, S, 3) uint8 to ``side`` pixels and return its central ``size``; antialiased if it shrinks.

    Only what the centre needs is computed. Pixels differ from those of ``to_input`` by rounding, at most two of 255
    levels.

    >>> cut_centre(np.full((40, 40, 3), 7, np.uint8), 36, 32).shape
    (32, 32, 3)
    """
    start = (side - size) // 2
    if len(crop) == side:
        return crop[start : start + size, start : start + size]
    edges = (start * len(crop) / side, (start + size) * len(crop) / side)
    box = (edges[0], edges[0], edges[1], edges[1])
    return np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR, box))


def write_facemesh(weights: Mapping[str, np.ndarray], info: EncoderInfo) -> bytes:
    """Return the network of ``FaceMesh`` with its embedding layer as a TensorFlow Lite model, before the L2 norm.

    Batch normalisation becomes part of the embedding layer's weights. Errors are those of ``LiteEncoder``.
    """
    rest = dict(weights)

    def take(place: str, name: str, *shape: int) -> np.ndarray:
        value = rest.pop(place + name)
        if value.shape != shape:
            raise ValueError(f"{place}{name} of {value.shape} instead of {shape}")
        return value

    if info.image_size % SIDE_STEP:
        raise ValueError(f"{info.image_size} px, which is no multiple of {SIDE_STEP}")
    writer = NetworkWriter((1, info.image_size, info.image_size, 3))
    x = writer.input
    for stage, width in enumerate(WIDTHS):
        for block in range(N_BLOCKS + 1):
            own, first = partial(take, f"{ARCH}.stages.{stage}.{block}."), stage == block == 0
            x = _write_stem(writer, x, own) if first else _write_block(writer, x, own, width, 1 if block else 2)
    factor = info.image_size // SIDE_STEP
    x = writer.average_pool(x, factor) if factor > 1 else x
    scale, shift = norm_factors(lambda name: take(f"{ARCH}.norm.", name, N_FEATURES))
    take(f"{ARCH}.norm.", "num_batches_tracked")
    dim = info.embedding_dim
    weight, bias = take("fc1.", "weight", dim, N_FEATURES).astype(np.float64), take("fc1.", "bias", dim)
    if rest:
        raise ValueError(f"unknown tensors such as {min(rest)}")
    return writer.finish(writer.linear(x, weight * scale, bias + weight @ shift))


def _write_stem(writer: NetworkWriter, x: int, take: Take) -> int:
    """Add ``Stem``."""
    n_out = WIDTHS[0]
    x = writer.convolve(x, take("enter.weight", n_out, 3, 3, 3), take("enter.bias", n_out), 2, SAME)
    return writer.prelu(x, take("enter_act.weight", n_out))


def _write_block(writer: NetworkWriter, x: int, take: Take, n_out: int, stride: int) -> int:
    """Add a ``Block``; narrow layers are widened, see ``widen_network``."""
    n_in = writer.shape(x)[-1]
    middle = min(n_in, MAX_MIDDLE) if stride == 2 else n_out // 2

    def wide(name: str, *shape: int, axis: int = 0) -> np.ndarray:
        return widened(take(name, *shape), axis, wide_lanes())

    y = writer.convolve(x, wide("enter.weight", middle, n_in, stride, stride), wide("enter.bias", middle), stride)
    y = writer.prelu(y, wide("enter_act.weight", middle))
    y = writer.convolve_depthwise(y, wide("depthwise.weight", middle, 1, 3, 3), wide("depthwise.bias", middle))
    y = writer.convolve(y, wide("leave.weight", n_out, middle, 1, 1, axis=1), take("leave.bias", n_out))
    x = writer.max_pool(x, 2) if stride == 2 else x
    x = writer.pad(x, after=(0, 0, 0, n_out - n_in)) if n_out > n_in else x
    return writer.prelu(writer.add(y, x), take("leave_act.weight", n_out))
