"""Crops of a track: one steady transform per frame, and the warp.

The transform of a frame is smoothed over its neighbours in the same track, before and after. Crops therefore come out
a few frames late, and only those frames are in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tclr.pipeline.tracking.align import (
    TEMPLATES,
    anchor_points,
    compute_sharpness,
    points_transform,
    smooth_points,
    warp_crop,
)
from tclr.pipeline.tracking.tracker import TrackedFrame
from tclr.schemas.config import AlignConfig

RADIUS_SIGMAS = 3.0
"""Neighbours further than this many widths of the Gaussian weigh next to nothing."""

JUMP_SHARE = 0.1
"""Smoothing restarts when a face moves by more than this fraction of its size in one frame, so that a jump cut or a
sudden start is not smeared. Jitter is some hundredths of this."""


@dataclass(frozen=True)
class CroppedFrame:
    """A tracked frame and its crop; without a face, transform and crop are ``None``.

    ``transform`` (2, 3) float64 source pixel to crop pixel, ``crop`` (S, S, 3) uint8, ``sharpness`` of the crop.
    """

    tracked: TrackedFrame
    transform: np.ndarray | None = None
    crop: np.ndarray | None = None
    sharpness: float = np.nan


class _Track:
    """The frames of one track that are waiting for their neighbours."""

    def __init__(self, align: AlignConfig) -> None:
        self._align = align
        self._template = TEMPLATES[align.template]
        self._radius_s = RADIUS_SIGMAS * align.smooth_s
        self._waiting: deque[TrackedFrame] = deque()
        self._points: deque[tuple[float, np.ndarray]] = deque()
        self.last: TrackedFrame | None = None

    def add(self, item: TrackedFrame) -> Iterator[CroppedFrame]:
        """Add the next frame; yield those whose neighbours have all arrived."""
        if item.face is not None and self._align.smooth_s:
            self._points.append((item.frame.timestamp_s, anchor_points(item.face.landmarks, self._template)))
        self._waiting.append(item)
        self.last = item
        while self._waiting and item.frame.timestamp_s - self._waiting[0].frame.timestamp_s >= self._radius_s:
            yield self._cut(self._waiting.popleft())

    def flush(self) -> Iterator[CroppedFrame]:
        """Yield the waiting frames: the track has ended."""
        while self._waiting:
            yield self._cut(self._waiting.popleft())

    def _cut(self, item: TrackedFrame) -> CroppedFrame:
        at_s, image = item.frame.timestamp_s, item.frame.image
        if item.face is None or image is None:
            return CroppedFrame(item)
        steady = (
            self._steady_points(at_s) if self._align.smooth_s else anchor_points(item.face.landmarks, self._template)
        )
        transform = points_transform(steady, self._template, self._align.size, self._align.margin)
        crop = warp_crop(image, transform, self._align.size, item.frame.reduction)
        return CroppedFrame(item, transform, crop, compute_sharpness(crop))

    def _steady_points(self, at_s: float) -> np.ndarray:
        while self._points[0][0] < at_s - self._radius_s:
            self._points.popleft()
        near = [(time_s, points) for time_s, points in self._points if time_s <= at_s + self._radius_s]
        times_s, points = np.array([time_s for time_s, _ in near]), np.array([points for _, points in near])
        return smooth_points(times_s, points, at_s, self._align.smooth_s)


def _continues(before: TrackedFrame, after: TrackedFrame) -> bool:
    """Return whether smoothing may reach from one frame's face to the next one's."""
    if before.face is None or after.face is None or before.track != after.track:
        return False
    centres = [face.bbox.reshape(2, 2).mean(axis=0) for face in (before.face, after.face)]
    return float(np.abs(centres[1] - centres[0]).max()) <= JUMP_SHARE * before.face.size_px


class CropCutter:
    """Cuts the crops of one person's frames, in order.

    Smoothing never reaches across a frame without a face, a new track (a cut, a loss), or a jump.

    >>> from tclr.pipeline.video import Frame
    >>> from tclr.schemas.config import AlignConfig
    >>> cutter = CropCutter(AlignConfig())
    >>> [len(list(cutter.add(without_face(Frame(i, i / 25, None))))) for i in range(3)], len(list(cutter.flush()))
    ([0, 1, 1], 1)
    """

    def __init__(self, align: AlignConfig) -> None:
        self._align = align
        self._track = _Track(align)

    def add(self, item: TrackedFrame) -> Iterator[CroppedFrame]:
        """Add the next frame; yield those whose crop is final."""
        if self._track.last is not None and not _continues(self._track.last, item):
            yield from self.flush()
        yield from self._track.add(item)

    def flush(self) -> Iterator[CroppedFrame]:
        """Yield the waiting frames; the next one starts a new track."""
        yield from self._track.flush()
        self._track = _Track(self._align)


def cut_crops(tracked: Iterable[TrackedFrame], align: AlignConfig) -> Iterator[CroppedFrame]:
    """Yield each frame with its crop; see ``CropCutter``.

    >>> from tclr.pipeline.faces import Face
    >>> from tclr.pipeline.video import Frame
    >>> from tclr.schemas.config import AlignConfig
    >>> from tclr.schemas.store import Status
    >>> face = Face(np.c_[TEMPLATES["arcface"].points * 64, np.zeros(5)], pose=np.zeros(3), blendshapes=None)
    >>> item = TrackedFrame(Frame(0, 0.0, np.zeros((64, 64, 3), np.uint8)), Status.ok, face=face, track=0)
    >>> [cropped.crop.shape for cropped in cut_crops([item], AlignConfig(size=32))]
    [(32, 32, 3)]
    """
    cutter = CropCutter(align)
    for item in tracked:
        yield from cutter.add(item)
    yield from cutter.flush()
