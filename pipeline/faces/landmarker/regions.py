"""Square regions of a picture, turned with the face, that networks see: cut out of it, and points mapped back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tclr.pipeline.faces.face import compute_overlap

ROOM = 1.5
"""Side of a face's region, in sizes of what is known of it: its box, or its landmarks."""
FEW_PIXELS = 500_000
"""Size of a picture up to which it pays to convert all of it for a warp."""
OUTER_EYES = (33, 263)
"""Landmarks of the outer corners of the right and the left eye, whose line becomes horizontal."""


@dataclass(frozen=True)
class Region:
    """A square in source pixels; ``angle`` in radians turns it clockwise."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    @classmethod
    def around(cls, low: np.ndarray, high: np.ndarray, right_eye: np.ndarray, left_eye: np.ndarray) -> Region:
        """Return the region of a face between two corners, (2,) each, with room; its eyes are level in it."""
        (x0, y0), (x1, y1) = low.tolist(), high.tolist()
        dx, dy = (left_eye - right_eye).tolist()
        return cls((x0 + x1) / 2, (y0 + y1) / 2, ROOM * max(x1 - x0, y1 - y0), math.atan2(dy, dx))

    @classmethod
    def of_landmarks(cls, landmarks: np.ndarray) -> Region:
        """Return the region of a face by its landmarks (478, 3) in source pixels.

        >>> points = np.zeros((478, 3))
        >>> points[33, :2], points[263, :2] = (10, 20), (50, 20)
        >>> Region.of_landmarks(points)
        Region(x=25.0, y=10.0, side=75.0, angle=0.0)
        """
        points = landmarks[:, :2].astype(np.float64)
        right_eye, left_eye = (points[number] for number in OUTER_EYES)
        return cls.around(points.min(axis=0), points.max(axis=0), right_eye, left_eye)

    def matrix(self, size: int) -> np.ndarray:
        """Return the (2, 3) map from pixels of a cut of that size to source pixels."""
        scale = self.side / size
        cos, sin = scale * math.cos(self.angle), scale * math.sin(self.angle)
        half = size / 2
        return np.array([[cos, -sin, self.x - half * (cos - sin)], [sin, cos, self.y - half * (sin + cos)]])

    def overlap(self, other: Region) -> float:
        """Return the intersection over union of two regions as if they were upright, 0..1."""
        return compute_overlap(self._box, other._box)

    @property
    def _box(self) -> np.ndarray:
        half = self.side / 2
        return np.array([self.x - half, self.y - half, self.x + half, self.y + half])


def cut(image: np.ndarray, region: Region, size: int, border: int) -> np.ndarray:
    """Return the (size, size, 3) uint8 cut of a region; ``border`` is OpenCV's code for what lies outside.

    OpenCV warps four channels twice as fast as three, to the same numbers, which pays where few pixels are converted.
    """
    is_small = image.shape[0] * image.shape[1] <= FEW_PIXELS
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    given = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA) if is_small else image
    warped = cv2.warpAffine(given, region.matrix(size), (size, size), flags=flags, borderMode=border)
    return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB) if is_small else warped
