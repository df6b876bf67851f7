"""Clips that are long enough for a tuple, with the times, runs and targets of their frames."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.tuples.rows import ClipTimes, Spacing, find_runs, follows_on
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import InputError, StoreError

CACHED_CLIPS = 1024
"""Clips whose times and targets a process caches: all 328 of BP4D, some 150 MB with landmarks as targets."""

TargetReader = Callable[[Store, ClipInfo], np.ndarray]
"""A function that reads the targets of a clip's frames: (T, G) float32, NaN where unknown."""


def read_times(store: Store, info: ClipInfo) -> ClipTimes:
    """Read the times and runs of a clip."""
    timestamp = store.read(info, "timestamp")
    follows = follows_on(timestamp, store.read(info, "track"))
    return ClipTimes(timestamp, find_runs(follows, store.face_mask(info)))


def index_clips(store: Store, subjects: Sequence[str], config: PretrainConfig) -> list[ClipInfo]:
    """List the clips of some subjects that are long enough for a tuple of the smallest spacing.

    Raises
    ------
    InputError
        If no clip is long enough.

    Examples
    --------
    >>> from tclr.pipeline.store import Store
    >>> from tclr.schemas.config import PretrainConfig
    >>> with Store(Path("store")) as store:
    ...     [info.name for info in index_clips(store, ["F001"], PretrainConfig())]
    ['F001/T1']
    """
    return [info for info, _ in find_usable(store, subjects, Spacing.of(config), config.n_following)]


def find_usable(
    store: Store, subjects: Sequence[str], spacing: Spacing, n_following: int
) -> Iterator[tuple[ClipInfo, ClipTimes]]:
    """Yield the clips of ``index_clips`` with their times.

    Raises
    ------
    InputError
        At the end, if there was none.
    """
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
class KnownClip:
    """Times and targets (T, G) float32 of a clip."""

    times: ClipTimes
    targets: np.ndarray


class ClipReader:
    """Reads times and targets of a store's clips by their number, and caches those of the last ``CACHED_CLIPS``.

    Pickling and copying are cheap: they leave out open files and the cache. Without ``read_targets`` G is 0.
    """

    def __init__(self, store: Store, clips: list[ClipInfo], read_targets: TargetReader | None) -> None:
        self.store, self.clips, self._read_targets = store, clips, read_targets
        self.n_targets = 0 if read_targets is None else read_targets(store, clips[0]).shape[1]
        self._kept: OrderedDict[int, KnownClip] = OrderedDict()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "store": copy(self.store), "_kept": OrderedDict()}

    def read(self, clip: int) -> KnownClip:
        """Return a clip's times and targets."""
        known = self._kept.pop(clip, None)
        if known is None:
            while len(self._kept) >= CACHED_CLIPS:
                self._kept.popitem(last=False)
            known = KnownClip(read_times(self.store, self.clips[clip]), self.read_targets(clip))
        self._kept[clip] = known
        return known

    def read_targets(self, clip: int) -> np.ndarray:
        """Read a clip's targets, (T, G) float32.

        Raises
        ------
        StoreError
            If there are not as many per frame as in the first clip.
        """
        info = self.clips[clip]
        if self._read_targets is None:
            return np.zeros((info.n_frames, 0), np.float32)
        values = self._read_targets(self.store, info)
        if values.shape != (info.n_frames, self.n_targets):
            raise StoreError(
                f"Expected targets of shape {(info.n_frames, self.n_targets)} as for the first clip, but got "
                f"{values.shape} for clip {info.name} in {self.store.root}. Preprocess all subjects with the same "
                "settings."
            )
        return values
