"""Who is who: painted heads with known places and colours, and a detector that gets their places."""

import numpy as np
import pytest

from tclr.pipeline.faces import Face
from tclr.pipeline.tracking import PeopleTracker, Scouted, rank_faces, score_faces
from tclr.pipeline.tracking.appearance import compare_looks, describe_face
from tclr.pipeline.tracking.people import compute_overlap
from tclr.pipeline.tracking.scouting import Person
from tclr.pipeline.video import Frame, number_shots
from tclr.schemas.config import DetectConfig
from tclr.schemas.store import NO_TRACK, Status

A, B, C = (200, 60, 40), (40, 90, 200), (60, 170, 60)
POINTS = np.array([[0.35, 0.4], [0.65, 0.4], [0.5, 0.58], [0.4, 0.73], [0.6, 0.73]], np.float32)


def face_at(x, y=30, side=60, score=None):
    points = np.column_stack([POINTS * side + (x, y), np.zeros(5)]).astype(np.float32)
    return Face(points, np.zeros(3, np.float32), None, score)


class ToldDetector:
    """Returns the faces that the test gives for each frame."""

    name, n_landmarks, blendshape_names, n_faces = "told", 5, (), 4

    def __init__(self, faces, batch_size=1, crop_score=0.9):
        self.faces, self.batch_size, self.crop_score = iter(faces), batch_size, crop_score
        self.resets, self.calls = 0, []

    def detect(self, images, timestamps_s):
        self.calls.append(len(images))
        return [next(self.faces) for _ in images]

    def score_crop(self, crop):
        return self.crop_score() if callable(self.crop_score) else self.crop_score

    def reset(self):
        self.resets += 1


def paint(heads, ground=128):
    """A picture of heads, (place, colour), on a ground of one grey."""
    image = np.full((120, 320, 3), ground, np.uint8)
    for x, colour in heads:
        image[20:100, max(x - 10, 0) : x + 70] = colour
        image[60:64, max(x - 10, 0) : x + 70] = 0  # some contrast, without which nothing is a face
    return image


def run(heads, *, everyone=False, scouted=None, grounds=None, fps=25, **options):
    """Track; ``heads`` has per frame a list of (place, colour), or None for an unreadable frame."""
    frames = [
        Frame(i, i / fps, None if row is None else paint(row, grounds[i] if grounds else 128))
        for i, row in enumerate(heads)
    ]
    detector = ToldDetector([[face_at(x) for x, _ in row] for row in heads if row is not None], **options)
    tracked = PeopleTracker(detector, DetectConfig(), scouted, everyone=everyone).track(number_shots(frames))
    return [found for _, found in score(tracked, detector)], detector


def score(tracked, detector):
    return score_faces(tracked, detector.score_crop, DetectConfig().min_score)


def places(rows, person=0):
    """Where a person's face is in each frame, None where it is not."""
    return [round(float(row[person].face.bbox[0]) - 0.35 * 60) if person in row else None for row in rows]


def look(colour):
    return describe_face(paint([(100, colour)]), face_at(100).landmarks)


def scout(*colours):
    return Scouted(tuple(Person(look(colour)) for colour in colours), len(colours))


def test_compute_overlap_of_known_boxes():
    assert compute_overlap(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])) == pytest.approx(2 / 6)
    assert compute_overlap(np.array([0, 0, 1, 1]), np.array([2, 2, 3, 3])) == 0


def test_subject_is_the_largest_face_where_nobody_was_scouted():
    detector = ToldDetector([[face_at(10, side=40), face_at(200, side=70)]])
    tracker = PeopleTracker(detector, DetectConfig())
    ((_, found),) = tracker.track([(Frame(0, 0.0, paint([(10, A), (200, B)])), 0)])
    assert found[0].face.bbox[0] > 100


def test_subject_is_who_was_scouted_though_another_face_is_nearer_to_the_old_place():
    rows, _ = run([[(20, B), (200, A)]] * 3, scouted=scout(A, B))
    assert places(rows) == [200] * 3 and places(rows, 1) == [20] * 3


def test_people_who_cross_keep_their_names():
    path = [[(20 + 6 * i, A), (200 - 6 * i, B)] for i in range(30)]
    rows, _ = run([row if i % 2 else row[::-1] for i, row in enumerate(path)], scouted=scout(A, B))
    assert places(rows) == [20 + 6 * i for i in range(30)]
    assert {row[0].track for row in rows} == {0}


def test_a_swap_of_places_is_told_by_looks():
    rows, _ = run([[(20, A), (200, B)]] * 5 + [[(20, B), (200, A)]] * 5)
    assert places(rows) == [20] * 5 + [200] * 5
    assert [row[0].track for row in rows] == [0] * 5 + [1] * 5


def test_people_alike_who_change_places_between_two_frames_keep_their_names():
    alike = next(c for c in (blend(i / 80, C) for i in range(81)) if compare_looks(look(c), look(A)) >= 0.22)
    heads = [[(20, A), (200, alike)]] * 5 + [[(20, alike), (200, A)]] * 5
    for everyone in (False, True):
        rows, detector = run(heads, scouted=scout(A, alike), everyone=everyone)
        assert places(rows) == [20] * 5 + [200] * 5 and places(rows, 1) == [200] * 5 + [20] * 5
        assert [row[0].track for row in rows] == [0] * 5 + [1] * 5 and detector.resets == 0


def test_a_known_person_alike_in_the_subjects_place_is_not_the_subject():
    alike = next(c for c in (blend(i / 80, C) for i in range(81)) if compare_looks(look(c), look(A)) >= 0.22)
    heads = [[(20, A), (200, alike)]] * 3 + [[(20, A)]] * 2 + [[(20, alike)]] * 3
    rows, _ = run(heads, scouted=scout(A, alike))
    assert places(rows) == [20] * 5 + [None] * 3 and places(rows, 1) == [200] * 3 + [None] * 2 + [20] * 3


def test_a_lone_other_person_after_a_cut_is_not_the_subject():
    heads = [[(100, A)]] * 5 + [[(100, B)]] * 5 + [[(100, A)]] * 5
    rows, detector = run(heads, grounds=[20] * 5 + [230] * 5 + [90] * 5, scouted=scout(A, B))
    assert places(rows) == [100] * 5 + [None] * 5 + [100] * 5
    assert [row[0].track if 0 in row else NO_TRACK for row in rows] == [0] * 5 + [NO_TRACK] * 5 + [1] * 5
    assert detector.resets == 2


def test_a_cut_begins_a_new_track_of_the_same_person_in_the_same_place():
    rows, detector = run([[(100, A)]] * 6, grounds=[20] * 3 + [230] * 3)
    assert places(rows) == [100] * 6 and [row[0].track for row in rows] == [0, 0, 0, 1, 1, 1]
    assert detector.resets == 1


def test_a_flash_is_no_cut():
    rows, _ = run([[(100, A)], [(100, A)], [], [(100, A)]], grounds=[20, 20, 255, 20])
    assert [row[0].track if row else NO_TRACK for row in rows] == [0, 0, NO_TRACK, 0]


def test_a_tracker_that_drifts_onto_an_unknown_person_is_marked():
    heads = [[(100, A)]] * 8 + [[(104, C)]] * 20
    rows, _ = run(heads)
    status = [row[0].status for row in rows]
    assert status[:8] == [Status.ok] * 8 and set(status[8:]) == {Status.low_confidence}


def test_a_tracker_that_drifts_onto_a_known_person_loses_the_subject():
    rows, _ = run([[(60, A), (200, B)]] * 8 + [[(64, B)]] * 20)
    assert places(rows)[:8] == [60] * 8 and set(places(rows)[8:]) == {None}


def test_a_drift_onto_background_is_marked_by_the_face_detector():
    rows, _ = run([[(100, A)]] * 3, crop_score=0.1)
    assert [row[0].status for row in rows] == [Status.low_confidence] * 3


def test_a_face_with_a_score_of_its_own_is_not_checked_again():
    detector = ToldDetector([[face_at(10, score=0.7)]], crop_score=0.0)
    tracked = PeopleTracker(detector, DetectConfig()).track([(Frame(0, 0.0, paint([(10, A)])), 0)])
    ((_, found),) = score(tracked, detector)
    assert found[0].score == 0.7 and found[0].status == Status.ok


def test_a_score_holds_until_the_next_is_due_for_each_person():
    heads = [[(20, A), (200, B)]] * 20
    scores = iter([0.9, 0.8, 0.1, 0.7, 0.6, 0.2])
    rows, _ = run(heads, everyone=True, crop_score=lambda: next(scores))
    every = DetectConfig().score_every
    assert [row[0].score for row in rows] == [0.9] * every + [0.1] * every + [0.6] * (20 - 2 * every)
    assert [row[1].score for row in rows] == [0.8] * every + [0.7] * every + [0.2] * (20 - 2 * every)
    low = [row[0].status == Status.low_confidence for row in rows]
    assert low == [False] * every + [True] * every + [False] * (20 - 2 * every)


def test_light_that_changes_marks_frames_but_does_not_lose_them():
    rows, _ = run([[(100, A)]] * 4 + [[]] * 20 + [[(180, (90, 160, 150))]] * 4)
    assert places(rows) == [100] * 4 + [None] * 20 + [180] * 4
    assert [row[0].status for row in rows[-4:]] == [Status.low_confidence] * 4


def test_a_short_loss_keeps_the_track_and_a_long_one_begins_another():
    rows, _ = run([[(100, A)], [], [(100, A)], None, None, [(100, A)], *[[]] * 9, [(100, A)]])
    assert [row[0].track for row in rows if row] == [0, 0, 0, 1]


def test_a_low_rate_is_no_loss():
    rows, _ = run([[(100, A)]] * 4, fps=1)
    assert [row[0].track for row in rows] == [0] * 4


def test_everyone_gets_a_name_when_they_come():
    heads = [[(20, A)]] * 3 + [[(20, A), (200, B)]] * 3 + [[(200, B)]] * 3
    rows, _ = run(heads, everyone=True)
    assert places(rows, 0) == [20] * 6 + [None] * 3 and places(rows, 1) == [None] * 3 + [200] * 6


def test_a_second_find_of_the_same_face_is_nobody():
    rows, _ = run([[(100, A), (103, A)]] * 3, everyone=True)
    assert all(set(row) == {0} for row in rows)


@pytest.mark.parametrize("batch_size", [3, 7])
def test_batches_give_what_single_frames_give(batch_size):
    heads = [[(20 + 3 * i, A), (200, B)] for i in range(8)] + [None] + [[(20, B), (150, A)]] * 5
    single, _ = run(heads, everyone=True)
    batched, detector = run(heads, everyone=True, batch_size=batch_size)
    assert [places(single, i) for i in (0, 1)] == [places(batched, i) for i in (0, 1)]
    assert max(detector.calls) == batch_size


def test_faces_of_a_reduced_image_come_out_in_source_pixels():
    picture = paint([(100, A)])
    full = PeopleTracker(ToldDetector([[face_at(200, 60, 120)]]), DetectConfig()).track(
        [(Frame(0, 0.0, picture.repeat(2, axis=0).repeat(2, axis=1)), 0)]
    )
    half = PeopleTracker(ToldDetector([[face_at(100)]]), DetectConfig()).track(
        [(Frame(0, 0.0, picture, reduction=2), 0)]
    )
    ((_, one),), ((_, other),) = full, half
    np.testing.assert_allclose(one[0].face.landmarks, other[0].face.landmarks)


def test_rank_faces_of_stills_gives_the_largest_first():
    frames = [Frame(i, 0.0, paint([(20, A), (200, B)])) for i in range(2)]
    detector = ToldDetector([[face_at(20, side=40), face_at(200, side=70)], [face_at(20, side=90), face_at(200)]])
    ranked = [found for _, found in rank_faces(frames, detector, DetectConfig())]
    assert [found[0].face.bbox[0] > 100 for found in ranked] == [True, False]
    assert [len(found) for found in ranked] == [2, 2]


def blend(share, other):
    """A's colour, moved a fraction of the way to another's."""
    return tuple(round((1 - share) * a + share * b) for a, b in zip(A, other, strict=True))


def test_a_subject_who_looks_strange_at_first_is_found_again():
    odd = next(c for c in (blend(i / 40, C) for i in range(41)) if compare_looks(look(c), look(A)) >= 1.03)
    rows, _ = run([[(100, odd)]] * 2 + [[(100, A)]] * 30, scouted=scout(A, B))
    assert places(rows)[10:] == [100] * 22


def test_a_newcomer_does_not_push_people_from_their_places():
    heads = [[(20, A), (200, B)]] * 3 + [[(20, A)]] * 8 + [[(20, A), (110, C)]] * 5
    rows, _ = run(heads, everyone=True)
    assert places(rows) == [20] * 16 and places(rows, 2)[-5:] == [110] * 5


def test_an_unknown_stranger_after_a_cut_stays_marked():
    stranger = next(c for c in (blend(i / 40, C) for i in range(41)) if compare_looks(look(c), look(A)) >= 1.05)
    heads = [[(100, A)]] * 5 + [[(100, stranger)]] * 30
    rows, _ = run(heads, grounds=[20] * 5 + [230] * 30)
    assert {row[0].status for row in rows[5:]} == {Status.low_confidence}
