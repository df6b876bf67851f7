"""Which face is the subject's, and what becomes of each frame: the track of one face through a clip.

Frames come in as they are decoded and go out in the same order as ``TrackedFrame``; at most a short gap is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tclr.pipeline.align import TEMPLATES, align_transform, warp_crop
from tclr.pipeline.faces import Detector, Face
from tclr.pipeline.video import Frame
from tclr.schemas.config import DetectConfig
from tclr.schemas.store import Status

MIN_OVERLAP = 0.3
"""Overlap with the last box that continues a track; chosen by us: heads move far less in one frame."""
CHECK_SIZE_PX = 128
"""Side of the crop that the face detector scores: BlazeFace's input, whatever the size of the stored crops."""


@dataclass(frozen=True)
class TrackedFrame:
    """A frame and the subject's face in it; without a face ``face`` is ``None`` and ``score`` NaN."""

    frame: Frame
    status: Status
    score: float = np.nan
    face: Face | None = None


def compute_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union of two boxes x0 y0 x1 y1, 0..1."""
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (first, second)]
    union = sum(areas) - shared
    return shared / union if union > 0 else 0.0


def is_same_track(before: Face | None, after: Face | None) -> bool:
    """Tell whether two faces of neighbouring frames are one track: none across a gap, a cut or a swap."""
    return before is not None and after is not None and compute_overlap(before.bbox, after.bbox) >= MIN_OVERLAP


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


class SubjectTracker:
    """Follows the subject's face through a clip and scores it.

    Parameters
    ----------
    detector : Detector
        Opened for this clip.
    detect : DetectConfig
        Settings.
    tracked : bool
        ``False`` for stills: each is looked at alone.
    """

    def __init__(self, detector: Detector, detect: DetectConfig, *, tracked: bool) -> None:
        self._detector = detector
        self._detect = detect
        self._tracked = tracked
        self._bbox: np.ndarray | None = None
        self._score = 0.0
        self._since_check = 0

    def track(self, frames: Iterable[Frame]) -> Iterator[TrackedFrame]:
        """Yield each frame with the subject's face in it."""
        for frame in frames:
            if frame.image is None:
                yield TrackedFrame(frame, Status.unreadable)
                continue
            last_bbox = self._bbox if self._tracked else None
            face = choose_face(self._detector.detect([frame.image], [frame.timestamp_s])[0], last_bbox)
            if face is None:
                self._bbox = None
                yield TrackedFrame(frame, Status.no_face)
                continue
            score = self._check(frame.image, face, last_bbox)
            low = score < self._detect.min_score or face.size_px < self._detect.min_face_px
            yield TrackedFrame(frame, Status.low_confidence if low else Status.ok, score, face)

    def _check(self, image: np.ndarray, face: Face, last_bbox: np.ndarray | None) -> float:
        """Return the score of a face: measured when the track begins or jumps, and every few frames."""
        jumped = last_bbox is None or compute_overlap(face.bbox, last_bbox) < MIN_OVERLAP
        if jumped or self._since_check >= self._detect.score_every:
            transform = align_transform(face.landmarks, TEMPLATES["tclr"], CHECK_SIZE_PX, 1.0)
            self._score = self._detector.score_crop(warp_crop(image, transform, CHECK_SIZE_PX))
            self._since_check = 0
        self._since_check += 1
        self._bbox = face.bbox
        return self._score


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
    if before.face is None or after.face is None or not is_same_track(before.face, after.face):
        yield from gap
        return
    start_s, end_s = before.frame.timestamp_s, after.frame.timestamp_s
    for item in gap:
        if item.status != Status.no_face:
            yield item
            continue
        share = (item.frame.timestamp_s - start_s) / (end_s - start_s) if end_s > start_s else 0.5
        face = interpolate_face(before.face, after.face, share)
        yield replace(item, status=Status.interpolated, score=min(before.score, after.score), face=face)


def fill_gaps(tracked: Iterable[TrackedFrame], max_gap_s: float) -> Iterator[TrackedFrame]:
    """Interpolate the face through gaps up to ``max_gap_s`` between two frames that have it, and mark them so.

    Only within one track: the boxes around the gap must overlap. Longer gaps stay as they are.
    """
    last: TrackedFrame | None = None
    gap: list[TrackedFrame] = []
    for item in tracked:
        if last is not None and item.frame.timestamp_s - last.frame.timestamp_s > max_gap_s and gap:
            yield from gap
            gap, last = [], None
        if item.face is not None:
            if gap and last is not None:
                yield from _fill(gap, last, item)
                gap = []
            last = item
            yield item
        elif last is None:
            yield item
        else:
            gap.append(item)
    yield from gap
