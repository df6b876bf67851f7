"""Head pose: the rotation that lays the mean face over landmarks, with the signs of the detectors."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tclr.pipeline.faces import pose_from_rotation
from tclr.pipeline.geometry import head_pose, mean_face, remove_pose
from tclr.pipeline.geometry.pose import IMAGE_AXES, POSE_GAIN, POSE_ZERO, STILL_POINTS


@pytest.fixture
def landmarks():
    """Twelve faces that differ from the mean one, (12, 478, 3) in pixels."""
    points = mean_face()[0] + np.random.default_rng(0).normal(0, 0.02, (12, 478, 3))
    return (points * 90 * IMAGE_AXES + (320, 180, 0)).astype(np.float32)


def test_the_mean_face_is_symmetric_and_measured_in_eye_distances():
    points, mirror = mean_face()
    np.testing.assert_array_equal(mirror[mirror], np.arange(478))
    np.testing.assert_allclose(points[mirror] * (-1, 1, 1), points, atol=2e-3)
    assert np.linalg.norm(points[33] - points[263]) == pytest.approx(1, abs=1e-3)


def test_the_rotation_is_that_of_another_library(landmarks):
    mean, still = mean_face()[0][STILL_POINTS], landmarks[:, STILL_POINTS] * IMAGE_AXES
    for points, rotation in zip(still, remove_pose(landmarks)[1], strict=True):
        theirs, _ = Rotation.align_vectors(points - points.mean(axis=0), mean - mean.mean(axis=0))
        np.testing.assert_allclose(rotation, theirs.as_matrix(), atol=1e-5)


def unscaled(landmarks):
    """Return the pose before it is corrected."""
    return (head_pose(landmarks) - POSE_ZERO) / POSE_GAIN


def test_head_pose_has_the_signs_and_the_factors_of_the_detectors(landmarks):
    matrix = Rotation.from_euler("YXZ", [20, 10, -15], degrees=True).as_matrix()
    turned = (landmarks * IMAGE_AXES @ matrix.T) * IMAGE_AXES
    own = unscaled(landmarks)
    np.testing.assert_allclose(unscaled(turned), own + np.radians([10, 20, -15]), atol=0.02)
    theirs = pose_from_rotation(remove_pose(turned[:1])[1][0])
    np.testing.assert_allclose(unscaled(turned[:1])[0], theirs, atol=1e-5)
