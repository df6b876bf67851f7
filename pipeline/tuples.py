"""Temporal tuples from a store, for training: anchor, sibling and the frames that follow.

A tuple at anchor t with spacing k has the source frames t, t + 1, t + 1 + k, ..., t + 1 + N k (section 5 of the
design, as the paper's repository trains it). It never bridges a frame that is missing or has no face, nor a cut.

Sampling has no state: the tuples of an epoch follow from seed and epoch alone, so training resumes exactly and
loader processes do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.errors import InputError

GAP_STEPS = 1.5
"""A longer step than this many usual ones is a gap; chosen by us: one missing frame makes it 2."""
VALIDATION_TUPLES_PER_CLIP = 8
"""Fixed anchors a held-out clip, spread evenly; chosen by us: enough pairs to see 1% at a few clips."""


def tuple_offsets(spacing: int, n_following: int) -> np.ndarray:
    """Return the frame offsets of a tuple from its anchor.

    Returns
    -------
    ndarray
        (n_following + 2,) int64: 0, 1, 1 + k, ..., 1 + n_following k.
    """
    return np.concatenate([[0], 1 + spacing * np.arange(n_following + 1)])


def follows_on(timestamp: np.ndarray, track: np.ndarray) -> np.ndarray:
    """Tell for each frame whether it follows the one before without a gap in time or a cut.

    Parameters
    ----------
    timestamp : ndarray
        (T,) seconds, rising.
    track : ndarray
        (T,) number of the face's track: a cut begins a new one.

    Returns
    -------
    ndarray
        (T,) bool: the step is at most ``GAP_STEPS`` of the clip's usual (median) one; the first frame follows none.
        So clips that were resampled count as whole, and missing images of a sequence as gaps.
    """
    steps = np.diff(timestamp)
    if not len(steps):
        return np.zeros(len(timestamp), bool)
    return np.concatenate([[False], (steps <= GAP_STEPS * np.median(steps)) & (np.diff(track) == 0)])


def find_anchors(follows: np.ndarray, face: np.ndarray, span: int) -> np.ndarray:
    """Return the rows from which the next ``span`` rows follow without a gap, all with a face.

    Parameters
    ----------
    follows : ndarray
        (T,) bool, see ``follows_on``.
    face : ndarray
        (T,) bool.
    span : int
        Offset of the tuple's last frame.

    Returns
    -------
    ndarray
        (A,) int64 rows.
    """
    if len(face) <= span:
        return np.zeros(0, np.int64)
    faces_before = np.concatenate([[0], np.cumsum(face)])
    all_faces = faces_before[span + 1 :] - faces_before[: -span - 1] == span + 1
    followers_before = np.concatenate([[0], np.cumsum(follows)])
    unbroken = followers_before[span + 1 :] - followers_before[1 : len(follows) - span + 1] == span
    return np.flatnonzero(all_faces & unbroken)


def longest_run(follows: np.ndarray, face: np.ndarray) -> int:
    """Return the length of the longest run of frames with a face that follow each other."""
    longest = length = 0
    for follow, has_face in zip(follows, face, strict=True):
        length = (length + 1 if follow else 1) if has_face else 0
        longest = max(longest, length)
    return longest


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


@dataclass(frozen=True)
class AnchoredClip:
    """A clip and the rows of it that can be anchors."""

    info: ClipInfo
    anchors: np.ndarray


def index_clips(store: Store, subjects: Sequence[str], span: int) -> list[AnchoredClip]:
    """List the clips of some subjects that have an anchor.

    Raises
    ------
    InputError
        If no clip has enough frames in a row.
    """
    wanted, indexed, longest = set(subjects), [], 0
    for info in store.clips:
        if info.subject not in wanted:
            continue
        follows = follows_on(store.read(info, "timestamp"), store.read(info, "track"))
        face = store.face_mask(info)
        anchors = find_anchors(follows, face, span)
        longest = max(longest, longest_run(follows, face))
        if len(anchors):
            indexed.append(AnchoredClip(info, anchors))
    if not indexed:
        raise InputError(
            f"Expected clips with {span + 1} frames with a face in a row, but the longest run of "
            f"{', '.join(sorted(wanted)[:5])} in {store.root} has {longest}. Lower --spacing or --n-following."
        )
    return indexed


@dataclass
class TupleBatch:
    """Tuples of one micro-batch.

    Parameters
    ----------
    frames : Tensor
        (B, F, S, S, 3) uint8 RGB.
    seconds : Tensor
        (B, F) float32, distance in time to the anchor.
    draws : Tensor
        (B, F, N_DRAWS) float32 in [0, 1), the augmentation's random numbers.
    targets : Tensor
        (B, F, G) float32, NaN where unknown; G may be 0.
    """

    frames: torch.Tensor
    seconds: torch.Tensor
    draws: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device, non_blocking: bool = False) -> TupleBatch:
        """Return the batch on a device."""
        tensors = (self.frames, self.seconds, self.draws, self.targets)
        return TupleBatch(*(tensor.to(device, non_blocking=non_blocking) for tensor in tensors))

    def pin_memory(self) -> TupleBatch:
        """Return the batch in page-locked memory."""
        return TupleBatch(*(tensor.pin_memory() for tensor in (self.frames, self.seconds, self.draws, self.targets)))


class TupleDataset(Dataset[torch.Tensor]):
    """Tuples of one epoch, as (F, S, S, 3) uint8 tensors.

    Parameters
    ----------
    store : Path
        The store.
    subjects : sequence of str
        Whose clips to use.
    spacing, n_following : int
        See ``tuple_offsets``.
    anchors_per_clip : int
        Anchors drawn from each clip and epoch; 0 takes fixed ones, spread evenly, for validation.
    seed : int
        Seed of the draws.
    """

    def __init__(
        self, store: Path, subjects: Sequence[str], *, spacing: int, n_following: int, anchors_per_clip: int, seed: int
    ) -> None:
        self.store = Store(store, subjects)
        self.offsets = tuple_offsets(spacing, n_following)
        self.anchors_per_clip = anchors_per_clip
        self.seed = seed
        self.n_targets = 0
        self.clips = index_clips(self.store, subjects, int(self.offsets[-1]))
        self.tuples: list[tuple[int, int]] = []
        self.store.close()  # loader processes open their own files
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the anchors of an epoch and their order."""
        self.epoch = epoch
        if self.anchors_per_clip == 0:
            self.tuples = [(i, row) for i, clip in enumerate(self.clips) for row in self._fixed(clip)]
            return
        rng = np.random.default_rng([self.seed, epoch])
        drawn = [
            (i, int(row))
            for i, clip in enumerate(self.clips)
            for row in rng.choice(clip.anchors, self.anchors_per_clip)
        ]
        self.tuples = [drawn[i] for i in rng.permutation(len(drawn))]

    @staticmethod
    def _fixed(clip: AnchoredClip) -> list[int]:
        places = np.linspace(0, len(clip.anchors) - 1, min(VALIDATION_TUPLES_PER_CLIP, len(clip.anchors)))
        return [int(clip.anchors[int(place)]) for place in places.round()]

    def __len__(self) -> int:
        return len(self.tuples)

    def __getitem__(self, index: int) -> torch.Tensor:
        clip, row = self.tuples[index]
        window = self.store.read_frames(self.clips[clip].info, row, row + int(self.offsets[-1]) + 1)
        return torch.from_numpy(window[self.offsets])
