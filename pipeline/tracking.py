"""Which face is the subject's: the one that continues the track, else the largest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tclr.pipeline.faces import Face

MIN_OVERLAP = 0.3
"""Overlap with the last box that continues a track; chosen by us: heads move far less in one frame."""


def compute_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union of two boxes x0 y0 x1 y1, 0..1."""
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (first, second)]
    union = sum(areas) - shared
    return shared / union if union > 0 else 0.0


def choose_face(faces: Sequence[Face], last_bbox: np.ndarray | None) -> Face | None:
    """Return the subject's face.

    Parameters
    ----------
    faces : sequence of Face
        All faces of the frame.
    last_bbox : ndarray or None
        (4,) box of the subject's face in the last frame that had one.

    Returns
    -------
    Face or None
        The face that overlaps most with the last box; without such a face the largest; ``None`` without a face.
    """
    if not faces:
        return None
    if last_bbox is not None:
        overlaps = [compute_overlap(face.bbox, last_bbox) for face in faces]
        if max(overlaps) >= MIN_OVERLAP:
            return faces[int(np.argmax(overlaps))]
    return max(faces, key=lambda face: float(np.prod(face.bbox[2:] - face.bbox[:2])))
