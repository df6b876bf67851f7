"""The look of a face, to tell the people of one clip apart.

A look is the coarse colours of the aligned head, its hair and a little around it: a few numbers that hold within a
clip. It is no face recogniser and does not identify anybody on another day. docs/people.md has figures.
"""

from __future__ import annotations

import cv2
import numpy as np

from tclr.pipeline.tracking.align import TEMPLATES, align_transform, warp_crop

CROP_PX = 64
GRID = 4
MARGIN = 1.2
"""Shows the head with its hair and a rim of background; docs/people.md compares 0.9 to 1.3."""
WEIGHTS = (0.5, 2.0, 2.0)
"""Weights of L, a and b: light changes within a clip, the colours of skin and hair do not."""
UNIT = 156.0
"""Scales differences so that 99% of those between two frames of one person's clip are below 1 (docs/people.md)."""
SAME_PERSON = 1.0
"""Below this difference, two faces of a clip count as one person without further evidence."""
OTHER_PERSON = 1.3
"""At this difference or more, a face does not count as a person even in the same place."""


def describe_face(image: np.ndarray, landmarks: np.ndarray, reduction: int = 1) -> np.ndarray:
    """Return the look of a face in an image (H, W, 3) uint8; landmarks (K, 3) are in source pixels.

    It is (48,) float32: mean L, a, b of 4 x 4 cells of the aligned crop. L is relative to the crop's mean, so that
    overall brightness does not count.
    """
    transform = align_transform(landmarks, TEMPLATES["tclr"], CROP_PX, MARGIN)
    crop = warp_crop(image, transform, CROP_PX, reduction)
    cells = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2LAB), (GRID, GRID), interpolation=cv2.INTER_AREA)
    values = cells.reshape(-1, 3).astype(np.float32)
    values -= (values[:, 0].mean(), 128, 128)
    return (values * (np.array(WEIGHTS) / UNIT)).ravel().astype(np.float32)


def compare_looks(first: np.ndarray, second: np.ndarray) -> float:
    """Return the difference between two looks, 0 or more; see ``SAME_PERSON`` and ``OTHER_PERSON``."""
    return float(np.linalg.norm(first - second))
