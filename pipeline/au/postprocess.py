"""Predictions after the head: moved to a common resting level, and smoothed over time.

Faces at rest differ: brows lie low, lip corners point down. A head takes some of that for an action. OpenFace subtracts
a person's median (Baltrusaitis et al., "Cross-dataset learning and person-specific normalisation for automatic Action
Unit detection", FG 2015), which takes a long smile for rest. Here the resting level comes from the quietest frames, in
which the head sees the least action overall, or from frames that someone says are neutral.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from tclr.pipeline.au.readout import Prediction
from tclr.schemas.action_units import MAX_INTENSITY

SMALLEST = 1e-6
"""Distance from 0 and 1 that probabilities are clipped to: float32 has no logit beyond."""


def to_logit(probability: np.ndarray) -> np.ndarray:
    """Return the logit of probabilities, of any shape, as float64."""
    p = np.clip(probability.astype(np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(p / (1 - p))


QUIET_SHARE = 0.1
"""Share of a person's frames that the resting level comes from: those with the least action."""


@dataclass(frozen=True)
class RestingLevel:
    """Medians of predictions at rest: ``logit`` (A,) of the occurrence, ``intensity`` (A,), float32; NaN where unknown.

    ``share`` is the share of a person's frames, the quietest ones, that it comes from; 1 in heads of tclr 0.1.
    """

    logit: np.ndarray
    intensity: np.ndarray
    share: float = QUIET_SHARE

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the medians under their names in a head's file."""
        return {"rest_logit": self.logit, "rest_intensity": self.intensity}


def _median(values: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a median of nothing is NaN, as wanted
        return np.nanmedian(values, axis=0).astype(np.float32)


def quietest(prediction: Prediction, share: float = QUIET_SHARE) -> np.ndarray:
    """Return the rows of a share of the frames, at least one, whose probabilities sum to the least, (m,) int.

    Frames without predictions are left out.

    Examples
    --------
    >>> quietest(Prediction(np.array([[0.9], [0.1], [np.nan]]), np.zeros((3, 1))))
    array([1])
    """
    known = np.flatnonzero(np.isfinite(prediction.probability).any(axis=1))
    action = np.nansum(prediction.probability[known], axis=1)
    return np.sort(known[np.argsort(action, kind="stable")[: max(1, round(share * len(known)))]])


def resting_level(prediction: Prediction, share: float = QUIET_SHARE) -> RestingLevel:
    """Return the medians of one person's predictions over the quietest share of the frames; 1 takes all of them.

    Examples
    --------
    >>> predicted = Prediction(np.array([[0.1], [0.5], [0.9]]), np.array([[0.0], [1.0], [4.0]]))
    >>> resting_level(predicted).intensity.tolist(), resting_level(predicted, 1.0).intensity.tolist()
    ([0.0], [1.0])
    """
    rows = quietest(prediction, share)
    return RestingLevel(_median(to_logit(prediction.probability[rows])), _median(prediction.intensity[rows]), share)


def common_level(prediction: Prediction, subjects: np.ndarray) -> RestingLevel:
    """Return the median over people of their resting levels, so that people with many frames do not weigh more.

    ``subjects`` (N,) has the person of each frame.
    """
    levels = []
    for subject in np.unique(subjects):
        own = subjects == subject
        levels.append(resting_level(Prediction(prediction.probability[own], prediction.intensity[own])))
    logit, intensity = (np.stack([getattr(level, name) for level in levels]) for name in ("logit", "intensity"))
    return RestingLevel(_median(logit), _median(intensity))


def centre(prediction: Prediction, own: RestingLevel, common: RestingLevel) -> Prediction:
    """Move a person's predictions from the person's own resting level to the common one, in logits and intensities.

    Their order stays the same. Where either level is unknown, predictions are not changed.

    Examples
    --------
    >>> predicted = Prediction(np.full((3, 1), 0.5), np.array([[1.0], [1.0], [4.0]]))
    >>> common = RestingLevel(np.zeros(1), np.zeros(1))
    >>> centre(predicted, resting_level(predicted, 1.0), common).intensity.ravel().tolist()
    [0.0, 0.0, 3.0]
    """
    shift = np.nan_to_num(common.logit.astype(np.float64) - own.logit)
    probability = 0.5 * (1 + np.tanh(0.5 * (to_logit(prediction.probability) + shift)))
    move = np.nan_to_num(common.intensity - own.intensity)
    intensity = (prediction.intensity + move).clip(0, MAX_INTENSITY)
    sides = None if prediction.sides is None else (prediction.sides + move).clip(0, MAX_INTENSITY)
    return Prediction(probability.astype(np.float32), intensity, sides)


REACH = 3.0
"""Standard deviations beyond which a frame has no weight."""


def smooth(values: np.ndarray, timestamps: np.ndarray, smooth_s: float) -> np.ndarray:
    """Return the Gaussian-weighted mean of the values around each frame, without lag.

    Weights depend on time, not on rows, so the frame rate may vary. Missing values have no weight and stay missing:
    gaps are neither filled nor taken for zeros (Nadaraya, 1964, with a Gaussian kernel).

    ``values`` (n, A) are of one clip, NaN where missing; the result has their dtype. ``timestamps`` (n,) are in seconds
    and never fall. ``smooth_s`` is the standard deviation of the kernel in seconds, cut at three of them; 0 changes
    nothing.

    Examples
    --------
    >>> smooth(np.array([[0.0], [1.0], [np.nan]]), np.array([0.0, 0.04, 0.08]), 0.04).round(2).ravel().tolist()
    [0.38, 0.62, nan]
    """
    if smooth_s == 0 or not len(values):
        return values
    known = np.isfinite(values)
    filled = np.where(known, values, 0).astype(np.float64)
    total, weight = filled.copy(), known.astype(np.float64)
    last = np.searchsorted(timestamps, timestamps + REACH * smooth_s, side="right") - 1
    for step in range(1, int((last - np.arange(len(values))).max()) + 1):
        distance = (timestamps[step:] - timestamps[:-step]) / smooth_s
        pair = np.where(distance <= REACH, np.exp(-0.5 * distance**2), 0)[:, None]
        total[:-step] += pair * filled[step:]
        weight[:-step] += pair * known[step:]
        total[step:] += pair * filled[:-step]
        weight[step:] += pair * known[:-step]
    return np.where(known, total / np.where(known, weight, 1), np.nan).astype(values.dtype)
