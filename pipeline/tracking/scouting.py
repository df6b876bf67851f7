"""The people of a clip, from a few of its frames before it is read, so that chance does not choose the subject.

The person seen most often and largest comes first; ``choose_subject`` may prefer another. The detector looks for
several faces only if a sampled frame shows several: looking for one is faster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tclr.pipeline.faces import Detector, Face
from tclr.pipeline.tracking.align import compute_side
from tclr.pipeline.tracking.appearance import SAME_PERSON, compare_looks, describe_face, describe_texture
from tclr.pipeline.tracking.upright import look_upright
from tclr.pipeline.video import ClipMedia, Frame

FRAMES_PER_SAMPLE = 50
"""Frames per sample. One in 50 costs next to nothing."""
MAX_SAMPLES = 24
"""Most samples per clip. A person in a tenth of the clip is then missed in 8 clips of 100."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """A person's face in one sampled frame."""

    time_s: float
    landmarks: np.ndarray
    """(K, 3), in pixels of the image."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom as fractions of width and height."""
    texture: np.ndarray | None
    """``appearance.describe_texture``, if wanted."""


def _see(frame: Frame, image: np.ndarray, face: Face, with_texture: bool) -> Sighting:
    height, width = image.shape[:2]
    left, top, right, bottom = (face.bbox / (width, height, width, height)).tolist()
    texture = describe_texture(image, face.landmarks) if with_texture else None
    return Sighting(frame.timestamp_s, face.landmarks, (left, top, right, bottom), texture)


@dataclass(eq=False)
class Person:
    """One person of a clip.

    ``look`` is the mean of the face's looks (``appearance.describe_face``). ``sides_px`` has, for each sampled frame
    that shows the person, the number of source pixels that one side of the aligned crop spans, ``sightings`` the face;
    they are dropped once the subject is chosen.
    """

    look: np.ndarray
    sides_px: list[float] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)


@dataclass(frozen=True)
class Scouted:
    """What the sampled frames show."""

    people: tuple[Person, ...] = ()
    """The person seen most often and largest, the subject, comes first; empty without any face."""
    n_faces: int = 0
    """Most faces in one frame."""
    turn: int = 0
    """Degrees clockwise by which to turn the frames for most faces to be upright."""
    note: str = ""
    """What is unusual about the choice of the subject, for the clip's ``warning``."""


def count_samples(media: ClipMedia) -> int:
    """Return the number of frames of a clip to sample; 1 if its length is unknown.

    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.pipeline.video import ClipMedia
    >>> count_samples(ClipMedia(find_clips(Path("clips"))[0], 25.0, 480, 480, n_expected=500, image_fps=25.0))
    10
    """
    n_frames = media.n_expected or round(media.duration_s / media.step_s)
    taken_s = min(media.clip.end_s, n_frames * media.step_s) - media.clip.start_s
    return int(np.clip(taken_s / media.step_s // FRAMES_PER_SAMPLE, 1, MAX_SAMPLES))


def scout_people(
    frames: Iterable[Frame], detector: Detector, turns: Sequence[int] = (0,), *, textures: bool = False
) -> Scouted:
    """Return the people in sampled frames, which are looked at in each of the ``turns`` where the first leaves doubts.

    ``textures`` describes the texture of each face, too.

    Faces are grouped into people by their looks, greedily and in order; two faces of one frame are two people.

    >>> from tclr.pipeline.faces import open_detector
    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.pipeline.video import probe, sample_frames
    >>> from tclr.schemas.config import DetectConfig
    >>> frames = sample_frames(probe(find_clips(Path("clips"))[0], image_fps=25), 3)
    >>> scouted = scout_people(frames, open_detector(DetectConfig()))
    >>> [len(person.sides_px) for person in scouted.people]  # one person, in all three frames
    [3]
    """
    people: list[Person] = []
    n_faces, votes = 0, Counter({turns[0]: 0})
    for frame in frames:
        if frame.image is None:
            continue
        faces, turn = look_upright(frame.image, detector, turns)
        votes.update([turn] if turn is not None else [])
        n_faces = max(n_faces, len(faces))
        looks = [describe_face(frame.image, face.landmarks) for face in faces]
        others = list(people)
        for face, look in zip(faces, looks, strict=True):
            side_px = compute_side(face.landmarks) * frame.reduction
            sighting = _see(frame, frame.image, face, textures)
            near = min(others, key=lambda person: compare_looks(person.look, look), default=None)
            if near is None or compare_looks(near.look, look) >= SAME_PERSON:
                people.append(Person(look, [side_px], [sighting]))
                continue
            others.remove(near)
            near.sides_px.append(side_px)
            near.sightings.append(sighting)
            near.look += (look - near.look) / len(near.sides_px)  # the mean of all
    people.sort(key=lambda person: -sum(person.sides_px))
    return Scouted(tuple(people), n_faces, turn=votes.most_common(1)[0][0])
