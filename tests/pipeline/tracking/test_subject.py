"""Who becomes the subject: painted heads in known places, of which some move in themselves."""

from pathlib import Path

import numpy as np
import pytest

from tclr.pipeline.faces import Face
from tclr.pipeline.tracking import choose_subject, describe_texture, scout_people
from tclr.pipeline.tracking.appearance import compare_looks
from tclr.pipeline.tracking.subject import NOT_CLEAR, PASSED_OVER
from tclr.pipeline.video import Frame
from tclr.schemas.config import DetectConfig

from .test_tracker import A, B, C, look, paint

LARGE, SMALL = (20, 66, A), (220, 50, B)  # place, side, colour


def face_at(x, side, opened=0.0):
    """68 landmarks of a face; those of the mouth are opened by a share of the side."""
    points = np.random.default_rng(68).uniform(0.2, 0.8, (68, 3))
    points[[36, 39, 42, 45, 30, 48, 54], :2] = [
        (0.3, 0.4), (0.4, 0.4), (0.6, 0.4), (0.7, 0.4), (0.5, 0.58), (0.4, 0.73), (0.6, 0.73),
    ]  # fmt: skip
    points[55:, 1] += opened
    return Face((points * side + (x, 30, 0)).astype(np.float32), np.zeros(3, np.float32), None)


class Looker:
    """Finds the heads of each image in turn."""

    def __init__(self, rows):
        self.rows = iter(rows)

    def look(self, image):
        return next(self.rows)


def choose(heads, alive=(), n_watched=25, texture=None, **settings):
    """Scout two frames and choose; ``alive`` are the colours that move in themselves."""

    def faces(i):
        return [face_at(x, side, 0.05 * (i % 5 == 0) * (colour in alive)) for x, side, colour in heads]

    image = paint([(x, colour) for x, _, colour in heads])
    scouted = scout_people(
        [Frame(-1, float(i), image) for i in range(2)], Looker(map(faces, range(2))), textures=texture is not None
    )
    start = (Frame(0, i / 5, image) for i in range(n_watched))
    return choose_subject(scouted, DetectConfig(**settings), texture, start, Looker(map(faces, range(n_watched))))


def colours(scouted):
    """The colours of the people, in their order."""
    return [min((A, B, C), key=lambda colour: compare_looks(person.look, look(colour))) for person in scouted.people]


def is_first(scouted, colour):
    return colours(scouted)[0] == colour


def test_a_motionless_face_gives_way_to_a_smaller_one_that_moves():
    chosen = choose([LARGE, SMALL], alive=[B])
    assert is_first(chosen, B) and chosen.note == PASSED_OVER and len(chosen.people) == 2


@pytest.mark.parametrize("alive", [[A], [A, B], []])
def test_the_larger_face_stays_if_it_moves_or_nobody_does(alive):
    chosen = choose([LARGE, SMALL], alive)
    assert is_first(chosen, A) and chosen.note == ""


def test_two_seconds_are_too_few_to_pass_a_face_over():
    assert is_first(choose([LARGE, SMALL], alive=[B], n_watched=11), A)


def test_motionless_people_come_after_all_who_move():
    chosen = choose([LARGE, SMALL, (140, 40, C)], alive=[C])
    assert colours(chosen) == [C, A, B]


def test_a_place_names_the_subject():
    chosen = choose([LARGE, SMALL], subject_at="0.75,0.5")
    assert is_first(chosen, B) and chosen.note == ""
    assert is_first(choose([LARGE, SMALL], alive=[B], subject_at="0.16,0.5"), A)


def test_a_place_without_a_face_takes_the_nearest_and_says_so():
    chosen = choose([LARGE, SMALL], subject_at="0.5,0")
    assert "0.5,0" in chosen.note


def test_who_is_first_at_the_place_is_the_subject():
    rows = [[face_at(20, 60), face_at(200, 60)], [face_at(200, 60), face_at(20, 60)]]
    frames = [Frame(-1, 0.0, paint([(20, A), (200, B)])), Frame(-1, 1.0, paint([(200, A), (20, B)]))]
    scouted = scout_people(frames, Looker(rows))
    assert is_first(choose_subject(scouted, DetectConfig(subject_at="0.75,0.5"), None, (), Looker([])), B)


def test_sightings_are_dropped_once_the_subject_is_chosen():
    assert all(person.sightings == [] for person in choose([LARGE, SMALL]).people)


def test_a_picture_of_the_face_names_the_subject(portrait):
    """The same two heads darker, and cut in another way."""
    import cv2
    import matplotlib

    from tclr.pipeline.faces import detect_image

    hopper = cv2.imread(str(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg"), cv2.IMREAD_COLOR_RGB)
    heads = [cv2.resize(hopper[20:420, 60:460], (240, 240), interpolation=cv2.INTER_AREA), portrait[:240, 100:340]]
    image = np.hstack(heads)
    faces = sorted(detect_image(image), key=lambda face: face.bbox[0])
    for i, head in enumerate(heads):
        picture = (np.pad(head, ((20, 20), (20, 20), (0, 0))) * 0.6).astype(np.uint8)
        (face,) = detect_image(picture)
        scouted = scout_people([Frame(-1, 0.0, image)], Looker([faces]), textures=True)
        texture = describe_texture(picture, face.landmarks)
        chosen = choose_subject(scouted, DetectConfig(), texture, (), Looker([]))
        assert chosen.people[0].look is owner(scouted, i).look and chosen.note == ""


def owner(scouted, i):
    """The person whose face is on the left (0) or on the right (1)."""
    return sorted(scouted.people, key=lambda person: person.sightings[0].box[0])[i]


def test_a_picture_like_two_people_is_doubtful():
    image, faces = paint([(20, A), (200, B)]), [face_at(20, 60), face_at(210, 60)]
    scouted = scout_people([Frame(-1, 0.0, image)], Looker([faces]), textures=True)
    between = np.mean([person.sightings[0].texture for person in scouted.people], axis=0)
    assert choose_subject(scouted, DetectConfig(), between, (), Looker([])).note == NOT_CLEAR
