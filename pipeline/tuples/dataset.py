"""Temporal tuples from a store, for training: anchor, sibling and the following frames.

``rows`` chooses the rows of a tuple. Sampling has no state: the frames and augmentation draws of tuple i of an epoch
depend on seed, epoch and i alone. Training therefore resumes exactly, and loader processes, the number of training
processes and micro-batches do not change the result.
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
"""Fixed anchors per held-out clip, spread evenly: enough pairs to resolve 1% with a few clips."""
SAMPLED_CLIPS = 128
"""Clips in the sample of targets; more change the whitening little."""
ROWS_STREAM, AUGMENTATION_STREAM = 0, 1
"""Spawn keys that make the random streams independent."""


@dataclass
class TupleBatch:
    """Tuples of one micro-batch.

    ``frames`` (B, F, S, S, 3) uint8 RGB; ``seconds`` (B, F) float32, time from the anchor, negative before it;
    ``draws`` (B, F, N_DRAWS) float32 in [0, 1), the augmentation's random numbers; ``targets`` (B, F, G) float32, NaN
    where unknown; G may be 0.
    """

    frames: Tensor
    seconds: Tensor
    draws: Tensor
    targets: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All four tensors."""
        return self.frames, self.seconds, self.draws, self.targets

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device, non_blocking: bool = False) -> TupleBatch:
        """Return the batch on a device."""
        return TupleBatch(*(tensor.to(device, non_blocking=non_blocking) for tensor in self.tensors))

    def pin_memory(self) -> TupleBatch:
        """Return the batch in page-locked memory, from which a GPU copies asynchronously."""
        return TupleBatch(*(tensor.pin_memory() for tensor in self.tensors))


class TupleDataset:
    """The tuples of an epoch, read by index. Pickling and copying are cheap: they leave out open files.

    ``clips`` are the clips that are long enough, ``n_frames`` is F, ``n_targets`` G (0 without targets), ``crop_size``
    S. Set ``epoch`` to choose the epoch that ``load_batches`` reads.

    Parameters
    ----------
    store, subjects, config : Path, sequence of str, PretrainConfig
        The store, the subjects to use, and the settings that choose the frames (see ``rows``) and the seed.
    anchors_per_clip : int
        Tuples per clip and epoch, redrawn every epoch. 0 gives fixed tuples for validation: spread evenly, forward, at
        the geometric middle of the spacings.
    fixed_spacing : Spacing, optional
        Spacing of fixed tuples in place of the settings', which makes runs with different settings comparable.
    read_targets : TargetReader, optional
        Reads the targets of a clip. Results are cached per process.

    Raises
    ------
    InputError
        If no clip is long enough.
    StoreError
        If the store has crops of several sizes or cannot be read.

    Examples
    --------
    >>> from tclr.schemas.config import PretrainConfig
    >>> tuples = TupleDataset(Path("store"), ["F001", "F003"], PretrainConfig(), anchors_per_clip=3)
    >>> len(tuples), tuples.read(epoch=0, indices=[0, 5]).frames.shape
    (6, torch.Size([2, 6, 32, 32, 3]))
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
        self.workers: object = None  # loader processes, see ``loader``
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

    def stop_workers(self) -> None:
        """End the loader processes, which otherwise end with the dataset."""
        self.workers = None

    def __len__(self) -> int:
        return len(self.clips) * self.anchors_per_clip or len(self._fixed)

    def _random(self, stream: int, epoch: int, index: int) -> np.random.Generator:
        sequence = np.random.SeedSequence((self.config.seed, epoch, index), spawn_key=(stream,))
        return np.random.Generator(np.random.Philox(sequence))

    def sample_targets(self) -> Tensor:
        """Return the targets of clips spread evenly over the dataset, (N, G) float32."""
        count = min(len(self.clips), SAMPLED_CLIPS)
        chosen = np.linspace(0, len(self.clips) - 1, count).round().astype(int)
        with self._reader.store:
            return torch.from_numpy(np.concatenate([self._reader.read_targets(clip) for clip in chosen]))

    def rows(self, epoch: int, index: int) -> tuple[int, np.ndarray]:
        """Return the index in ``clips`` of a tuple's clip, and its rows, (F,) int64."""
        if self.anchors_per_clip == 0:
            return self._fixed[index]
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.config.seed, epoch]).permutation(len(self))
        clip = int(self._order[1][index]) // self.anchors_per_clip
        draws = self._random(ROWS_STREAM, epoch, index).random(3)
        return clip, draw_rows(self._reader.read(clip).times, self.config, draws)

    def read(self, epoch: int, indices: Sequence[int], frames: Tensor | None = None) -> TupleBatch:
        """Read tuples of an epoch by their indices, 0 to ``len(self) - 1``; fixed tuples are the same in all epochs.

        Frames are read into ``frames`` (B, F, S, S, 3) uint8 if it is given.

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
            store.read_crops_at(self.clips[clip], rows, frames[place].numpy())
            timestamp = known.times.timestamp
            seconds[place] = timestamp[rows] - timestamp[rows[0]]
            drawn_epoch = epoch if self.anchors_per_clip else 0
            self._random(AUGMENTATION_STREAM, drawn_epoch, index).random(dtype=np.float32, out=draws[place])
            targets[place] = known.targets[rows]
        return TupleBatch(frames, *map(torch.from_numpy, (seconds, draws, targets)))
