"""AU45, the blink: closed eyes, AU43, for a moment. FACS tells the two apart by their duration alone."""

from __future__ import annotations

import numpy as np

from tclr.pipeline.au.readout import Prediction

CLOSED, BLINK = "AU43", "AU45"
LONGEST_S = 0.5
"""Longest blink in seconds: spontaneous ones last 0.1 to 0.4 s (Caffier, Erdmann and Ullsperger, 2003)."""


def is_blink(closed: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Return (T,) bool: the frames of closures that last at most ``LONGEST_S``.

    Parameters
    ----------
    closed : ndarray
        (T,) bool, whether the eyes are closed.
    timestamps : ndarray
        (T,) seconds, rising. A closure lasts until the next frame.

    Examples
    --------
    >>> is_blink(np.array([False, True, True, False]), np.array([0.0, 0.1, 0.2, 0.3])).tolist()
    [False, True, True, False]
    >>> is_blink(np.array([False, True, True, False]), np.array([0.0, 1.0, 2.0, 3.0])).any()
    False
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], closed, [False]]).astype(np.int8)))
    out = np.zeros(len(closed), bool)
    for start, stop in edges.reshape(-1, 2):
        out[start:stop] = timestamps[min(stop, len(closed) - 1)] - timestamps[start] <= LONGEST_S
    return out


def add_blinks(prediction: Prediction, closed: int, threshold: float, timestamps: np.ndarray | None) -> Prediction:
    """Append AU45 to a clip's predictions: those of AU43, but 0 where the eyes stay closed for longer than a blink.

    ``closed`` is the column of AU43, ``threshold`` its probability from which eyes count as closed. Without
    ``timestamps``, for stills, AU45 is unknown.

    Examples
    --------
    >>> closed = Prediction(np.array([[0.1], [0.9], [0.1]], np.float32), np.zeros((3, 1), np.float32))
    >>> add_blinks(closed, 0, 0.5, np.array([0.0, 0.1, 0.2])).probability.shape
    (3, 2)
    """
    probability = prediction.probability[:, closed]
    factor = np.full(len(probability), np.nan, np.float32)
    if timestamps is not None:
        shut = probability >= threshold
        factor = np.where(shut & ~is_blink(shut, timestamps), 0, 1).astype(np.float32)
    return _append(prediction, closed, factor)


class BlinkFollower:
    """Appends AU45 to frames that arrive one by one: AU43 until the eyes have been closed for longer than a blink.

    ``closed`` and ``threshold`` are as for ``add_blinks``. Whether a closure will be a blink is not known yet, so the
    first ``LONGEST_S`` of a longer one count as a blink, too.

    >>> follower = BlinkFollower(0, 0.5)
    >>> shut = Prediction(np.full((1, 1), 0.9, np.float32), np.zeros((1, 1), np.float32))
    >>> [round(follower.add(shut, np.array([t])).probability[0, 1].item(), 1) for t in (0.0, 0.4, 0.8)]
    [0.9, 0.9, 0.0]
    """

    def __init__(self, closed: int, threshold: float) -> None:
        self._closed, self._threshold = closed, threshold
        self._since_s: float | None = None

    def add(self, prediction: Prediction, timestamps: np.ndarray) -> Prediction:
        """Return the next frames' predictions with AU45; ``timestamps`` (n,) are in seconds."""
        factor = np.ones(len(timestamps), np.float32)
        for row, time_s in enumerate(timestamps.tolist()):
            is_shut = bool(prediction.probability[row, self._closed] >= self._threshold)
            self._since_s = (time_s if self._since_s is None else self._since_s) if is_shut else None
            factor[row] = self._since_s is None or time_s - self._since_s <= LONGEST_S
        return _append(prediction, self._closed, factor)


def _append(prediction: Prediction, closed: int, factor: np.ndarray) -> Prediction:
    """Append a column that is the one of AU43 times a factor (n,)."""

    def extend(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values, (values[..., closed].T * factor).T[..., None]], axis=-1)

    sides = None if prediction.sides is None else extend(prediction.sides)
    return Prediction(extend(prediction.probability), extend(prediction.intensity), sides)
