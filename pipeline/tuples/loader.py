"""Batches of tuples, read ahead of the training step that needs them.

Without loader processes, a thread reads ahead; decoding releases the interpreter's lock, so it runs in parallel with
the step. Loader processes decode frames into shared memory and are kept for the next epoch. For a GPU, batches go into
page-locked memory and are copied on a separate stream, one batch ahead.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from tclr.pipeline.system import run_ahead
from tclr.pipeline.tuples.dataset import TupleBatch, TupleDataset
from tclr.schemas.errors import TclrError

BATCHES_AHEAD = 2
"""Batches that the thread or each loader process reads ahead."""

Request = tuple[int, Sequence[int]]
"""A batch to read: the epoch and the indices of its tuples."""


def load_batches(
    dataset: TupleDataset, batches: Sequence[Sequence[int]], *, num_workers: int, device: torch.device
) -> Iterator[TupleBatch]:
    """Yield batches of the dataset's current epoch on a device, in order; the next are read meanwhile.

    ``batches`` are the tuple indices of each batch. ``num_workers`` loader processes read them, or a thread if it is 0;
    the batches are the same.

    Raises
    ------
    TclrError
        If a batch cannot be read, as in ``TupleDataset.read``, or a loader process ended.

    Examples
    --------
    >>> import torch
    >>> from tclr.schemas.config import PretrainConfig
    >>> tuples = TupleDataset(Path("store"), ["F001", "F003"], PretrainConfig(), anchors_per_clip=2)
    >>> batches = load_batches(tuples, [[0, 1, 2], [3]], num_workers=0, device=torch.device("cpu"))
    >>> [len(batch) for batch in batches]
    [3, 1]
    """
    requests = [(dataset.epoch, tuple(indices)) for indices in batches]
    pin = device.type == "cuda"
    if num_workers:
        return _move(_read_in_processes(dataset, requests, num_workers, pin), device)
    read = (dataset.read(*request) for request in requests)
    return _move(run_ahead((batch.pin_memory() if pin else batch for batch in read), BATCHES_AHEAD), device)


class _Reader(Dataset[Any]):
    """Reads in a loader process; errors are returned, because raising them there would wrap them in a traceback."""

    def __init__(self, dataset: TupleDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, request: Request) -> TupleBatch | TclrError:
        epoch, indices = request
        size = self.dataset.crop_size
        shape = (len(indices), self.dataset.n_frames, size, size, 3)
        try:
            return self.dataset.read(epoch, indices, _shared_bytes(shape) if get_worker_info() else None)
        except TclrError as error:
            return error


def _shared_bytes(shape: tuple[int, ...]) -> Tensor:
    """Return a uint8 tensor in shared memory, as torch's own collate function makes it."""
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


@dataclass
class _Workers:
    """The loader processes of a dataset, and the list of their requests, which is refilled every epoch."""

    num_workers: int
    pin: bool
    requests: list[Request]
    loader: DataLoader[Any]


def _start_workers(dataset: TupleDataset, num_workers: int, pin: bool) -> _Workers:
    """Start loader processes, or return those of the previous epoch."""
    known = dataset.workers
    if isinstance(known, _Workers) and (known.num_workers, known.pin) == (num_workers, pin):
        return known
    requests: list[Request] = []
    loader = DataLoader(
        _Reader(copy(dataset)),  # a copy: with a reference cycle, processes would end late
        batch_size=None,  # a request is a batch
        sampler=requests,
        num_workers=num_workers,
        pin_memory=pin,
        prefetch_factor=BATCHES_AHEAD,
        persistent_workers=True,
    )
    dataset.workers = workers = _Workers(num_workers, pin, requests, loader)
    return workers


def _read_in_processes(
    dataset: TupleDataset, requests: Sequence[Request], num_workers: int, pin: bool
) -> Iterator[TupleBatch]:
    if not requests:
        return
    workers = _start_workers(dataset, num_workers, pin)
    workers.requests[:] = requests
    batches = iter(workers.loader)
    for _ in requests:
        try:
            batch = next(batches)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            dataset.workers = None
            reason = " ".join(str(error).split())
            raise TclrError(
                f"One of {num_workers} loader processes ended: {reason} It may have run out of memory or of /dev/shm; "
                "lower --num-workers or --batch-size, or use --num-workers 0."
            ) from error
        if isinstance(batch, TclrError):
            raise batch
        yield batch


def _move(batches: Iterator[TupleBatch], device: torch.device) -> Iterator[TupleBatch]:
    """Move batches to the device; for a GPU on a separate stream, one batch ahead of the caller."""
    with closing(batches):  # type: ignore[type-var]
        if device.type != "cuda":
            for batch in batches:
                yield batch.to(device)
            return
        copying = torch.cuda.Stream(device)
        ahead: deque[tuple[TupleBatch, torch.cuda.Event]] = deque()
        for batch in batches:
            with torch.cuda.stream(copying):
                ahead.append((batch.to(device, non_blocking=True), copying.record_event()))
            if len(ahead) > 1:
                yield _arrived(*ahead.popleft(), device)
        while ahead:
            yield _arrived(*ahead.popleft(), device)


def _arrived(batch: TupleBatch, copied: torch.cuda.Event, device: torch.device) -> TupleBatch:
    """Make the caller's stream wait for the copy, and register the batch's use with the allocator."""
    stream = torch.cuda.current_stream(device)
    stream.wait_event(copied)
    for tensor in batch.tensors:
        tensor.record_stream(stream)
    return batch
