"""What a face looks like, to tell the people of one clip apart.

Coarse colours of the aligned head, hair and a little of what is around it: a few numbers that hold within a clip, not
a face recogniser that knows somebody again on another day. Figures stand in docs/people.md.
"""

from __future__ import annotations

import cv2
import numpy as np

from tclr.pipeline.tracking.align import TEMPLATES, align_transform, warp_crop

CROP_PX = 64
GRID = 4
MARGIN = 1.2
"""The head with its hair, and a rim of what is behind it; measured beside 0.9 to 1.3 in docs/people.md."""
WEIGHTS = (0.5, 2.0, 2.0)
"""Of L, a and b: light changes within a clip, the colours of skin and hair do not."""
UNIT = 156.0
"""Scales differences so that 99% of those between two frames of one person's clip are below 1 (docs/people.md)."""
SAME_PERSON = 1.0
"""Below this difference two faces of a clip are taken for one person without further evidence."""
OTHER_PERSON = 1.3
"""From this difference on a face is not taken for a person even where it stands in the same place."""


def describe_face(image: np.ndarray, landmarks: np.ndarray, reduction: int = 1) -> np.ndarray:
    """Return what a face in an image (H, W, 3) uint8 looks like; landmarks (K, 3) are in source pixels.

    It is (48,) float32: mean L, a, b of 4 x 4 parts of the aligned crop; L relative to the crop's mean, so that light
    as a whole does not count.
    """
    transform = align_transform(landmarks, TEMPLATES["tclr"], CROP_PX, MARGIN)
    crop = warp_crop(image, transform, CROP_PX, reduction)
    cells = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2LAB), (GRID, GRID), interpolation=cv2.INTER_AREA)
    values = cells.reshape(-1, 3).astype(np.float32)
    values -= (values[:, 0].mean(), 128, 128)
    return (values * (np.array(WEIGHTS) / UNIT)).ravel().astype(np.float32)


def compare_looks(first: np.ndarray, second: np.ndarray) -> float:
    """Return how different two faces look, from 0; see ``SAME_PERSON`` and ``OTHER_PERSON``."""
    return float(np.linalg.norm(first - second))
