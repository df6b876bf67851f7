"""Scores of tracked faces, a face detector's confidence that they are faces; low ones are marked.

Tracking does not wait for scores: another thread can compute them a few frames behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from tclr.pipeline.faces import readable_share
from tclr.pipeline.tracking.tracker import TrackedFrame
from tclr.pipeline.tracking.upright import cut_check_crop
from tclr.pipeline.video import Frame
from tclr.schemas.store import Status


def score_faces(
    tracked: Iterable[tuple[Frame, Mapping[int, TrackedFrame]]],
    score_crop: Callable[[np.ndarray], float],
    min_score: float,
) -> Iterator[tuple[Frame, dict[int, TrackedFrame]]]:
    """Yield frames and their faces with scores; faces below ``min_score`` get status ``low_confidence``.

    ``tracked`` comes from ``PeopleTracker.track``. ``score_crop`` is a detector's method, called for due faces that
    have no score from their detection. In light that is too poor to read a face, its score is lowered, see
    ``readable_share``. A face that is not due gets the person's last score.

    >>> from tclr.pipeline.faces import Face
    >>> from tclr.pipeline.tracking import TEMPLATES
    >>> from tclr.pipeline.video import Frame
    >>> from tclr.schemas.store import Status
    >>> face = Face(np.c_[TEMPLATES["arcface"].points * 64, np.zeros(5)], pose=np.zeros(3), blendshapes=None)
    >>> image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    >>> item = TrackedFrame(Frame(0, 0.0, image), Status.ok, face=face, is_due=True)
    >>> ((_, found),) = score_faces([(item.frame, {0: item})], score_crop=lambda crop: 0.3, min_score=0.4)
    >>> found[0].score, found[0].status.name
    (0.3, 'low_confidence')
    """
    scores: dict[int, float] = {}
    for frame, found in tracked:
        for person, item in found.items():
            if item.face is not None and item.face.score is not None:
                scores[person] = item.face.score
            elif item.is_due:
                crop = _cut_check_crop(item)
                scores[person] = score_crop(crop) * readable_share(crop)
        yield frame, {person: _with_score(item, scores[person], min_score) for person, item in found.items()}


def _with_score(item: TrackedFrame, score: float, min_score: float) -> TrackedFrame:
    return replace(item, score=score, status=Status.low_confidence if score < min_score else item.status)


def _cut_check_crop(item: TrackedFrame) -> np.ndarray:
    if item.face is None or item.frame.image is None:
        raise ValueError("Expected a face and its picture, but the frame lacks one.")
    return cut_check_crop(item.frame.image, item.face.landmarks, item.frame.reduction)
