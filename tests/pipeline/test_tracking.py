import numpy as np
import pytest

from tclr.pipeline.faces import Face
from tclr.pipeline.tracking import choose_face, compute_overlap


def face(x0, y0, x1, y1):
    points = np.array([[x0, y0, 0], [x1, y1, 0]], np.float32)
    return Face(points, np.zeros(3, np.float32), None)


def test_compute_overlap_of_known_boxes():
    assert compute_overlap(np.array([0, 0, 2, 2]), np.array([1, 0, 3, 2])) == pytest.approx(2 / 6)
    assert compute_overlap(np.array([0, 0, 1, 1]), np.array([2, 2, 3, 3])) == 0


def test_choose_face_takes_the_largest_at_first():
    assert choose_face([face(0, 0, 10, 10), face(20, 0, 50, 40)], None).bbox[0] == 20


def test_choose_face_follows_the_track_though_another_face_is_larger():
    faces = [face(50, 0, 100, 60), face(1, 1, 11, 11)]
    assert choose_face(faces, np.array([0, 0, 10, 10])).bbox[0] == 1


def test_choose_face_starts_anew_when_no_face_overlaps():
    faces = [face(50, 0, 60, 10), face(70, 0, 100, 60)]
    assert choose_face(faces, np.array([0, 0, 10, 10])).bbox[0] == 70


def test_choose_face_without_a_face():
    assert choose_face([], None) is None
