from contextlib import closing

import numpy as np
import pytest

from tclr.pipeline.faces import TURNS, TurnedDetector, open_detector, turn_points
from tclr.pipeline.faces.landmarker.boxes import CROP_HEIGHTS, MAX_OFFSET
from tclr.pipeline.faces.turning import turn_image
from tclr.pipeline.tracking import TEMPLATES
from tclr.pipeline.tracking.align import align_transform, warp_crop
from tclr.schemas.config import DetectConfig


@pytest.mark.parametrize("turn", TURNS)
def test_points_turn_with_the_picture(turn):
    image = np.zeros((6, 9, 3), np.uint8)
    image[1, 7] = 255
    ((y, x),) = np.argwhere(turn_image(image, turn)[..., 0])
    np.testing.assert_allclose(turn_points(np.array([7.0, 1.0, 4.0]), turn, width=9, height=6), [x, y, 4.0])
    np.testing.assert_array_equal(turn_image(image, turn), np.rot90(image, -turn // 90))


@pytest.mark.parametrize("turn", TURNS)
def test_turned_detector_gives_the_upright_face_in_the_picture_as_it_came(portrait, turn):
    head = np.ascontiguousarray(portrait[:260, 90:340])
    lying = np.ascontiguousarray(np.rot90(head, turn // 90))  # as many degrees anticlockwise
    with closing(open_detector(DetectConfig())) as detector:
        (upright,) = detector.look(head)
        turned = TurnedDetector(detector, turn)
        (looked,), ((tracked,),) = turned.look(lying), turned.detect([lying], [0.0])
    expected = turn_points(upright.landmarks, -turn % 360, *head.shape[1::-1])
    for face in (looked, tracked):
        np.testing.assert_allclose(face.landmarks, expected, atol=0.02 * upright.size_px)
        np.testing.assert_allclose(face.pose, upright.pose, atol=0.05)


def test_a_crop_is_scored_only_where_eyes_and_mouth_are_in_their_places(portrait):
    template = TEMPLATES["tclr"]
    np.testing.assert_allclose(template.points[[0, 1, 3], 1], CROP_HEIGHTS)
    with closing(open_detector(DetectConfig())) as detector:
        (face,) = detector.look(portrait)
        right = align_transform(face.landmarks, template, 128, 1.0)
        moved = right + [[0, 0, 0], [0, 0, 1.5 * MAX_OFFSET * 128]]
        assert detector.score_crop(warp_crop(portrait, right, 128)) > 0.8
        assert detector.score_crop(warp_crop(portrait, moved, 128)) == 0
