"""How sure a face detector is that tracked faces are faces, and which of them are marked for it.

Following faces does not wait for it: it can be done a few frames behind, by another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from tclr.pipeline.tracking.align import TEMPLATES, align_transform, warp_crop
from tclr.pipeline.tracking.tracker import TrackedFrame
from tclr.pipeline.video import Frame
from tclr.schemas.store import Status

CHECK_SIZE_PX = 128
"""Side of the crop that the face detector scores: BlazeFace's input, whatever the size of the stored crops."""


def score_faces(
    tracked: Iterable[tuple[Frame, Mapping[int, TrackedFrame]]],
    score_crop: Callable[[np.ndarray], float],
    min_score: float,
) -> Iterator[tuple[Frame, dict[int, TrackedFrame]]]:
    """Yield frames and the faces in them with scores; those below ``min_score`` have status ``low_confidence``.

    ``tracked`` is what ``PeopleTracker.track`` gives. ``score_crop`` is a detector's, and called for faces that are due
    and have no score of their own; a face that is not due has the person's last score.
    """
    scores: dict[int, float] = {}
    for frame, found in tracked:
        for person, item in found.items():
            if item.face is not None and item.face.score is not None:
                scores[person] = item.face.score
            elif item.is_due:
                scores[person] = score_crop(_cut_check_crop(item))
        yield frame, {person: _with_score(item, scores[person], min_score) for person, item in found.items()}


def _with_score(item: TrackedFrame, score: float, min_score: float) -> TrackedFrame:
    return replace(item, score=score, status=Status.low_confidence if score < min_score else item.status)


def _cut_check_crop(item: TrackedFrame) -> np.ndarray:
    if item.face is None or item.frame.image is None:
        raise ValueError("Expected a face and its picture, but got a frame without.")
    transform = align_transform(item.face.landmarks, TEMPLATES["tclr"], CHECK_SIZE_PX, 1.0)
    return warp_crop(item.frame.image, transform, CHECK_SIZE_PX, item.frame.reduction)
