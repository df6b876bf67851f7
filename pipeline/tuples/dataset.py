"""Temporal tuples from a store, for training: anchor, sibling and the frames that follow.

Which rows of a clip a tuple has is settled in ``tuple_rows``. Sampling has no state: tuple i of an epoch, its frames
and its augmentation's random numbers follow from seed, epoch and i alone. So training resumes exactly, and neither
loader processes nor the number of trainers nor micro-batches change anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tclr.pipeline.encoder import N_DRAWS
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.tuples.rows import ClipTimes, Spacing, draw_rows, find_runs, fixed_rows, follows_on
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import InputError, StoreError

VALIDATION_TUPLES_PER_CLIP = 8
"""Fixed anchors a held-out clip, spread evenly; chosen by us: enough pairs to see 1% at a few clips."""
CACHED_CLIPS = 1024
"""Clips whose times and targets a process keeps; chosen by us: BP4D's 328 whole, some 150 MB with
landmarks as targets."""
SAMPLED_CLIPS = 128
"""Clips whose targets tell how targets vary; chosen by us: more change little."""
ROWS_STREAM, AUGMENTATION_STREAM = 0, 1
"""Numbers of the random streams, so that they are independent."""

ClipTargets = Callable[[Store, ClipInfo], np.ndarray]
"""Gives what is known of each frame of a clip: (T, G) float32, NaN where unknown."""


def split_subjects(subjects: Sequence[str], val_share: float, seed: int) -> tuple[list[str], list[str]]:
    """Split subjects into those trained on and those held out.

    Parameters
    ----------
    subjects : sequence of str
        All subjects.
    val_share : float
        Share to hold out, 0..1; if above 0 at least one is, and at least one is trained on.
    seed : int
        Seed of the split.

    Returns
    -------
    (list of str, list of str)
        Training and held-out subjects, each sorted.
    """
    names = sorted(subjects)
    n_val = min(max(round(val_share * len(names)), 1), len(names) - 1) if val_share > 0 else 0
    held = set(np.random.default_rng(seed).permutation(names)[:n_val].tolist())
    return [name for name in names if name not in held], [name for name in names if name in held]


@dataclass
class TupleBatch:
    """Tuples of one micro-batch.

    Parameters
    ----------
    frames : Tensor
        (B, F, S, S, 3) uint8 RGB.
    seconds : Tensor
        (B, F) float32, time from the anchor; below 0 before it.
    draws : Tensor
        (B, F, N_DRAWS) float32 in [0, 1), the augmentation's random numbers.
    targets : Tensor
        (B, F, G) float32, NaN where unknown; G may be 0.
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


def read_times(store: Store, info: ClipInfo) -> ClipTimes:
    """Read what the choice of rows needs to know of a clip."""
    timestamp = store.read(info, "timestamp")
    follows = follows_on(timestamp, store.read(info, "track"))
    return ClipTimes(timestamp, find_runs(follows, store.face_mask(info)))


def index_clips(store: Store, subjects: Sequence[str], config: PretrainConfig) -> list[ClipInfo]:
    """List the clips of some subjects that a tuple of the smallest spacing fits in.

    Raises
    ------
    InputError
        If no clip has enough frames in a row.
    """
    return [info for info, _ in _usable_clips(store, subjects, Spacing.of(config), config.n_following)]


def _usable_clips(
    store: Store, subjects: Sequence[str], spacing: Spacing, n_following: int
) -> Iterator[tuple[ClipInfo, ClipTimes]]:
    wanted, longest, longest_s, n_usable = set(subjects), 0, 0.0, 0
    for info in store.clips:
        if info.subject not in wanted:
            continue
        times = read_times(store, info)
        if spacing.fits(spacing.clock(times.timestamp), times.runs, n_following):
            n_usable += 1
            yield info, times
        first, last = times.runs[:, 0], times.runs[:, 1] - 1
        longest = max(longest, int((last - first + 1).max(initial=0)))
        longest_s = max(longest_s, float((times.timestamp[last] - times.timestamp[first]).max(initial=0)))
    if n_usable:
        return
    span = spacing.sibling + n_following * spacing.smallest
    if spacing.in_seconds:
        needed = f"{n_following + 2} frames with a face in a row that last {span:.3g} s"
        found, option = f"{longest} frames or {longest_s:.3g} s", "--spacing-min-s"
    else:
        needed, found, option = f"{int(span) + 1} frames with a face in a row", f"{longest}", "--spacing"
    raise InputError(
        f"Expected clips with {needed}, but the longest run of {', '.join(sorted(wanted)[:5])} in {store.root} has "
        f"{found}. Lower {option} or --n-following."
    )


@dataclass(frozen=True)
class _Clip:
    times: ClipTimes
    targets: np.ndarray


class TupleDataset:
    """The tuples of an epoch, read by their index in it. Cheap to pickle and to copy: open files stay behind.

    Parameters
    ----------
    store : Path
        The store.
    subjects : sequence of str
        Whose clips to use.
    config : PretrainConfig
        Settings: which frames (see ``tuple_rows``), and the seed.
    anchors_per_clip : int
        Tuples of each clip and epoch, drawn anew every epoch. 0 takes fixed ones, for validation: spread evenly,
        forward, at the (geometric) middle of the spacings.
    fixed_spacing_s : float, optional
        Spacing of fixed tuples in seconds, whatever the settings say, so that runs with other settings compare.
        Clips that are too short for it have the largest spacing that fits.
    targets : callable, optional
        Gives (T, G) float32 for a clip, NaN where unknown; called once a clip and process as long as it is kept.

    Attributes
    ----------
    clips : list of ClipInfo
        Those that a tuple fits in.
    epoch : int
        See ``set_epoch``.
    n_targets : int
        G; 0 without targets.
    crop_size : int
        S, in pixels.

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
        fixed_spacing_s: float | None = None,
        targets: ClipTargets | None = None,
    ) -> None:
        self.store, self.config, self.targets = Store(store, subjects), config, targets
        self.crop_size = self.store.crop_size()
        self.anchors_per_clip = anchors_per_clip
        self.epoch = 0
        self.clips: list[ClipInfo] = []
        self._fixed: list[tuple[int, np.ndarray]] = []
        self._kept: OrderedDict[int, _Clip] = OrderedDict()
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))
        self.workers: object = None  # the loader's processes, see ``loader``
        spacing = Spacing.of(config)
        if fixed_spacing_s is not None and anchors_per_clip == 0:
            spacing = Spacing(0, fixed_spacing_s, in_seconds=True)
        for info, times in _usable_clips(self.store, subjects, spacing, config.n_following):
            if anchors_per_clip == 0:
                rows = fixed_rows(times, spacing, config.n_following, VALIDATION_TUPLES_PER_CLIP)
                self._fixed += [(len(self.clips), chosen) for chosen in rows]
            self.clips.append(info)
        self.n_targets = 0 if targets is None else targets(self.store, self.clips[0]).shape[1]
        self.store.close()  # loader processes open their own files

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "store": copy(self.store), "_kept": OrderedDict(), "workers": None}

    @property
    def n_frames(self) -> int:
        """F, the frames of a tuple."""
        return self.config.n_following + 2

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose tuples are read from now on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.clips) * self.anchors_per_clip or len(self._fixed)

    def _random(self, stream: int, epoch: int, index: int) -> np.random.Generator:
        sequence = np.random.SeedSequence((self.config.seed, epoch, index), spawn_key=(stream,))
        return np.random.Generator(np.random.Philox(sequence))

    def _clip(self, clip: int) -> _Clip:
        """Return a clip's times and targets, from memory if it was used lately."""
        known = self._kept.pop(clip, None)
        if known is None:
            info = self.clips[clip]
            while len(self._kept) >= CACHED_CLIPS:
                self._kept.popitem(last=False)
            known = _Clip(read_times(self.store, info), self._read_targets(info))
        self._kept[clip] = known
        return known

    def _read_targets(self, info: ClipInfo) -> np.ndarray:
        if self.targets is None:
            return np.zeros((info.n_frames, 0), np.float32)
        values = self.targets(self.store, info)
        if values.shape != (info.n_frames, self.n_targets):
            raise StoreError(
                f"Expected targets of shape {(info.n_frames, self.n_targets)} as for the first clip, but got "
                f"{values.shape} for clip {info.name} in {self.store.root}. Make its subject with the same settings."
            )
        return values

    def sample_targets(self) -> Tensor:
        """Return the targets of clips spread evenly over all, (N, G) float32, to see how they vary."""
        count = min(len(self.clips), SAMPLED_CLIPS)
        chosen = np.linspace(0, len(self.clips) - 1, count).round().astype(int)
        with self.store:
            return torch.from_numpy(np.concatenate([self._read_targets(self.clips[i]) for i in chosen]))

    def rows(self, epoch: int, index: int) -> tuple[int, np.ndarray]:
        """Return which of ``clips`` a tuple is of, and its rows, (F,) int64."""
        if self.anchors_per_clip == 0:
            return self._fixed[index]
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.config.seed, epoch]).permutation(len(self))
        clip = int(self._order[1][index]) // self.anchors_per_clip
        random = self._random(ROWS_STREAM, epoch, index)
        return clip, draw_rows(self._clip(clip).times, self.config, random.random(3))

    def read(self, epoch: int, indices: Sequence[int], frames: Tensor | None = None) -> TupleBatch:
        """Read tuples of an epoch.

        Parameters
        ----------
        epoch : int
            The epoch; fixed tuples are the same in all.
        indices : sequence of int
            Which of its tuples, 0 to ``len(self) - 1``.
        frames : Tensor, optional
            (B, F, S, S, 3) uint8 to read frames into.

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
            number, rows = self.rows(epoch, index)
            clip = self._clip(number)
            self.store.read_rows(self.clips[number], rows, frames[place].numpy())
            timestamp = clip.times.timestamp
            seconds[place] = timestamp[rows] - timestamp[rows[0]]
            drawn_epoch = epoch if self.anchors_per_clip else 0
            self._random(AUGMENTATION_STREAM, drawn_epoch, index).random(dtype=np.float32, out=draws[place])
            targets[place] = clip.targets[rows]
        return TupleBatch(frames, *map(torch.from_numpy, (seconds, draws, targets)))
