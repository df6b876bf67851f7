"""Which rows of a clip a tuple has: arrays in, rows out.

A tuple has an anchor, its sibling and N following frames, at 0, c, c + s, ..., c + N s on the clip's clock, where s is
the spacing. The clock counts frames and c is one frame (the paper's way: t, t + 1, t + 1 + k, ...), or it shows seconds
and c is 1/25 s, a frame of the paper's videos, so that clips of any rate agree. The frame nearest to each place is
taken. A tuple never bridges a frame that is missing or has no face, nor a cut: it stays within one run of rows.

Source: Lu, Tavabi and Soleymani, BMVC 2020; spacing in seconds and both directions are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tclr.schemas.config import PretrainConfig

GAP_STEPS = 1.5
"""A longer step than this many usual ones is a gap; chosen by us: one missing frame makes it 2."""
SIBLING_S = 0.04
"""From anchor to sibling where the clock shows seconds: one frame of VoxCeleb2, which the paper trains on."""
TOLERANCE = 1e-3
"""Of a clock; chosen by us: containers round timestamps to a millisecond."""


def tuple_offsets(spacing: float, n_following: int, sibling: float = 1) -> np.ndarray:
    """Return the places of a tuple's frames from its anchor on the clock, (N + 2,): 0, c, c + s, ..., c + N s."""
    return np.concatenate([[0], sibling + spacing * np.arange(n_following + 1)])


@dataclass(frozen=True)
class Spacing:
    """From which spacings a tuple's is drawn, in frames or in seconds.

    Where ``smallest`` is 0, it is always the largest, or the largest that fits.
    """

    smallest: float
    largest: float
    in_seconds: bool

    @classmethod
    def of(cls, config: PretrainConfig) -> Spacing:
        """Return what the settings ask for: ``spacing`` in frames unless there is one in seconds."""
        if config.spacing_max_s:
            return cls(config.spacing_min_s, config.spacing_max_s, in_seconds=True)
        return cls(config.spacing, config.spacing, in_seconds=False)

    @property
    def sibling(self) -> float:
        """From anchor to sibling, in the same unit."""
        return SIBLING_S if self.in_seconds else 1

    def at(self, share: float) -> float:
        """Return the spacing at a share 0..1 of the range, on a logarithmic scale."""
        if self.smallest in (0, self.largest):
            return self.largest
        return math.exp((1 - share) * math.log(self.smallest) + share * math.log(self.largest))

    def clock(self, timestamp: np.ndarray) -> np.ndarray:
        """Return (T,) float64: what the clock shows at each row."""
        return timestamp if self.in_seconds else np.arange(len(timestamp), dtype=np.float64)

    def longest_fitting(self, clock: np.ndarray, runs: np.ndarray, n_following: int) -> float:
        """Return the largest spacing of which a tuple fits in one of the runs; minus infinity if none does."""
        long_enough = runs[runs[:, 1] - runs[:, 0] >= n_following + 2]
        lengths = clock[long_enough[:, 1] - 1] - clock[long_enough[:, 0]]
        return float((lengths.max(initial=-np.inf) - self.sibling) / n_following)

    def fits(self, clock: np.ndarray, runs: np.ndarray, n_following: int) -> bool:
        """Tell whether a tuple of the smallest spacing fits in one of the runs."""
        return self.longest_fitting(clock, runs, n_following) >= self.smallest - TOLERANCE


def follows_on(timestamp: np.ndarray, track: np.ndarray) -> np.ndarray:
    """Return (T,) bool: whether a frame follows the one before without a gap in time or a cut; the first follows none.

    A step of ``timestamp`` (T,), rising seconds, is a gap if it is longer than ``GAP_STEPS`` of the clip's usual
    (median) one. So clips that were resampled count as whole, and missing images of a sequence as gaps. A cut begins a
    new number in ``track`` (T,).
    """
    steps = np.diff(timestamp)
    if not len(steps):
        return np.zeros(len(timestamp), bool)
    return np.concatenate([[False], (steps <= GAP_STEPS * np.median(steps)) & (np.diff(track) == 0)])


def find_runs(follows: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Return the runs (R, 2) of frames with a ``face`` (T,) that follow each other: first row, row after the last.

    ``follows`` (T,) is that of ``follows_on``.
    """
    goes_on = follows & face & np.concatenate([[False], face[:-1]])
    starts = np.flatnonzero(face & ~goes_on)
    stops = np.flatnonzero(face & ~np.concatenate([goes_on[1:], [False]])) + 1
    return np.stack([starts, stops], axis=1)


def find_anchors(clock: np.ndarray, runs: np.ndarray, span: float, n_rows: int) -> np.ndarray:
    """Return the rows (A,) from which a run lasts ``span`` on the clock, and ``n_rows`` rows with themselves."""
    anchors = [np.zeros(0, np.int64)]
    for start, stop in runs.tolist():
        in_time = np.searchsorted(clock[start:stop], clock[stop - 1] - span + TOLERANCE, side="right")
        anchors.append(np.arange(start, min(start + int(in_time), stop - n_rows + 1)))
    return np.concatenate(anchors)


def nearest_rows(clock: np.ndarray, anchor: int, stop: int, offsets: np.ndarray) -> np.ndarray:
    """Return the rows (F,) nearest to an anchor's tuple, each after the one before and below ``stop``.

    ``stop`` is the end of the anchor's run, at least as many rows later as the tuple has; ``offsets`` (F,) are those of
    ``tuple_offsets``.
    """
    places, order = clock[anchor] + offsets, np.arange(len(offsets))
    after = np.searchsorted(clock[:stop], places).clip(anchor + 1, stop - 1)
    rows = np.where(places - clock[after - 1] <= clock[after] - places, after - 1, after)
    rows = np.maximum.accumulate(rows - order) + order
    return np.minimum(rows, stop - len(offsets) + order)


@dataclass(frozen=True)
class ClipTimes:
    """What the choice of rows needs to know: ``timestamp`` (T,) in seconds, ``runs`` (R, 2) of ``find_runs``."""

    timestamp: np.ndarray
    runs: np.ndarray

    def backwards(self) -> ClipTimes:
        """Return the clip as it runs back in time: row r becomes row T - 1 - r."""
        return ClipTimes(-self.timestamp[::-1], len(self.timestamp) - self.runs[::-1, ::-1])


def draw_rows(times: ClipTimes, config: PretrainConfig, draws: np.ndarray) -> np.ndarray:
    """Choose the rows (F,) of one tuple of a clip that it fits in; they fall where the tuple runs back in time.

    Where the clip is too short for the spacing that was drawn, the largest that fits is taken. ``draws`` (3,) in [0, 1)
    are for spacing, direction and anchor.
    """
    back = config.direction == "both" and draws[1] < 0.5
    used, spacing = times.backwards() if back else times, Spacing.of(config)
    clock = spacing.clock(used.timestamp)
    step = min(spacing.at(draws[0]), spacing.longest_fitting(clock, used.runs, config.n_following))
    offsets = tuple_offsets(step, config.n_following, spacing.sibling)
    anchors = find_anchors(clock, used.runs, offsets[-1], len(offsets))
    anchor = int(anchors[int(draws[2] * len(anchors))])
    rows = nearest_rows(clock, anchor, _end_of_run(used.runs, anchor), offsets)
    return len(clock) - 1 - rows if back else rows


def fixed_rows(times: ClipTimes, spacing: Spacing, n_following: int, n_tuples: int) -> np.ndarray:
    """Choose the rows (n, F) of up to ``n_tuples`` spread evenly over a clip: forward, the middle of the spacings."""
    clock = spacing.clock(times.timestamp)
    step = min(spacing.at(0.5), spacing.longest_fitting(clock, times.runs, n_following))
    offsets = tuple_offsets(step, n_following, spacing.sibling)
    anchors = find_anchors(clock, times.runs, offsets[-1], len(offsets))
    chosen = np.linspace(0, len(anchors) - 1, min(n_tuples, len(anchors))).round().astype(int)
    rows = [nearest_rows(clock, row, _end_of_run(times.runs, row), offsets) for row in anchors[chosen].tolist()]
    return np.stack(rows)


def _end_of_run(runs: np.ndarray, row: int) -> int:
    return int(runs[np.searchsorted(runs[:, 1], row, side="right"), 1])
