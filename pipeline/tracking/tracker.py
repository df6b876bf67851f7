"""Which face is whose: the tracks of the people of a clip, frame by frame.

A face goes on where it overlaps with its last place and looks as it did; after a cut or a longer loss its looks alone
tell whose it is, and a new track begins. Frames come in as they are decoded and go out at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from scipy.optimize import linear_sum_assignment

from tclr.pipeline.faces import Detector, Face
from tclr.pipeline.tracking.appearance import OTHER_PERSON, SAME_PERSON, compare_looks, describe_face
from tclr.pipeline.tracking.scouting import Scouted
from tclr.pipeline.video import Frame
from tclr.schemas.config import DetectConfig
from tclr.schemas.store import NO_TRACK, Status

MIN_OVERLAP = 0.3
"""Overlap with the last box that continues a track; chosen by us: heads move far less in one frame."""
MAX_PEOPLE = 32
"""Faces of further people are passed over; chosen by us: nobody studies a crowd face by face in one clip."""


@dataclass(frozen=True)
class TrackedFrame:
    """A frame and one person's face in it.

    Without a face ``face`` is ``None``, ``score`` NaN and ``track`` ``NO_TRACK``; tracks of a person count from 0.
    ``is_due`` tells that the face is to be scored anew: who follows faces does not (``face_scores``).
    """

    frame: Frame
    status: Status
    score: float = np.nan
    face: Face | None = None
    track: int = NO_TRACK
    is_due: bool = False


def without_face(frame: Frame) -> TrackedFrame:
    """Return the row of a frame in which a person is not seen."""
    return TrackedFrame(frame, Status.unreadable if frame.image is None else Status.no_face)


def compute_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union of two boxes x0 y0 x1 y1, 0..1."""
    (left, top, right, bottom), (other_left, other_top, other_right, other_bottom) = first.tolist(), second.tolist()
    width = min(right, other_right) - max(left, other_left)
    height = min(bottom, other_bottom) - max(top, other_top)
    shared = max(width, 0.0) * max(height, 0.0)
    areas = (right - left) * (bottom - top) + (other_right - other_left) * (other_bottom - other_top)
    return shared / (areas - shared) if areas > shared else 0.0


class _Followed:
    """One person on the way through a clip: looks, last place, and what was last measured of the face."""

    def __init__(self, look: np.ndarray) -> None:
        self.looks = [look]
        self.bbox: np.ndarray | None = None
        self.last_s = -np.inf
        self.shot = 0
        self.is_absent = False
        self.is_here = False
        self.track = NO_TRACK
        self.is_like = True
        self.checked = -1

    def compare(self, look: np.ndarray) -> float:
        """Return how far a look is from this person's: at first and when last checked."""
        return min(compare_looks(own, look) for own in self.looks)

    def remember(self, look: np.ndarray) -> None:
        """Keep the first look and the last one."""
        self.looks = [*self.looks[:1], look]

    def overlap(self, face: Face) -> float:
        """Return the overlap of a face with this person's last place, 0 after a cut or a longer loss."""
        return compute_overlap(face.bbox, self.bbox) if self.is_here and self.bbox is not None else 0.0


@dataclass(frozen=True)
class _Scene:
    """A frame that can be seen, and the number of its shot."""

    frame: Frame
    image: np.ndarray
    shot: int


class PeopleTracker:
    """Follows the people of a clip.

    Parameters
    ----------
    detector : Detector
        Opened for this clip.
    detect : DetectConfig
        Settings.
    scouted : Scouted
        Who is in the clip, the subject first. If nobody was seen, the largest of the first faces is the subject.
    everyone : bool
        Follow all; else faces of others matter only so far as they are not the subject's.
    """

    def __init__(
        self, detector: Detector, detect: DetectConfig, scouted: Scouted | None = None, *, everyone: bool = False
    ) -> None:
        self._detector = detector
        self._detect = detect
        self._everyone = everyone
        known = scouted.people[:MAX_PEOPLE] if scouted is not None else ()
        self._people = [_Followed(person.look) for person in known]
        self._n_known = max(len(known), 1)
        self._shot = 0

    def track(self, shots: Iterable[tuple[Frame, int]]) -> Iterator[tuple[Frame, dict[int, TrackedFrame]]]:
        """Yield each frame with the faces in it, by person; the subject is 0.

        Parameters
        ----------
        shots : iterable of (Frame, int)
            The clip's frames, each with the number of its shot, see ``number_shots``.
        """
        waiting = iter(shots)
        while batch := list(islice(waiting, self._detector.batch_size)):
            scenes = [_Scene(frame, frame.image, shot) for frame, shot in batch if frame.image is not None]
            if any(scene.shot != self._shot for scene in scenes):
                self._detector.reset()
                self._shot = scenes[-1].shot
            images, times_s = [scene.image for scene in scenes], [scene.frame.timestamp_s for scene in scenes]
            found = iter(zip(scenes, self._detector.detect(images, times_s) if scenes else [], strict=True))
            for frame, _ in batch:
                tracked = {} if frame.image is None else self._follow(*next(found))
                for i, person in enumerate(self._people):
                    person.is_absent = i not in tracked
                yield frame, tracked

    def _follow(self, scene: _Scene, faces: list[Face]) -> dict[int, TrackedFrame]:
        frame = scene.frame
        for person in self._people:
            person.is_here = person.shot == scene.shot and (
                not person.is_absent or frame.timestamp_s - person.last_s <= self._detect.max_gap_s
            )
        faces = [_to_source(face, frame.reduction) for face in faces]
        obvious = self._obvious(frame, faces)
        if obvious is not None:
            return {obvious: self._note(scene, obvious, faces[0], None)}
        looks = [describe_face(scene.image, face.landmarks, frame.reduction) for face in faces]
        owners = self._assign(faces, looks)
        return {
            owner: self._note(scene, owner, face, look)
            for owner, face, look in zip(owners, faces, looks, strict=True)
            if owner is not None
        }

    def _is_due(self, frame: Frame, person: _Followed) -> bool:
        """Tell whether score and looks are to be checked: by the frame's number, so that every start agrees."""
        return frame.index // self._detect.score_every != person.checked

    def _obvious(self, frame: Frame, faces: list[Face]) -> int | None:
        """Return whose the only face is where place alone tells and no check is due."""
        if len(faces) != 1:
            return None
        near = [i for i, person in enumerate(self._people) if person.overlap(faces[0]) >= MIN_OVERLAP]
        return near[0] if len(near) == 1 and not self._is_due(frame, self._people[near[0]]) else None

    def _assign(self, faces: list[Face], looks: list[np.ndarray]) -> list[int | None]:
        """Return whose each face is, ``None`` for nobody's; people not seen before are added."""
        owners: list[int | None] = [None] * len(faces)
        if not faces:
            return owners
        if not self._people:
            first = max(range(len(faces)), key=lambda i: faces[i].size_px)
            self._people.append(_Followed(looks[first]))
        overlap = np.array([[person.overlap(face) for face in faces] for person in self._people])
        apart = np.array([[person.compare(look) for look in looks] for person in self._people])
        goes_on = overlap >= MIN_OVERLAP
        allowed = (apart < SAME_PERSON) | (goes_on & (apart < OTHER_PERSON))
        # who was scouted goes before who was added on the way: that may be one of them in another light
        known = np.arange(len(self._people))[:, None] < self._n_known
        cost = np.where(allowed, apart - known * (1 + overlap), OTHER_PERSON)
        for i, j in zip(*linear_sum_assignment(cost), strict=True):
            if allowed[i, j]:
                owners[j] = int(i)
        self._assign_unlike(owners, goes_on)
        for j, look in enumerate(looks):
            if owners[j] is None and len(self._people) < MAX_PEOPLE and not _hides(faces, owners, j):
                self._people.append(_Followed(look))
                owners[j] = len(self._people) - 1
        return owners

    def _assign_unlike(self, owners: list[int | None], goes_on: np.ndarray) -> None:
        """Give faces that look like nobody to who was in their place, or to the only person there is.

        Light and pose change looks, too: such frames are marked, not lost.
        """
        for j in [j for j, owner in enumerate(owners) if owner is None]:
            free = [i for i in np.flatnonzero(goes_on[:, j]).tolist() if i not in owners]
            if not free and not self._everyone and len(owners) == len(self._people) == 1:
                free = [0]
            if free:
                owners[j] = free[0]

    def _note(self, scene: _Scene, owner: int, face: Face, look: np.ndarray | None) -> TrackedFrame:
        """Record a person's face and return its row, which has no score yet."""
        frame, person = scene.frame, self._people[owner]
        starts = person.overlap(face) < MIN_OVERLAP
        person.track += starts
        due = self._is_due(frame, person)
        if look is not None and (starts or due):
            # who is doubted must look right again, not only less wrong
            limit = OTHER_PERSON if person.is_like and not starts else SAME_PERSON
            person.is_like = person.compare(look) < limit
            if person.is_like:
                person.remember(look)
        person.checked = frame.index // self._detect.score_every
        person.bbox, person.last_s, person.shot = face.bbox, frame.timestamp_s, scene.shot
        low = face.size_px < self._detect.min_face_px or not person.is_like
        status = Status.low_confidence if low else Status.ok
        return TrackedFrame(frame, status, face=face, track=person.track, is_due=starts or due)


def _to_source(face: Face, reduction: int) -> Face:
    """Return a face in source pixels, found in an image of 1/reduction of the source."""
    return face if reduction == 1 else replace(face, landmarks=face.landmarks * np.float32(reduction))


def _hides(faces: Sequence[Face], owners: Sequence[int | None], j: int) -> bool:
    """Tell whether a face that nobody owns is a second find of one that somebody does."""
    return any(
        owner is not None and compute_overlap(faces[i].bbox, faces[j].bbox) >= MIN_OVERLAP
        for i, owner in enumerate(owners)
    )


def rank_faces(
    frames: Iterable[Frame], detector: Detector, detect: DetectConfig
) -> Iterator[tuple[Frame, dict[int, TrackedFrame]]]:
    """Yield stills with the faces in each, the largest first: they have nothing to do with one another."""
    for frame in frames:
        tracker = PeopleTracker(detector, detect, everyone=True)
        ((_, found),) = tracker.track([(frame, 0)])
        ranked = sorted(found.values(), key=lambda item: -item.face.size_px if item.face is not None else 0.0)
        yield frame, {rank: replace(item, track=frame.index) for rank, item in enumerate(ranked)}
