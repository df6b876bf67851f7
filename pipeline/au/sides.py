"""How an action divides between the two sides of a face."""

from __future__ import annotations

import numpy as np

from tclr.schemas.action_units import MAX_INTENSITY

SLOPE = 1.0
"""Logit of the left side's share per unit of difference between the halves: a cautious one (docs/model-card.md)."""


def divide(intensity: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """Divide intensities between the sides, so that their mean is the whole face's and none appears where none is.

    Parameters
    ----------
    intensity : ndarray
        (n, A) 0..5 of the whole face.
    difference : ndarray
        (n, A), by how much the face whose both halves are the left one shows more than that of the right one.

    Returns
    -------
    ndarray
        (n, 2, A) float32 0..5: the person's left, then right.

    Examples
    --------
    >>> divide(np.array([[2.0, 0.0]]), np.array([[0.0, 9.0]]))[0].tolist()
    [[2.0, 0.0], [2.0, 0.0]]
    """
    share, both = 0.5 * (1 + np.tanh(0.5 * SLOPE * difference)), 2 * intensity
    left = np.clip(share * both, both - MAX_INTENSITY, MAX_INTENSITY)
    return np.stack([left, both - left], axis=1).astype(np.float32)
