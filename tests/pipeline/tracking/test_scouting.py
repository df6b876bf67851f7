from pathlib import Path

import numpy as np

from tclr.pipeline.sources import Clip
from tclr.pipeline.tracking import count_samples, scout_people
from tclr.pipeline.tracking.appearance import OTHER_PERSON, SAME_PERSON, compare_looks, describe_face
from tclr.pipeline.tracking.scouting import MAX_SAMPLES
from tclr.pipeline.video import ClipMedia, Frame

from .test_tracker import A, B, face_at, paint


class Looker:
    """Returns the faces that the test gives for each image."""

    def __init__(self, rows):
        self.rows = iter(rows)

    def look(self, image):
        return next(self.rows)


def scout(rows, sides=None):
    frames = [Frame(-1, float(i), paint([(x, colour) for x, colour in row])) for i, row in enumerate(rows)]
    faces = [[face_at(x, side=(sides or {}).get(colour, 60)) for x, colour in row] for row in rows]
    return scout_people(frames, Looker(faces))


def media(n_expected, duration_s=0.0, **span):
    clip = Clip("folder", "s", "c", Path("a.mkv"), "a.mkv", **span)
    return ClipMedia(clip, 25.0, 64, 64, n_expected, 25.0, duration_s)


def test_count_samples_grows_with_length_up_to_a_limit():
    assert [count_samples(media(n)) for n in (0, 1, 100, 1000, 10**6)] == [1, 1, 2, 20, MAX_SAMPLES]
    assert count_samples(media(0, duration_s=40.0)) == 20  # Matroska has no count of frames
    assert count_samples(media(1000, start_s=10.0, end_s=20.0)) == 5


def test_subject_is_who_is_there_most():
    found = scout([[(20, A)], [(200, B)], [(100, B)]])
    assert found.n_faces == 1 and len(found.people) == 2
    look = describe_face(paint([(100, B)]), face_at(100).landmarks)
    assert compare_looks(found.people[0].look, look) < SAME_PERSON


def test_subject_is_the_larger_of_two_who_are_always_there():
    found = scout([[(20, A), (200, B)]] * 3, sides={A: 40, B: 60})
    assert found.n_faces == 2 and [len(person.sides_px) for person in found.people] == [3, 3]
    assert found.people[0].sides_px[0] > found.people[1].sides_px[0]


def test_two_faces_of_one_frame_are_two_people_though_they_look_alike():
    assert len(scout([[(20, A), (200, A)]]).people) == 2


def test_unreadable_samples_are_passed_over():
    assert scout_people([Frame(-1, 0.0, None)], Looker([])).people == ()


def test_looks_tell_colours_apart_and_bear_light_and_place():
    first = describe_face(paint([(20, A)]), face_at(20).landmarks)
    moved = describe_face(paint([(150, A)]), face_at(150).landmarks)
    darker = describe_face((paint([(20, A)]) * 0.8).astype(np.uint8), face_at(20).landmarks)
    other = describe_face(paint([(20, B)]), face_at(20).landmarks)
    assert compare_looks(first, moved) < 0.05 and compare_looks(first, darker) < SAME_PERSON
    assert compare_looks(first, other) > OTHER_PERSON


def test_people_of_rendered_clips_are_told_apart(shared_data):
    """Twelve people, each look against the others'; the table in docs/people.md has more of them."""
    from contextlib import closing

    from tclr.pipeline.faces import open_detector
    from tclr.pipeline.sources import find_clips
    from tclr.pipeline.video import probe, read_frames
    from tclr.schemas.config import DetectConfig

    looks = []
    with closing(open_detector(DetectConfig())) as detector:
        for clip in find_clips(shared_data / "synthetic-people", "folder")[200:224:2]:
            frames = [frame for frame in read_frames(probe(clip, 25)) if frame.index in (0, 40)]
            looks.append([describe_face(f.image, detector.look(f.image)[0].landmarks) for f in frames])
    same = [compare_looks(first, last) for first, last in looks]
    other = [compare_looks(a[0], b[0]) for i, a in enumerate(looks) for b in looks[i + 1 :]]
    assert np.mean(np.array(same) < SAME_PERSON) > 0.9 and np.mean(np.array(other) >= SAME_PERSON) > 0.95
