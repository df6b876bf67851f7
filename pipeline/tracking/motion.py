"""Whether a face moves in itself, or is a photograph of one.

A camera in the hand moves a photograph as a whole: an affine map explains where its landmarks go. Blinks, speech,
expressions and turns of the head leave a rest, measured here relative to the face's size. docs/people.md has the rests
of living faces and of photographs.
"""

from __future__ import annotations

import math

import numpy as np

STILL = 0.0035
"""A rest below this is noise of the landmarks."""
ALIVE = 0.005
"""A rest of this or more is movement. In between, nothing is decided."""
LEAST_STILL = (12, 3.0)
"""Frames, and seconds from first to last, needed to call a face motionless: for two seconds, a calm person's rest can
be as low as a photograph's."""
LEAST_ALIVE = (5, 2.0)
"""The same to call it alive."""
WINDOW_S = 10.0
"""Length of the windows over which rests are measured."""
MIN_LANDMARKS = 68
"""With fewer, such as five, an affine map explains nearly everything."""


class MotionMeter:
    """Measures how one face moves from its landmarks, frame by frame, in constant memory.

    Each window of ``window_s`` seconds, and each track, is measured on its own.

    >>> meter = MotionMeter()
    >>> photograph = np.random.default_rng(0).uniform(0, 100, (478, 3))
    >>> for frame in range(100):
    ...     meter.add(photograph * (1 + frame / 100) + frame, frame / 25)  # it comes nearer and moves to one side
    >>> meter.moves
    False
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._window: _Window | None = None
        self._key: tuple[int, int] | None = None
        self._is_alive = False
        self._verdicts: set[bool | None] = set()

    def add(self, landmarks: np.ndarray, time_s: float, track: int = 0) -> None:
        """Take the next frame's landmarks, (K, 2 or 3)."""
        if self._is_alive or len(landmarks) < MIN_LANDMARKS:
            return
        points = landmarks[:, :2].astype(np.float64)
        key = (int(time_s / self._window_s), track)
        if self._window is None or key != self._key:
            self._verdicts |= self._judged()
            self._window, self._key = _Window(points, time_s), key
        self._window.add(points, time_s)
        self._is_alive = self._window.has(LEAST_ALIVE) and self._window.rest >= ALIVE

    def _judged(self) -> set[bool | None]:
        """Return the verdict on the present window, or nothing if it is too short."""
        if self._window is None or not self._window.has(LEAST_STILL):
            return set()
        return {False if self._window.rest < STILL else None}

    @property
    def moves(self) -> bool | None:
        """Whether the face moves: true if it does in any window, ``None`` if that is not known."""
        if self._is_alive:
            return True
        return False if self._verdicts | self._judged() == {False} else None


class _Window:
    """Sums over the frames of a window of what no affine map from its first frame explains."""

    def __init__(self, points: np.ndarray, time_s: float) -> None:
        centred = (points - points.mean(axis=0)) / max(float(np.ptp(points)), 1e-9)
        self._base = np.column_stack([centred, np.ones(len(points))])
        self._solve = np.linalg.pinv(self._base)
        self._first_s = self._last_s = time_s
        self._n, self._sum, self._squares = 0, np.zeros_like(points), 0.0

    def add(self, points: np.ndarray, time_s: float) -> None:
        size = max(float(np.ptp(points, axis=0).max()), 1e-9)
        rests = (points - self._base @ (self._solve @ points)) / size
        self._n, self._last_s = self._n + 1, time_s
        self._sum += rests
        self._squares += float((rests**2).sum())

    def has(self, least: tuple[int, float]) -> bool:
        n_frames, seconds = least
        return self._n >= n_frames and self._last_s - self._first_s >= seconds

    @property
    def rest(self) -> float:
        """Root mean square distance of the landmarks from their mean places, as a share of the face's size."""
        scatter = self._squares / self._n - float(((self._sum / self._n) ** 2).sum())
        return math.sqrt(max(scatter, 0.0) / len(self._sum))
