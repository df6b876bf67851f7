"""What a clip is like, in a few numbers: for the manifest, so that pandas can filter clips."""

from __future__ import annotations

import numpy as np

from tclr.schemas.store import COUNT_ATTRS, FACE_STATUSES, NO_TRACK, QUALITY_ATTRS, Status


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
    counts.append(len(np.unique(track[track != NO_TRACK])))
    face = np.isin(status, FACE_STATUSES)
    sizes = (bbox[face, 2:] - bbox[face, :2]).max(axis=1)
    columns = (score[face], sharpness[face], sizes, np.abs(pose[face, 1]))
    known = [column[np.isfinite(column)] for column in columns]  # some detectors give no pose
    medians = [float(np.median(column)) if len(column) else np.nan for column in known]
    duration_s = float(timestamp[-1]) if len(timestamp) else 0.0
    return dict(zip((*COUNT_ATTRS, *QUALITY_ATTRS), (*counts, duration_s, *medians), strict=True))
