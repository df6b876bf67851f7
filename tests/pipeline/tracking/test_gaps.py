import numpy as np

from tclr.pipeline.faces import Face
from tclr.pipeline.tracking import GapFiller, TrackedFrame
from tclr.pipeline.video import Frame
from tclr.schemas.store import Status


def fill_gaps(tracked, max_gap_s):
    filler = GapFiller(max_gap_s)
    return [row for item in tracked for row in filler.add(item)] + list(filler.flush())


def face(x0, y0, x1, y1):
    points = np.array([[x0, y0, 0], [x1, y1, 0]], np.float32)
    return Face(points, np.zeros(3, np.float32), None)


def item(index, shift=0.0, status=Status.ok, score=0.9, track=0):
    frame = Frame(index, index / 10, np.zeros((4, 4, 3), np.uint8))
    if status in (Status.no_face, Status.unreadable):
        return TrackedFrame(frame, status)
    return TrackedFrame(frame, status, score, face(shift, 0, shift + 10, 10), track)


def gap(*indices, status=Status.no_face):
    return [item(index, status=status) for index in indices]


def test_fill_gaps_interpolates_a_short_gap_by_time_and_marks_it():
    filled = list(fill_gaps([item(0, 0.0, score=0.8), *gap(1, 2), item(3, 3.0)], max_gap_s=0.3))
    assert [row.status for row in filled] == [Status.ok, Status.interpolated, Status.interpolated, Status.ok]
    np.testing.assert_allclose([row.face.bbox[0] for row in filled], [0, 1, 2, 3], atol=1e-6)
    assert filled[1].score == 0.8


def test_fill_gaps_leaves_long_gaps_new_tracks_and_ends_alone():
    cases = [
        [item(0), *gap(1, 2, 3, 4), item(5)],
        [item(0), *gap(1), item(2, track=1)],
        [*gap(0, 1), item(2)],
        [item(0), *gap(1, 2)],
    ]
    for rows in cases:
        assert list(fill_gaps(rows, max_gap_s=0.4)) == rows
    assert list(fill_gaps([item(0), *gap(1), item(2)], max_gap_s=0))[1].status == Status.no_face


def test_fill_gaps_keeps_unreadable_frames_inside_a_gap():
    rows = [item(0), *gap(1), *gap(2, status=Status.unreadable), item(3)]
    statuses = [row.status for row in fill_gaps(rows, max_gap_s=0.3)]
    assert statuses == [Status.ok, Status.interpolated, Status.unreadable, Status.ok]
