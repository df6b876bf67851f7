"""Gaze, openness and place of painted landmarks whose eyes, heads and cameras are known."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tclr.pipeline.faces import turn_points
from tclr.pipeline.geometry import SHUT_BELOW, mean_face, measure_faces
from tclr.pipeline.geometry.eyes import IRIS_CENTRES, LIDS
from tclr.pipeline.geometry.place import EYE_DISTANCE_MM
from tclr.pipeline.geometry.pose import IMAGE_AXES

WIDTH, HEIGHT, EYES_PX = 640, 360, 90
IRISES = (range(473, 478), range(468, 473))


def paint(*, irises=(0.0, 0.0), closed=(0.0, 0.0), turn=(0, 0, 0), at=(0, 0), scale=1.0):
    """Landmarks (1, 478, 3) of the mean face: irises moved along x by shares of the eye distance, lids closed by
    shares, the head turned by yaw, pitch and roll in degrees and moved by pixels.
    """
    points = mean_face()[0].copy()
    for side in (0, 1):
        points[list(IRISES[side]), 0] += irises[side]
        for upper, lower in LIDS[side]:
            points[upper] += closed[side] * (points[lower] - points[upper])
    points = points @ Rotation.from_euler("YXZ", turn, degrees=True).as_matrix().T * scale * EYES_PX
    return (points * IMAGE_AXES + [(WIDTH - 1) / 2 + at[0], (HEIGHT - 1) / 2 + at[1], 0])[None]


def yaws(**painted):
    return np.degrees(measure_faces(paint(**painted), WIDTH, HEIGHT).gaze_yaw[0])


def test_irises_that_move_to_the_right_of_the_picture_look_there():
    ahead, right, left = yaws(), yaws(irises=(0.03, 0.03)), yaws(irises=(-0.03, -0.03))
    assert (right > ahead + 10).all() and (left < ahead - 10).all()
    np.testing.assert_allclose(right - ahead, ahead - left, atol=2)


def test_a_mirrored_face_has_the_opposite_gaze():
    looks, mirrored = yaws(irises=(0.03, 0.01), turn=(10, 0, 0)), yaws(irises=(-0.01, -0.03), turn=(-10, 0, 0))
    np.testing.assert_allclose(mirrored[[1, 0, 2]], -looks, atol=0.6)


def test_eyes_that_stay_in_a_head_that_turns_look_along_with_it():
    assert yaws(turn=(20, 0, 0))[2] > 10 and yaws(turn=(-20, 0, 0))[2] < -10


@pytest.mark.parametrize("roll", [-30, 30])
def test_a_tilted_head_looks_up_or_down_where_an_upright_one_looks_aside(roll):
    upright, tilted = (yaws(irises=(0.03, 0.03), turn=(0, 0, angle))[2] for angle in (0, roll))
    assert 0.6 * upright < tilted < upright + 8


def test_a_shut_eye_has_no_gaze_and_both_then_mean_the_other():
    face = measure_faces(paint(irises=(0.03, 0.03), closed=(0.97, 0)), WIDTH, HEIGHT)
    assert face.openness[0, 0] < SHUT_BELOW < face.openness[0, 1]
    assert np.isnan(face.gaze_yaw[0, 0]) and face.gaze_yaw[0, 1] == pytest.approx(face.gaze_yaw[0, 2], abs=1e-6)
    assert np.isnan(measure_faces(paint(closed=(1, 1)), WIDTH, HEIGHT).gaze_yaw).all()


def test_openness_falls_with_the_lids_and_does_not_depend_on_size_or_pose():
    shares = [measure_faces(paint(closed=(share, 0)), WIDTH, HEIGHT).openness[0] for share in (0, 0.4, 0.7, 1)]
    left, right = np.array(shares).T
    assert (np.diff(left) < -0.1).all() and left[-1] == 0 and (right == right[0]).all()
    turned = measure_faces(paint(closed=(0.4, 0), turn=(30, 15, 20), scale=0.3), WIDTH, HEIGHT).openness[0]
    np.testing.assert_allclose(turned, shares[1], atol=1e-5)


def test_the_place_of_a_head_follows_from_the_camera():
    middle, aside, far = (paint(**where) for where in ({}, {"at": (100, 50)}, {"at": (100, 50), "scale": 0.5}))
    places = [measure_faces(points, WIDTH, HEIGHT).place[0] for points in (middle, aside, far)]
    np.testing.assert_allclose(
        places[1][:2] - places[0][:2], np.array([100, 50]) * EYE_DISTANCE_MM / EYES_PX, rtol=1e-4
    )
    assert places[2][2] == pytest.approx(2 * places[1][2], rel=1e-4)
    focal_px = HEIGHT / 2 / np.tan(np.radians(63) / 2)
    eyes_px = np.linalg.norm(np.subtract(*middle[0, [33, 263]]))
    assert places[0][2] == pytest.approx(focal_px * EYE_DISTANCE_MM / eyes_px, rel=0.02)


def test_a_face_in_a_turned_picture_is_measured_upright():
    painted = paint(irises=(0.03, 0.03), at=(40, 10))
    shown = turn_points(painted, 270, WIDTH, HEIGHT)  # as a camera on its side delivers it
    upright = measure_faces(turn_points(shown, 90, HEIGHT, WIDTH), WIDTH, HEIGHT)
    for name, values in vars(measure_faces(painted, WIDTH, HEIGHT)).items():
        np.testing.assert_allclose(getattr(upright, name), values, atol=1e-3, err_msg=name)


def test_the_eyes_of_the_mean_face_are_known():
    points = mean_face()[0]
    assert points[IRIS_CENTRES[0], 0] > 0 > points[IRIS_CENTRES[1], 0]  # left is to the right of the picture
