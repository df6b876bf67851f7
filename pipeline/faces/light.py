"""The light on a face: how bright a crop of template ``tclr`` is, and how much contrast it has.

Only the oval of the face counts, not the background. Levels are those of the video, 0..1 of its brightest white.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from tclr.schemas.features import LEAST_CONTRAST

FACE_CENTRE, FACE_RADII = (0.5, 0.56), (0.30, 0.38)
"""The oval within a face, brows to chin, as shares of the crop's side."""
SIDE_PX = 32
"""Side that crops are reduced to first: details and noise are no contrast."""


@lru_cache(maxsize=1)
def _oval() -> np.ndarray:
    """Return (S, S) uint8, 255 within the oval."""
    y, x = (np.mgrid[:SIDE_PX, :SIDE_PX] + 0.5) / SIDE_PX
    inside = np.hypot((x - FACE_CENTRE[0]) / FACE_RADII[0], (y - FACE_CENTRE[1]) / FACE_RADII[1]) < 1
    return np.where(inside, 255, 0).astype(np.uint8)


def measure_light(crop: np.ndarray) -> tuple[float, float]:
    """Return brightness and contrast of a face, mean and standard deviation of its grey levels, 0..1.

    ``crop`` is (S, S, 3) uint8 RGB of template ``tclr`` and margin 1.

    >>> brightness, contrast = measure_light(np.full((96, 96, 3), 51, np.uint8))
    >>> round(brightness, 3), contrast
    (0.2, 0.0)
    """
    small = cv2.resize(crop, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    mean, spread = cv2.meanStdDev(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), mask=_oval())
    return float(mean.item() / 255), float(spread.item() / 255)


def readable_share(crop: np.ndarray) -> float:
    """Return 1 for a face with enough contrast, and less, down to 0, in light that is too poor to read it.

    ``crop`` is as in ``measure_light``.

    >>> readable_share(np.full((96, 96, 3), 51, np.uint8))
    0.0
    """
    return min(1.0, measure_light(crop)[1] / LEAST_CONTRAST)
