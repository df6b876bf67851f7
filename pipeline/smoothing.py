"""Smoothing of predictions over the time of a clip."""

from __future__ import annotations

import numpy as np

REACH = 3.0
"""Standard deviations beyond which a frame has no weight."""


def smooth(values: np.ndarray, timestamps: np.ndarray, smooth_s: float) -> np.ndarray:
    """Return the Gaussian-weighted mean of the values around each frame, without lag.

    Weights go by time, not by rows, so a variable frame rate does not matter. What is missing has no weight and stays
    missing: a gap is neither filled nor taken for zeros. (Nadaraya, 1964, with a Gaussian kernel.)

    Parameters
    ----------
    values : ndarray
        (n, A) float of one clip; NaN = missing.
    timestamps : ndarray
        (n,) seconds, not falling.
    smooth_s : float
        Standard deviation of the kernel, seconds, cut at three of them; 0 returns the values as they are.

    Returns
    -------
    ndarray
        (n, A), dtype of the values.
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
