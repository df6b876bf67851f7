"""Who of the people scouted is the subject: whom a setting names, else the largest who is no photograph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from tclr.pipeline.faces import Detector, Face, look_turned
from tclr.pipeline.tracking.appearance import compare_looks
from tclr.pipeline.tracking.motion import MotionMeter
from tclr.pipeline.tracking.scouting import Person, Scouted, Sighting
from tclr.pipeline.tracking.tracker import PeopleTracker
from tclr.pipeline.video import Frame, number_shots
from tclr.schemas.config import DetectConfig

AT_PLACE = 1.5
"""A place belongs to a face if it lies within this many half sides of the middle of its box."""
CLEAR = 1.08
"""The texture of the second person must differ from the picture's by this factor more than that of the first."""
NOTE = "subject: "
"""How notes on the choice of the subject begin in a clip's ``warning``."""
PASSED_OVER = NOTE + "a larger face that does not move, perhaps a photograph, was passed over"
NOT_THERE = NOTE + "no sampled frame has a face at {}: the nearest was taken"
NOT_CLEAR = NOTE + "two people look much like the picture of the face: the nearer was taken"


def choose_subject(
    scouted: Scouted, detect: DetectConfig, texture: np.ndarray | None, start: Iterable[Frame], detector: Detector
) -> Scouted:
    """Return the people scouted with the subject first.

    ``texture`` is that of the face in ``detect.subject_face``. ``start`` are frames at a low rate from the clip's
    beginning, which are read only to see whether the largest of several people moves.

    >>> from tclr.schemas.config import DetectConfig
    >>> choose_subject(Scouted(), DetectConfig(), None, (), detector=None).people
    ()
    """
    people = scouted.people
    if not people:
        return scouted
    if detect.place is not None:
        order, note = _by_place(people, detect.place)
    elif len(people) == 1:
        order, note = [0], ""
    elif texture is not None:
        order, note = _by_texture(people, texture)
    else:
        order, note = _by_motion(_watch(scouted, detect, start, detector))
    chosen = tuple(replace(people[i], sightings=[]) for i in order)
    return replace(scouted, people=chosen, note=note)


def _first(lead: int, n_people: int) -> list[int]:
    return [lead, *(i for i in range(n_people) if i != lead)]


def _by_place(people: Sequence[Person], place: tuple[float, float]) -> tuple[list[int], str]:
    """Put the person first whose face is at the place in the earliest frame; else whose face comes nearest to it."""
    ways = [
        (_distance(sighting, place), sighting.time_s, i) for i, its in enumerate(people) for sighting in its.sightings
    ]
    distance, _, lead = min(ways, key=lambda way: (max(way[0], AT_PLACE), way[1], way[0]))
    note = NOT_THERE.format(",".join(f"{share:g}" for share in place)) if distance > AT_PLACE else ""
    return _first(lead, len(people)), note


def _distance(sighting: Sighting, place: tuple[float, float]) -> float:
    """Return how many half sides a place is away from the middle of a face's box, along the axis where that is more."""
    left, top, right, bottom = sighting.box
    across = abs(2 * place[0] - left - right) / max(right - left, 1e-9)
    down = abs(2 * place[1] - top - bottom) / max(bottom - top, 1e-9)
    return max(across, down)


def _by_texture(people: Sequence[Person], texture: np.ndarray) -> tuple[list[int], str]:
    """Put the person first whose mean texture is nearest."""
    means = [np.mean([one.texture for one in its.sightings if one.texture is not None], axis=0) for its in people]
    apart = [compare_looks(mean, texture) for mean in means]
    order = np.argsort(apart, kind="stable").tolist()
    return _first(order[0], len(people)), NOT_CLEAR if apart[order[1]] <= CLEAR * apart[order[0]] else ""


def _by_motion(moves: Sequence[bool | None]) -> tuple[list[int], str]:
    """Put motionless people last if the first is one of them and somebody else moves."""
    order = list(range(len(moves)))
    if moves[0] is False and True in moves:
        return sorted(order, key=lambda i: (moves[i] is False, moves[i] is None)), PASSED_OVER
    return order, ""


@dataclass
class _StillDetector:
    """Detects faces for a tracker without memory of the frames before, and leaves the detector's own as it is."""

    detector: Detector
    turn: int
    batch_size: int = 1

    def detect(self, images: Sequence[np.ndarray], timestamps_s: Sequence[float]) -> list[list[Face]]:
        return [look_turned(self.detector, image, self.turn) for image in images]

    def reset(self) -> None:
        """Do nothing."""


def _watch(scouted: Scouted, detect: DetectConfig, start: Iterable[Frame], detector: Detector) -> list[bool | None]:
    """Return whether each person moves: at the clip's start, or from one sampled frame to the next."""
    meters = [MotionMeter() for _ in scouted.people]
    still = cast(Detector, _StillDetector(detector, scouted.turn))  # it has all that a tracker calls
    tracker = PeopleTracker(still, detect, scouted, everyone=True)
    for frame, found in tracker.track(number_shots(start)):
        for person, item in found.items():
            if person < len(meters) and item.face is not None:
                meters[person].add(item.face.landmarks, frame.timestamp_s, item.track)
        moves = [meter.moves for meter in meters]
        if moves[0] or (moves[0] is False and True in moves):
            break
    between = [_moves_between(person) for person in scouted.people]
    return [later if meter.moves is None else meter.moves for meter, later in zip(meters, between, strict=True)]


def _moves_between(person: Person) -> bool | None:
    meter = MotionMeter(window_s=np.inf)
    for sighting in person.sightings:
        meter.add(sighting.landmarks, sighting.time_s)
    return meter.moves
