"""An encoder of any architecture, run by PyTorch on a CPU or a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from copy import copy, deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from tclr.pipeline.encoder.devices import default_device
from tclr.pipeline.encoder.info import EncoderInfo
from tclr.pipeline.encoder.input_transform import normalise, to_input
from tclr.pipeline.encoder.loaded import LoadedEncoder, require_crops, weights_digest
from tclr.pipeline.encoder.network import TemporalEncoder, build_encoder, weights_of
from tclr.pipeline.system import count_threads, run_ahead

SMALLEST_STEP, LARGEST_STEP = 8, 32
"""Crops per pass through the network on a CPU, at 224 px and at small sizes (docs/performance.md).

The order in which convolutions sum depends on the numbers of crops and threads. Both are therefore fixed: the number of
crops by their size, padded with black crops, and one thread.
"""


def cpu_step(image_size: int) -> int:
    """Return the number of crops per pass through the network on a CPU, for an input side in pixels."""
    return int(np.clip(SMALLEST_STEP * (224 / image_size) ** 2, SMALLEST_STEP, LARGEST_STEP))


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


class TorchEncoder(LoadedEncoder):
    """An encoder that PyTorch runs, by default on the GPU if there is one; see ``LoadedEncoder``.

    ``model`` is moved there, and changes of it change the embeddings.

    >>> TorchEncoder(build_encoder(8, seed=0, arch="mobilenet_v2"), EncoderInfo(embedding_dim=8)).precision
    'fp32'
    """

    def __init__(self, model: TemporalEncoder, info: EncoderInfo, device: torch.device | None = None) -> None:
        self.device = device or default_device()
        self.model = model.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.info = info

    def weights(self) -> dict[str, np.ndarray]:
        """Return the tensors of the network by name."""
        return weights_of(self.model)

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
            return self._run(require_crops(frames))
        finally:
            torch.set_num_threads(n_threads)

    def embed_all(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Embed batches of crops of one size, as ``embed`` does; the next batch is read while the network computes.

        Embeddings are yielded in order: per batch on a GPU, per ``cpu_step`` crops on a CPU.
        """
        checked = map(require_crops, batches)
        if self.device.type != "cpu":
            with closing(run_ahead(checked, 1)) as ready:
                yield from map(self._run, ready)
            return
        steps, n_workers = _regroup(checked, cpu_step(self.info.image_size)), count_threads()
        alone = n_workers == torch.get_num_threads() == 1
        yield from map(self._run_padded, steps) if alone else self._run_in_threads(steps, n_workers)

    def _run_in_threads(self, steps: Iterable[np.ndarray], n_workers: int) -> Iterator[np.ndarray]:
        """Run steps in parallel, each in one thread."""
        n_threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(n_workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                waiting: deque[Future[np.ndarray]] = deque()
                for step in steps:
                    waiting.append(pool.submit(self._run_padded, step))
                    if len(waiting) > 2 * n_workers:
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

    def with_precision(self, precision: str) -> TorchEncoder:
        """Return this encoder with another arithmetic, ``fp32`` or ``bf16``; weights are shared."""
        if precision == self.precision:
            return self
        other = copy(self)
        other.precision = precision
        return other


def encoder_digest(model: TemporalEncoder, info: EncoderInfo) -> str:
    """Return the digest of an encoder with this network, see ``weights_digest``.

    >>> encoder = load_encoder("encoder.safetensors")
    >>> encoder_digest(encoder.model, encoder.info)
    '2b92b0d45c636d53...'
    """
    return weights_digest(weights_of(model), info)


def untrained_encoder(info: EncoderInfo, *, device: torch.device | None = None) -> TorchEncoder:
    """Return an encoder with random weights, determined by the info's seed and architecture.

    >>> untrained_encoder(EncoderInfo(embedding_dim=8, arch="mobilenet_v2", seed=1)).embedding_dim
    8
    """
    return TorchEncoder(build_encoder(info.embedding_dim, info.seed, info.arch), info, device)


def pass_features(model: TemporalEncoder) -> None:
    """Make the embedding the pooled features."""
    model.fc1 = nn.Linear(model.n_features, model.n_features, device=model.fc1.weight.device)
    with torch.no_grad():
        model.fc1.weight.copy_(torch.eye(model.n_features))
        model.fc1.bias.zero_()


def pooled_features(encoder: LoadedEncoder) -> TorchEncoder:
    """Return an encoder whose embedding is the pooled features of another, scaled to unit length.

    >>> pooled_features(load_encoder("encoder.safetensors")).embedding_dim
    1280
    """
    model = deepcopy(encoder.model)
    pass_features(model)
    return TorchEncoder(model, replace(encoder.info, embedding_dim=model.n_features), encoder.device)
