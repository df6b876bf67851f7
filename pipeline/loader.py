"""Tuples from a store as batches on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from tclr.pipeline.augment import N_DRAWS
from tclr.pipeline.tuples import TupleBatch, TupleDataset


def _draws(dataset: TupleDataset, index: int) -> torch.Tensor:
    rng = np.random.default_rng([dataset.seed, dataset.epoch, index])
    return torch.from_numpy(rng.random((len(dataset.offsets), N_DRAWS), np.float32))


def load_batches(
    dataset: TupleDataset, batches: Sequence[Sequence[int]], *, num_workers: int, device: torch.device
) -> Iterator[TupleBatch]:
    """Yield the batches whose tuple indices are listed, in order, on the device."""
    for indices in batches:
        fps = [float(dataset.clips[dataset.tuples[i][0]].info.attrs["fps"]) for i in indices]
        batch = TupleBatch(
            frames=torch.stack([dataset[i] for i in indices]),
            seconds=torch.from_numpy(np.stack([dataset.offsets / rate for rate in fps]).astype(np.float32)),
            draws=torch.stack([_draws(dataset, i) for i in indices]),
            targets=torch.zeros(len(indices), len(dataset.offsets), 0),
        )
        yield batch.to(device)
