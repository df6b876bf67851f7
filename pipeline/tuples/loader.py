"""Reads batches of tuples ahead of the step that needs them.

Without loader processes a thread reads ahead; decoding leaves the interpreter's lock alone, so that it and the step run
side by side. With loader processes, frames are decoded into shared memory, and the processes stay for the next epoch.
For a GPU, batches go into page-locked memory and are copied on a stream of their own, one ahead.
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
"""Batches that are read before they are asked for, by the thread or by each loader process; chosen by us."""

Request = tuple[int, Sequence[int]]
"""A batch to read: epoch, and indices of its tuples."""


def load_batches(
    dataset: TupleDataset, batches: Sequence[Sequence[int]], *, num_workers: int, device: torch.device
) -> Iterator[TupleBatch]:
    """Read batches of the dataset's present epoch to a device, in order, while the caller works on those before.

    ``batches`` has the indices of each batch's tuples. ``num_workers`` loader processes read them, or a thread if it is
    0; that changes nothing but the time.

    Raises
    ------
    TclrError
        Of the kind that reading met, in whichever process; or if a loader process ended.
    """
    requests = [(dataset.epoch, tuple(indices)) for indices in batches]
    pin = device.type == "cuda"
    if num_workers:
        return _move(_read_in_processes(dataset, requests, num_workers, pin), device)
    return _move(_read_in_thread(dataset, requests, pin), device)


def stop_workers(dataset: TupleDataset) -> None:
    """End the loader processes of a dataset, which otherwise end with it."""
    dataset.workers = None


def _read_in_thread(dataset: TupleDataset, requests: Sequence[Request], pin: bool) -> Iterator[TupleBatch]:
    batches = (dataset.read(*request) for request in requests)
    return run_ahead((batch.pin_memory() if pin else batch for batch in batches), BATCHES_AHEAD)


class _Reader(Dataset[Any]):
    """Reads in a loader process; an error is returned, since raising it there would wrap it in a traceback."""

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
    """Return a uint8 tensor that another process can have without a copy, as torch's own collate makes it."""
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


@dataclass
class _Workers:
    """The loader processes of a dataset, and the list of what they are asked for, which changes with the epoch."""

    num_workers: int
    pin: bool
    requests: list[Request]
    loader: DataLoader[Any]


def _start_workers(dataset: TupleDataset, num_workers: int, pin: bool) -> _Workers:
    """Start loader processes, or return those of the epoch before."""
    known = dataset.workers
    if isinstance(known, _Workers) and (known.num_workers, known.pin) == (num_workers, pin):
        return known
    requests: list[Request] = []
    loader = DataLoader(
        _Reader(copy(dataset)),  # not itself: in a cycle of references, processes would be slow to end
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
                f"Expected {num_workers} loader processes to last, but one ended: {reason} It may have run out of "
                "memory or of /dev/shm; lower --num-workers or --batch-size, or use --num-workers 0."
            ) from error
        if isinstance(batch, TclrError):
            raise batch
        yield batch


def _move(batches: Iterator[TupleBatch], device: torch.device) -> Iterator[TupleBatch]:
    """Move batches to the device; to a GPU on a stream of its own, one ahead of the caller."""
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
    """Let the caller's stream wait for the copy, and tell the allocator that it uses the batch."""
    stream = torch.cuda.current_stream(device)
    stream.wait_event(copied)
    for tensor in batch.tensors:
        tensor.record_stream(stream)
    return batch
