"""The look of a face, to tell the people of one clip apart, and its texture, to find who is in a picture of a face.

A look is the coarse colours of the aligned head, its hair and a little around it: a few numbers that hold within a
clip. A texture is the directions of the edges in the face: light and background count for less, the frame's
sharpness and the head's turn for more. Neither is a face recogniser. docs/people.md has figures for both.
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
JUMP = 0.15
"""Between neighbouring frames, a look in one place that changes by more is a cut or another face, not movement."""
TEXTURE_PX = 96
TEXTURE_MARGIN = 1.0
HOG = cv2.HOGDescriptor((TEXTURE_PX, TEXTURE_PX), (16, 16), (8, 8), (8, 8), 9)
"""Histograms of oriented gradients (Dalal and Triggs, CVPR 2005): cells of 8 pixels, blocks of 2 x 2, 9 directions."""


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


def describe_texture(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the texture of a face in an image (H, W, 3) uint8: (4356,) float32.

    >>> landmarks = np.c_[TEMPLATES["arcface"].points * 64, np.zeros(5)]
    >>> describe_texture(np.zeros((64, 64, 3), np.uint8), landmarks).shape
    (4356,)
    """
    transform = align_transform(landmarks, TEMPLATES["tclr"], TEXTURE_PX, TEXTURE_MARGIN)
    crop = warp_crop(image, transform, TEXTURE_PX)
    return np.asarray(HOG.compute(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)), np.float32).ravel()


def compare_looks(first: np.ndarray, second: np.ndarray) -> float:
    """Return the difference between two looks (or two textures), 0 or more; see ``SAME_PERSON``, ``OTHER_PERSON``."""
    return float(np.linalg.norm(first - second))
