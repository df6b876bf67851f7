"""Shape: what a head reads of a face does not depend on pose, and each side is read by itself."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tclr.pipeline.au.inputs.rows import describe_at
from tclr.pipeline.au.inputs.shape import BLENDSHAPES, LANDMARKS, MIRRORED_BLENDSHAPES, describe_shape
from tclr.pipeline.geometry import mean_face
from tclr.pipeline.geometry.pose import IMAGE_AXES, STILL_POINTS
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def faces(rng):
    """Twelve faces that differ from the mean one, (12, 478, 3) in pixels, and their blendshapes."""
    points = mean_face()[0] + rng.normal(0, 0.02, (12, 478, 3))
    return (points * 90 * IMAGE_AXES + (320, 180, 0)).astype(np.float32), rng.random((12, 52)).astype(np.float32)


def test_shape_does_not_depend_on_pose_size_or_place(faces):
    landmarks, blendshapes = faces
    turn = Rotation.from_euler("YXZ", [25, -15, 10], degrees=True).as_matrix()
    turned = (landmarks - landmarks.mean(axis=(0, 1))) @ turn.T * 0.4 + (100, 50, 7)
    np.testing.assert_allclose(describe_shape(turned, blendshapes), describe_shape(landmarks, blendshapes), atol=2e-3)


def test_a_mirrored_face_has_the_same_shape_with_its_sides_exchanged(faces):
    landmarks, blendshapes = faces
    mirrored = landmarks[:, mean_face()[1]].copy()
    mirrored[..., 0] = 640 - mirrored[..., 0]
    again = describe_shape(mirrored, blendshapes[:, MIRRORED_BLENDSHAPES])
    np.testing.assert_allclose(again[:, ::-1], describe_shape(landmarks, blendshapes), atol=2e-3)
    left, right = (BLENDSHAPE_NAMES.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    assert MIRRORED_BLENDSHAPES[left] == right


def test_shape_sees_facial_action(faces):
    landmarks, blendshapes = faces
    open_mouth = landmarks.copy()
    open_mouth[:, 152, 1] += 20  # the chin
    difference = describe_shape(open_mouth, blendshapes) - describe_shape(landmarks, blendshapes)
    moved = np.abs(difference[..., LANDMARKS]).reshape(-1, 478, 3).max(axis=(0, 2))
    assert moved.argmax() == 152 and moved[STILL_POINTS].max() < 1e-3


def test_each_side_is_described_by_its_own_landmarks_and_blendshapes(faces):
    landmarks, blendshapes = faces
    one_sided = landmarks.copy()
    one_sided[:, 291, 1] -= 20  # the lip corner on the person's left, to the right of the picture
    smile = blendshapes.copy()
    smile[:, BLENDSHAPE_NAMES.index("mouthSmileLeft")] = 1
    difference = np.abs(describe_shape(one_sided, smile) - describe_shape(landmarks, blendshapes))
    left, right = difference[:, 0], difference[:, 1]
    assert left[:, LANDMARKS].max() > 1 and right[:, LANDMARKS].max() < 1e-6
    assert left[:, BLENDSHAPES].max() > 0.1 and right[:, BLENDSHAPES].max() < 1e-6


def test_other_landmarks_are_refused():
    with pytest.raises(InputError, match="Expected 478 landmarks and 52 blendshapes"):
        describe_shape(np.zeros((2, 68, 3)), np.zeros((2, 52)))


def test_rows_that_lie_far_apart_are_read_apart():
    read = []

    def describe(store, info, start, stop):
        read.append((start, stop))
        return np.arange(start, stop, dtype=np.float32)[:, None]

    rows = np.array([3, 5, 1000, 1001])
    assert describe_at(describe, None, None, rows).ravel().tolist() == rows.tolist()
    assert read == [(3, 6), (1000, 1002)]
