"""Who is in a clip: a look at a few of its frames before it is read, so that the subject is no matter of chance.

The subject is who is there most and largest. Only where a sampled frame shows several faces does the detector look
for several; elsewhere one is enough, which is faster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tclr.pipeline.faces import Detector
from tclr.pipeline.tracking.align import compute_side
from tclr.pipeline.tracking.appearance import SAME_PERSON, compare_looks, describe_face
from tclr.pipeline.video import ClipMedia, Frame

FRAMES_PER_SAMPLE = 50
"""One frame of this many is looked at, so that it costs next to nothing; chosen by us."""
MAX_SAMPLES = 24
"""At most; chosen by us: a person who is in a tenth of the clip is then missed in 8 clips of 100."""


@dataclass(eq=False)
class Person:
    """One person of a clip.

    ``look`` is what the face looks like on average (``appearance.describe_face``), ``sides_px`` how many source pixels
    the side of an aligned crop spans, for each sampled frame that shows the person.
    """

    look: np.ndarray
    sides_px: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Scouted:
    """What the sampled frames show."""

    people: tuple[Person, ...] = ()
    """Those who are seen most often and largest come first, so the first is the subject; empty without any face."""
    n_faces: int = 0
    """Most faces in one frame."""


def count_samples(media: ClipMedia) -> int:
    """Return how many frames of a clip to look at; one if nothing tells its length."""
    n_frames = media.n_expected or round(media.duration_s / media.step_s)
    taken_s = min(media.clip.end_s, n_frames * media.step_s) - media.clip.start_s
    return int(np.clip(taken_s / media.step_s // FRAMES_PER_SAMPLE, 1, MAX_SAMPLES))


def scout_people(frames: Iterable[Frame], detector: Detector) -> Scouted:
    """Look at sampled frames and tell who is there.

    Faces are joined into people by their looks, greedily, in the order in which they come; two faces of one frame are
    two people.
    """
    people: list[Person] = []
    n_faces = 0
    for frame in frames:
        if frame.image is None:
            continue
        faces = detector.look(frame.image)
        n_faces = max(n_faces, len(faces))
        looks = [describe_face(frame.image, face.landmarks) for face in faces]
        others = list(people)
        for face, look in zip(faces, looks, strict=True):
            side_px = compute_side(face.landmarks) * frame.reduction
            near = min(others, key=lambda person: compare_looks(person.look, look), default=None)
            if near is None or compare_looks(near.look, look) >= SAME_PERSON:
                people.append(Person(look, [side_px]))
                continue
            others.remove(near)
            near.sides_px.append(side_px)
            near.look += (look - near.look) / len(near.sides_px)  # the mean of all
    people.sort(key=lambda person: -sum(person.sides_px))
    return Scouted(tuple(people), n_faces)
