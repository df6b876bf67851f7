"""The tracks of the people of a clip, frame by frame.

A track continues where a face overlaps its last position and looks the same. After a cut or a longer loss, looks alone
identify the person, and a new track begins. Frames come in as they are decoded and go out at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from tclr.pipeline.faces import Detector, Face
from tclr.pipeline.tracking.appearance import OTHER_PERSON, SAME_PERSON, describe_face
from tclr.pipeline.tracking.people import MIN_OVERLAP, Followed, People
from tclr.pipeline.tracking.scouting import Scouted
from tclr.pipeline.video import Frame
from tclr.schemas.config import DetectConfig
from tclr.schemas.store import NO_TRACK, Status


@dataclass(frozen=True)
class TrackedFrame:
    """A frame and one person's face in it.

    Without a face, ``face`` is ``None``, ``score`` NaN and ``track`` ``NO_TRACK``; tracks of a person count from 0.
    ``is_due`` means that ``score_faces`` must score the face.
    """

    frame: Frame
    status: Status
    score: float = np.nan
    face: Face | None = None
    track: int = NO_TRACK
    is_due: bool = False


def without_face(frame: Frame) -> TrackedFrame:
    """Return the row of a frame in which a person is not seen.

    >>> from tclr.pipeline.video import Frame
    >>> without_face(Frame(0, 0.0, image=None)).status.name
    'unreadable'
    """
    return TrackedFrame(frame, Status.unreadable if frame.image is None else Status.no_face)


@dataclass(frozen=True)
class _Scene:
    """A readable frame and the number of its shot."""

    frame: Frame
    image: np.ndarray
    shot: int


class PeopleTracker:
    """Follows the people of a clip with a detector that was opened for it.

    ``scouted`` has the people of the clip, the subject first; if it has none, the largest of the first faces is the
    subject. Without ``everyone``, a frame's only face belongs to the only known person, whatever its looks.

    >>> from tclr.pipeline.faces import open_detector
    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.pipeline.video import number_shots, probe, read_frames
    >>> from tclr.schemas.config import DetectConfig
    >>> shots = number_shots(read_frames(probe(find_clips(Path("clips"))[0], image_fps=25), fps=5))
    >>> tracker = PeopleTracker(open_detector(DetectConfig()), DetectConfig())
    >>> [(frame.index, found[0].track, found[0].status.name) for frame, found in tracker.track(shots)]
    [(966, 0, 'ok'), (971, 0, 'ok'), (976, 0, 'ok'), (981, 0, 'ok')]
    """

    def __init__(
        self, detector: Detector, detect: DetectConfig, scouted: Scouted | None = None, *, everyone: bool = False
    ) -> None:
        self._detector = detector
        self._detect = detect
        self._people = People(scouted, everyone=everyone)
        self._shot = 0

    def track(self, shots: Iterable[tuple[Frame, int]]) -> Iterator[tuple[Frame, dict[int, TrackedFrame]]]:
        """Yield each frame, given with its shot's number, with its faces by person; the subject is person 0."""
        waiting = iter(shots)
        while batch := list(islice(waiting, self._detector.batch_size)):
            yield from self.track_batch(batch)

    def track_batch(self, batch: Sequence[tuple[Frame, int]]) -> Iterator[tuple[Frame, dict[int, TrackedFrame]]]:
        """Yield the next frames as ``track`` does, all of which the detector sees at once."""
        scenes = [_Scene(frame, frame.image, shot) for frame, shot in batch if frame.image is not None]
        if any(scene.shot != self._shot for scene in scenes):
            self._detector.reset()
            self._shot = scenes[-1].shot
        images, times_s = [scene.image for scene in scenes], [scene.frame.timestamp_s for scene in scenes]
        found = iter(zip(scenes, self._detector.detect(images, times_s) if scenes else [], strict=True))
        for frame, _ in batch:
            tracked = {} if frame.image is None else self._follow(*next(found))
            for i, person in enumerate(self._people.all):
                person.is_absent = i not in tracked
            yield frame, tracked

    def _follow(self, scene: _Scene, faces: list[Face]) -> dict[int, TrackedFrame]:
        frame = scene.frame
        for person in self._people.all:
            person.is_here = person.shot == scene.shot and (
                not person.is_absent or frame.timestamp_s - person.last_s <= self._detect.max_gap_s
            )
        faces = [_to_source(face, frame.reduction) for face in faces]
        near = self._people.at_place(faces[0]) if len(faces) == 1 else []
        is_settled = len(near) == 1 and not self._is_due(frame, self._people.all[near[0]])
        if is_settled and len(self._people.all) == 1:  # position identifies the person
            return {near[0]: self._note(scene, near[0], faces[0], None)}
        looks = [describe_face(scene.image, face.landmarks, frame.reduction) for face in faces]
        if is_settled and not self._people.all[near[0]].jumps(looks[0]):
            return {near[0]: self._note(scene, near[0], faces[0], looks[0])}
        owners = self._people.assign(faces, looks)
        return {
            owner: self._note(scene, owner, face, look)
            for owner, face, look in zip(owners, faces, looks, strict=True)
            if owner is not None
        }

    def _is_due(self, frame: Frame, person: Followed) -> bool:
        """Return whether score and looks need a check: by the frame's number, wherever tracking started."""
        return frame.index // self._detect.score_every != person.checked

    def _note(self, scene: _Scene, owner: int, face: Face, look: np.ndarray | None) -> TrackedFrame:
        """Record a person's face and return its row, which has no score yet."""
        frame, person = scene.frame, self._people.all[owner]
        starts = person.overlap(face) < MIN_OVERLAP
        person.track += starts
        due = self._is_due(frame, person)
        person.latest = person.latest if look is None else look
        if look is not None and (starts or due):
            # a doubtful person must look right again, not just less wrong
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
    """Convert a face found in an image of 1/reduction of the source to source pixels."""
    return face if reduction == 1 else face.placed(face.landmarks * np.float32(reduction))


def rank_faces(
    frames: Iterable[Frame], detector: Detector, detect: DetectConfig
) -> Iterator[tuple[Frame, dict[int, TrackedFrame]]]:
    """Yield unrelated stills with the faces in each, the largest first.

    >>> from tclr.pipeline.faces import open_detector
    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.pipeline.video import probe, sample_frames
    >>> from tclr.schemas.config import DetectConfig
    >>> stills = sample_frames(probe(find_clips(Path("clips"))[0], image_fps=25), 2)
    >>> detector = open_detector(DetectConfig(), video=False)
    >>> [(frame.index, list(found)) for frame, found in rank_faces(stills, detector, DetectConfig())]
    [(966, [0]), (974, [0])]
    """
    for frame in frames:
        tracker = PeopleTracker(detector, detect, everyone=True)
        ((_, found),) = tracker.track([(frame, 0)])
        ranked = sorted(found.values(), key=lambda item: -item.face.size_px if item.face is not None else 0.0)
        yield frame, {rank: replace(item, track=frame.index) for rank, item in enumerate(ranked)}
