"""Short gaps in a track: the face is interpolated through them, and marked so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tclr.pipeline.faces import Face
from tclr.pipeline.tracking.tracker import TrackedFrame
from tclr.schemas.store import Status


def interpolate_face(before: Face, after: Face, share: float) -> Face:
    """Return the face a share of the way (0..1) from one face to another."""

    def between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return ((1 - share) * first + share * second).astype(np.float32)

    shapes = None
    if before.blendshapes is not None and after.blendshapes is not None:
        shapes = between(before.blendshapes, after.blendshapes)
    return Face(between(before.landmarks, after.landmarks), between(before.pose, after.pose), shapes)


def _fill(gap: list[TrackedFrame], before: TrackedFrame, after: TrackedFrame) -> Iterator[TrackedFrame]:
    """Yield the frames of a gap, with faces between those around it; unreadable frames have no picture to cut."""
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

    Longer gaps, and those between two tracks, stay as they are. At most a gap is held.
    """

    def __init__(self, max_gap_s: float) -> None:
        self._max_gap_s = max_gap_s
        self._last: TrackedFrame | None = None
        self._gap: list[TrackedFrame] = []

    def add(self, item: TrackedFrame) -> Iterator[TrackedFrame]:
        """Take the next frame; yield those that are settled."""
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
        """Yield what is held: nothing follows."""
        yield from self._gap
        self._gap = []
