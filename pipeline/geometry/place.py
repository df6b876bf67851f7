"""Where a head is, in millimetres before a camera of which only the picture is known."""

from __future__ import annotations

import math

import numpy as np

from tclr.pipeline.geometry.pose import Alignment

FIELD_OF_VIEW = math.radians(63)
"""From the top of the picture to its bottom, as mediapipe assumes."""
EYE_DISTANCE_MM = 87.0
"""Between the outer corners of the eyes. From the irises of people in photographs, which are 11.7 mm wide in all adults
(docs/gaze.md)."""
OUTER_CORNERS = (33, 263)


def focal_length_px(height_px: float) -> float:
    """Return the focal length of the assumed camera, in pixels.

    >>> round(focal_length_px(1080))
    881
    """
    return height_px / 2 / math.tan(FIELD_OF_VIEW / 2)


def place_head(landmarks: np.ndarray, alignment: Alignment, width_px: int, height_px: int) -> np.ndarray:
    """Return where the heads of n faces are, (n, 3) float32 mm: x to the right, y down, z away from the camera.

    The point is midway between the outer corners of the eyes. The camera looks at the middle of the picture. Its focal
    length is assumed: z is proportional to it, x and y do not depend on it.
    """
    away_px = landmarks[:, OUTER_CORNERS, :2].astype(np.float64).mean(axis=1) - [
        (width_px - 1) / 2,
        (height_px - 1) / 2,
    ]
    mm_per_px = EYE_DISTANCE_MM * alignment.scale
    depth = np.full(len(landmarks), focal_length_px(height_px))
    return (np.column_stack([away_px, depth]) * mm_per_px[:, None]).astype(np.float32)
