"""What a clip is like, in a few numbers: for the manifest, so that pandas can filter clips."""

from __future__ import annotations

import numpy as np

from tclr.schemas.store import COUNT_ATTRS, FACE_STATUSES, QUALITY_ATTRS, Status


def summarise_clip(
    *,
    timestamp: np.ndarray,
    status: np.ndarray,
    track: np.ndarray,
    score: np.ndarray,
    sharpness: np.ndarray,
    bbox: np.ndarray,
    pose: np.ndarray,
) -> dict[str, float]:
    """Return a clip's ``COUNT_ATTRS`` and ``QUALITY_ATTRS`` from its datasets; shapes as in ``CLIP_FIELDS``."""
    counts = [int((status == one).sum()) for one in Status]
    counts.append(int(track.max(initial=-1)) + 1)
    face = np.isin(status, FACE_STATUSES)
    sizes = (bbox[face, 2:] - bbox[face, :2]).max(axis=1)
    columns = (score[face], sharpness[face], sizes, np.abs(pose[face, 1]))
    medians = [float(np.median(column)) if face.any() else np.nan for column in columns]
    duration_s = float(timestamp[-1]) if len(timestamp) else 0.0
    return dict(zip((*COUNT_ATTRS, *QUALITY_ATTRS), (*counts, duration_s, *medians), strict=True))
