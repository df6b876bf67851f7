"""The rows of a tuple within a clip: arrays in, rows out.

A tuple has an anchor, its sibling and N following frames, at 0, c, c + s, ..., c + N s on the clip's clock, where s is
the spacing. The clock counts frames, with c = 1 as in the paper (t, t + 1, t + 1 + k, ...), or it shows seconds, with
c = 1/25 s, one frame of the paper's videos. Seconds make clips of all frame rates comparable. The frame nearest to each
place is taken. A tuple stays within one run of rows: it never spans a cut, a missing frame or a frame without a face.

Source: Lu, Tavabi and Soleymani, BMVC 2020; spacing in seconds and both directions are tclr's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tclr.schemas.config import PretrainConfig

GAP_STEPS = 1.5
"""Steps above this many median steps are gaps; one missing frame gives 2."""
SIBLING_S = 0.04
"""Seconds from anchor to sibling if the clock shows seconds: one frame of VoxCeleb2, which the paper trains on."""
TOLERANCE = 1e-3
"""Tolerance of clock values, in seconds or frames: containers round timestamps to milliseconds."""


def tuple_offsets(spacing: float, n_following: int, sibling: float = 1) -> np.ndarray:
    """Return the places of a tuple's frames from its anchor on the clock, (N + 2,): 0, c, c + s, ..., c + N s."""
    return np.concatenate([[0], sibling + spacing * np.arange(n_following + 1)])


@dataclass(frozen=True)
class Spacing:
    """The range from which the spacing of a tuple is drawn, in frames or in seconds.

    If ``smallest`` is 0, the spacing is always ``largest``, or the largest that fits.
    """

    smallest: float
    largest: float
    in_seconds: bool

    @classmethod
    def of(cls, config: PretrainConfig) -> Spacing:
        """Return the range of the settings: that in seconds if given, else ``spacing`` in frames."""
        if config.spacing_max_s:
            return cls(config.spacing_min_s, config.spacing_max_s, in_seconds=True)
        return cls(config.spacing, config.spacing, in_seconds=False)

    @property
    def sibling(self) -> float:
        """Time from anchor to sibling, in the same unit."""
        return SIBLING_S if self.in_seconds else 1

    def at(self, share: float) -> float:
        """Return the spacing at a share 0..1 of the range, on a logarithmic scale."""
        if self.smallest in (0, self.largest):
            return self.largest
        return math.exp((1 - share) * math.log(self.smallest) + share * math.log(self.largest))

    def clock(self, timestamp: np.ndarray) -> np.ndarray:
        """Return the clock's value at each row, (T,) float64."""
        return timestamp if self.in_seconds else np.arange(len(timestamp), dtype=np.float64)

    def longest_fitting(self, clock: np.ndarray, runs: np.ndarray, n_following: int) -> float:
        """Return the largest spacing at which a tuple fits in one of the runs, or minus infinity."""
        long_enough = runs[runs[:, 1] - runs[:, 0] >= n_following + 2]
        lengths = clock[long_enough[:, 1] - 1] - clock[long_enough[:, 0]]
        return float((lengths.max(initial=-np.inf) - self.sibling) / n_following)

    def fits(self, clock: np.ndarray, runs: np.ndarray, n_following: int) -> bool:
        """Return whether a tuple of the smallest spacing fits in one of the runs."""
        return self.longest_fitting(clock, runs, n_following) >= self.smallest - TOLERANCE


def follows_on(timestamp: np.ndarray, track: np.ndarray) -> np.ndarray:
    """Return (T,) bool: whether a frame follows the previous one without a gap or a cut; False for the first frame.

    A step of ``timestamp`` (T,), ascending seconds, is a gap if it is longer than ``GAP_STEPS`` median steps of the
    clip. Missing images of a sequence are thus gaps, but resampled clips have none. At a cut, the number in ``track``
    (T,) changes.
    """
    steps = np.diff(timestamp)
    if not len(steps):
        return np.zeros(len(timestamp), bool)
    return np.concatenate([[False], (steps <= GAP_STEPS * np.median(steps)) & (np.diff(track) == 0)])


def find_runs(follows: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return the runs (R, 2) of consecutive frames with a ``face`` (T,) bool: first row, and row after the last.

    ``follows`` (T,) is the result of ``follows_on``.
    """
    continues = follows & face & np.concatenate([[False], face[:-1]])
    starts = np.flatnonzero(face & ~continues)
    stops = np.flatnonzero(face & ~np.concatenate([continues[1:], [False]])) + 1
    return np.stack([starts, stops], axis=1)


def find_anchors(clock: np.ndarray, runs: np.ndarray, span: float, n_rows: int) -> np.ndarray:
    """Return the rows (A,) from which the run lasts at least ``span`` on the clock and ``n_rows`` rows."""
    anchors = [np.zeros(0, np.int64)]
    for start, stop in runs.tolist():
        in_time = np.searchsorted(clock[start:stop], clock[stop - 1] - span + TOLERANCE, side="right")
        anchors.append(np.arange(start, min(start + int(in_time), stop - n_rows + 1)))
    return np.concatenate(anchors)


def nearest_rows(clock: np.ndarray, anchor: int, stop: int, offsets: np.ndarray) -> np.ndarray:
    """Return the strictly rising rows (F,), below ``stop``, nearest to the places of an anchor's tuple.

    ``stop`` is the end of the anchor's run, at least F rows after the anchor; ``offsets`` (F,) is the result of
    ``tuple_offsets``.
    """
    places, order = clock[anchor] + offsets, np.arange(len(offsets))
    after = np.searchsorted(clock[:stop], places).clip(anchor + 1, stop - 1)
    rows = np.where(places - clock[after - 1] <= clock[after] - places, after - 1, after)
    rows = np.maximum.accumulate(rows - order) + order
    return np.minimum(rows, stop - len(offsets) + order)


@dataclass(frozen=True)
class ClipTimes:
    """Times of a clip: ``timestamp`` (T,) in seconds, and ``runs`` (R, 2) of ``find_runs``."""

    timestamp: np.ndarray
    runs: np.ndarray

    def backwards(self) -> ClipTimes:
        """Return the times of the reversed clip: row r becomes row T - 1 - r."""
        return ClipTimes(-self.timestamp[::-1], len(self.timestamp) - self.runs[::-1, ::-1])


def draw_rows(times: ClipTimes, config: PretrainConfig, draws: np.ndarray) -> np.ndarray:
    """Choose the rows (F,) of one tuple of a clip that is long enough; they fall if the tuple runs backwards.

    If the clip is too short for the drawn spacing, the largest that fits is taken. ``draws`` (3,) in [0, 1) are for
    spacing, direction and anchor.
    """
    back = config.direction == "both" and draws[1] < 0.5
    used = times.backwards() if back else times
    anchors, rows_from = _find_tuples(used, Spacing.of(config), draws[0], config.n_following)
    rows = rows_from(anchors[int(draws[2] * len(anchors))])
    return len(times.timestamp) - 1 - rows if back else rows


def fixed_rows(times: ClipTimes, spacing: Spacing, n_following: int, n_tuples: int) -> np.ndarray:
    """Choose the rows (n, F) of up to ``n_tuples`` spread evenly over a clip: forward, the middle of the spacings."""
    anchors, rows_from = _find_tuples(times, spacing, 0.5, n_following)
    chosen = np.linspace(0, len(anchors) - 1, min(n_tuples, len(anchors))).round().astype(int)
    return np.stack([rows_from(anchor) for anchor in anchors[chosen]])


def _find_tuples(
    times: ClipTimes, spacing: Spacing, share: float, n_following: int
) -> tuple[np.ndarray, Callable[[int], np.ndarray]]:
    """Return the anchors (A,) of tuples at a share of the spacings, and a function from an anchor to its rows (F,)."""
    clock = spacing.clock(times.timestamp)
    step = min(spacing.at(share), spacing.longest_fitting(clock, times.runs, n_following))
    offsets = tuple_offsets(step, n_following, spacing.sibling)

    def rows_from(anchor: int) -> np.ndarray:
        stop = times.runs[np.searchsorted(times.runs[:, 1], anchor, side="right"), 1]
        return nearest_rows(clock, anchor, stop, offsets)

    return find_anchors(clock, times.runs, offsets[-1], len(offsets)), rows_from
