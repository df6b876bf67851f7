"""Temporal tuples from a store, for training: anchor, sibling and the frames that follow.

Which rows of a clip a tuple has is settled in ``rows``. Sampling has no state: tuple i of an epoch, its frames and its
augmentation's random numbers follow from seed, epoch and i alone. So training resumes exactly, and neither loader
processes nor the number of trainers nor micro-batches change anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tclr.pipeline.encoder import N_DRAWS
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.tuples.clips import ClipReader, TargetReader, find_usable
from tclr.pipeline.tuples.rows import Spacing, draw_rows, fixed_rows
from tclr.schemas.config import PretrainConfig

VALIDATION_TUPLES_PER_CLIP = 8
"""Fixed anchors per held-out clip, spread evenly; chosen by us: enough pairs to see 1% at a few clips."""
SAMPLED_CLIPS = 128
"""Clips whose targets tell how targets vary; chosen by us: more change little."""
ROWS_STREAM, AUGMENTATION_STREAM = 0, 1
"""Numbers of the random streams, so that they are independent."""


@dataclass
class TupleBatch:
    """Tuples of one micro-batch.

    ``frames`` (B, F, S, S, 3) uint8 RGB; ``seconds`` (B, F) float32, time from the anchor, below 0 before it; ``draws``
    (B, F, N_DRAWS) float32 in [0, 1), the augmentation's random numbers; ``targets`` (B, F, G) float32, NaN where
    unknown, and G may be 0.
    """

    frames: Tensor
    seconds: Tensor
    draws: Tensor
    targets: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All of it."""
        return self.frames, self.seconds, self.draws, self.targets

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device, non_blocking: bool = False) -> TupleBatch:
        """Return the batch on a device."""
        return TupleBatch(*(tensor.to(device, non_blocking=non_blocking) for tensor in self.tensors))

    def pin_memory(self) -> TupleBatch:
        """Return the batch in page-locked memory, from which a GPU copies while the CPU goes on."""
        return TupleBatch(*(tensor.pin_memory() for tensor in self.tensors))


class TupleDataset:
    """The tuples of an epoch, read by their index in it. Cheap to pickle and to copy: open files stay behind.

    ``clips`` are those that a tuple fits in, ``n_frames`` is F, ``n_targets`` G, 0 without targets, ``crop_size`` S.

    Parameters
    ----------
    store, subjects, config : Path, sequence of str, PretrainConfig
        The store, whose clips to use, and the settings: which frames (see ``rows``), and the seed.
    anchors_per_clip : int
        Tuples per clip and epoch, redrawn every epoch. 0 takes fixed ones, for validation: spread evenly, forward, at
        the (geometric) middle of the spacings.
    fixed_spacing : Spacing, optional
        Spacing of fixed tuples, whatever the settings say, so that runs with other settings compare.
    read_targets : callable, optional
        Called once per clip and process as long as what it gives is kept.

    Raises
    ------
    InputError
        If no clip is long enough.
    StoreError
        If the store has crops of several sizes or cannot be read.
    """

    def __init__(
        self,
        store: Path,
        subjects: Sequence[str],
        config: PretrainConfig,
        *,
        anchors_per_clip: int,
        fixed_spacing: Spacing | None = None,
        read_targets: TargetReader | None = None,
    ) -> None:
        self.config, self.anchors_per_clip, self.epoch = config, anchors_per_clip, 0
        self.n_frames = config.n_following + 2
        self.clips: list[ClipInfo] = []
        self._fixed: list[tuple[int, np.ndarray]] = []
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))
        self.workers: object = None  # the loader's processes, see ``loader``
        with Store(store, subjects) as opened:  # loader processes open their own files
            self.crop_size = opened.crop_size()
            spacing = fixed_spacing or Spacing.of(config)
            for info, times in find_usable(opened, subjects, spacing, config.n_following):
                if anchors_per_clip == 0:
                    rows = fixed_rows(times, spacing, config.n_following, VALIDATION_TUPLES_PER_CLIP)
                    self._fixed += [(len(self.clips), chosen) for chosen in rows]
                self.clips.append(info)
            self._reader = ClipReader(opened, self.clips, read_targets)
        self.n_targets = self._reader.n_targets

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_reader": copy(self._reader), "workers": None}

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose tuples are read from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.clips) * self.anchors_per_clip or len(self._fixed)

    def _random(self, stream: int, epoch: int, index: int) -> np.random.Generator:
        sequence = np.random.SeedSequence((self.config.seed, epoch, index), spawn_key=(stream,))
        return np.random.Generator(np.random.Philox(sequence))

    def sample_targets(self) -> Tensor:
        """Return the targets of clips spread evenly over all, (N, G) float32, to see how they vary."""
        count = min(len(self.clips), SAMPLED_CLIPS)
        chosen = np.linspace(0, len(self.clips) - 1, count).round().astype(int)
        with self._reader.store:
            return torch.from_numpy(np.concatenate([self._reader.read_targets(clip) for clip in chosen]))

    def rows(self, epoch: int, index: int) -> tuple[int, np.ndarray]:
        """Return which of ``clips`` a tuple is of, and its rows, (F,) int64."""
        if self.anchors_per_clip == 0:
            return self._fixed[index]
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.config.seed, epoch]).permutation(len(self))
        clip = int(self._order[1][index]) // self.anchors_per_clip
        draws = self._random(ROWS_STREAM, epoch, index).random(3)
        return clip, draw_rows(self._reader.read(clip).times, self.config, draws)

    def read(self, epoch: int, indices: Sequence[int], frames: Tensor | None = None) -> TupleBatch:
        """Read tuples of an epoch by their indices, 0 to ``len(self) - 1``; fixed tuples are the same in all epochs.

        ``frames``, if given, is a (B, F, S, S, 3) uint8 tensor to read frames into.

        Raises
        ------
        StoreError
            If frames cannot be read.
        """
        n_tuples, size = len(indices), self.crop_size
        if frames is None:
            frames = torch.empty(n_tuples, self.n_frames, size, size, 3, dtype=torch.uint8)
        seconds = np.zeros((n_tuples, self.n_frames), np.float32)
        draws = np.zeros((n_tuples, self.n_frames, N_DRAWS), np.float32)
        targets = np.zeros((n_tuples, self.n_frames, self.n_targets), np.float32)
        for place, index in enumerate(indices):
            clip, rows = self.rows(epoch, index)
            known, store = self._reader.read(clip), self._reader.store
            store.read_rows(self.clips[clip], rows, frames[place].numpy())
            timestamp = known.times.timestamp
            seconds[place] = timestamp[rows] - timestamp[rows[0]]
            drawn_epoch = epoch if self.anchors_per_clip else 0
            self._random(AUGMENTATION_STREAM, drawn_epoch, index).random(dtype=np.float32, out=draws[place])
            targets[place] = known.targets[rows]
        return TupleBatch(frames, *map(torch.from_numpy, (seconds, draws, targets)))
