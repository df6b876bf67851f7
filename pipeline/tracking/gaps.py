"""Short gaps in a track: the face is interpolated, and the frames are marked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tclr.pipeline.faces import Face
from tclr.pipeline.tracking.tracker import TrackedFrame
from tclr.schemas.store import Status


def interpolate_face(before: Face, after: Face, share: float) -> Face:
    """Return the face that is ``share`` (0..1) of the way from one face to another."""

    def between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return ((1 - share) * first + share * second).astype(np.float32)

    shapes = None
    if before.blendshapes is not None and after.blendshapes is not None:
        shapes = between(before.blendshapes, after.blendshapes)
    return Face(between(before.landmarks, after.landmarks), between(before.pose, after.pose), shapes)


def _fill(gap: list[TrackedFrame], before: TrackedFrame, after: TrackedFrame) -> Iterator[TrackedFrame]:
    """Yield the frames of a gap with interpolated faces, except unreadable ones, which have no picture to crop."""
    if before.face is None or after.face is None or before.track != after.track:
        yield from gap
        return
    start_s, end_s = before.frame.timestamp_s, after.frame.timestamp_s
    for item in gap:
        if item.status != Status.no_face:
            yield item
            continue
        share = (item.frame.timestamp_s - start_s) / (end_s - start_s) if end_s > start_s else 0.5
        face = interpolate_face(before.face, after.face, share)
        score = min(before.score, after.score)
        yield replace(item, status=Status.interpolated, score=score, face=face, track=before.track)


class GapFiller:
    """Interpolates the face through gaps of one track up to ``max_gap_s``, and marks those frames.

    Longer gaps, and those between two tracks, stay empty. At most one gap is in memory.

    >>> from tclr.pipeline.faces import Face
    >>> from tclr.pipeline.video import Frame
    >>> from tclr.schemas.store import Status
    >>> frames = [Frame(i, i / 25, np.zeros((64, 64, 3), np.uint8)) for i in range(3)]
    >>> face = Face(np.zeros((5, 3)), pose=np.zeros(3), blendshapes=None)
    >>> first, last = (TrackedFrame(frames[i], Status.ok, 0.9, face, track=0) for i in (0, 2))
    >>> filler = GapFiller(max_gap_s=0.2)
    >>> [row.status.name for item in (first, without_face(frames[1]), last) for row in filler.add(item)]
    ['ok', 'interpolated', 'ok']
    """

    def __init__(self, max_gap_s: float) -> None:
        self._max_gap_s = max_gap_s
        self._last: TrackedFrame | None = None
        self._gap: list[TrackedFrame] = []

    def add(self, item: TrackedFrame) -> Iterator[TrackedFrame]:
        """Add the next frame; yield those that are final."""
        last = self._last
        if self._gap and last is not None and item.frame.timestamp_s - last.frame.timestamp_s > self._max_gap_s:
            yield from self.flush()
            self._last = last = None
        if item.face is not None:
            if self._gap and last is not None:
                yield from _fill(self._gap, last, item)
                self._gap = []
            self._last = item
            yield item
        elif last is None:
            yield item
        else:
            self._gap.append(item)

    def flush(self) -> Iterator[TrackedFrame]:
        """Yield the waiting frames: none follow."""
        yield from self._gap
        self._gap = []
