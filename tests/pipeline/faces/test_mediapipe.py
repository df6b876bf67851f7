import threading
from contextlib import closing

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tclr.pipeline.faces import detect_image, open_detector
from tclr.pipeline.faces.face import pose_from_rotation
from tclr.pipeline.faces.mediapipe import MediapipeDetector
from tclr.pipeline.tracking import TEMPLATES
from tclr.pipeline.tracking.align import align_transform, warp_crop
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.config import DetectConfig


def test_pose_from_rotation_equals_scipy():
    for angles in np.random.default_rng(0).uniform(-1.2, 1.2, (20, 3)):
        yaw, pitch, roll = angles
        rotation = Rotation.from_euler("YXZ", [yaw, pitch, roll]).as_matrix()
        np.testing.assert_allclose(pose_from_rotation(rotation), [pitch, yaw, roll], atol=1e-6)


def test_detect_image_finds_the_face_of_a_portrait(portrait):
    (face,) = detect_image(portrait)
    assert face.landmarks.shape == (478, 3) and face.landmarks.dtype == np.float32
    assert (
        face.blendshapes.shape == (len(BLENDSHAPE_NAMES),)
        and 0 <= face.blendshapes.min() <= face.blendshapes.max() <= 1
    )
    eye_right, eye_left, chin = face.landmarks[[33, 263, 152], :2]
    assert eye_right[0] < eye_left[0] and chin[1] > eye_right[1]  # the subject's right eye is on the left
    # the astronaut smiles
    assert face.blendshapes[BLENDSHAPE_NAMES.index("mouthSmileLeft")] > 0.5


@pytest.mark.parametrize("degrees", [15, -15])
def test_roll_follows_a_turned_picture_anticlockwise(portrait, degrees):
    head = portrait[:300, 80:380]
    turned = cv2.warpAffine(head, cv2.getRotationMatrix2D((150, 130), degrees, 1), (300, 300))
    rolls = [detect_image(np.ascontiguousarray(image))[0].pose[2] for image in (head, turned)]
    assert np.degrees(rolls[1] - rolls[0]) == pytest.approx(degrees, abs=3)


def test_yaw_flips_in_the_mirror(portrait):
    head = np.ascontiguousarray(portrait[:300, 80:380])
    plain, mirrored = (detect_image(image)[0].pose for image in (head, np.ascontiguousarray(head[:, ::-1])))
    assert np.degrees(plain[1] + mirrored[1]) == pytest.approx(0, abs=4)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_arrays_hold_what_mediapipe_gives_in_objects(portrait, count):
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    from tclr.pipeline.faces.mediapipe_arrays import _as_arrays, _detect, detect_for_video
    from tclr.pipeline.faces.models import find_model

    face = portrait[0:256, 96:352]
    pixels = np.hstack([face] * count) if count else np.zeros((64, 64, 3), np.uint8)
    image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
    options = {
        "base_options": BaseOptions(model_asset_path=str(find_model())),
        "num_faces": 2,
        "output_face_blendshapes": True,
        "output_facial_transformation_matrixes": True,
    }
    with vision.FaceLandmarker.create_from_options(vision.FaceLandmarkerOptions(**options)) as landmarker:
        arrays, plain = _detect(landmarker, image), _as_arrays(landmarker.detect(image))
    options["running_mode"] = vision.RunningMode.VIDEO
    with vision.FaceLandmarker.create_from_options(vision.FaceLandmarkerOptions(**options)) as landmarker:
        film = detect_for_video(landmarker, image, 40)
    assert [len(value) for value in vars(plain).values()] == [count] * 3
    for other in (plain, film):
        for name, values in vars(other).items():
            for mine, its in zip(getattr(arrays, name), values, strict=True):
                assert np.array_equal(mine, its) and mine.dtype == its.dtype and mine.shape == its.shape


@pytest.fixture(scope="module")
def aligned(portrait):
    """The portrait's face, aligned as crops that are scored."""
    (face,) = detect_image(portrait)
    return warp_crop(portrait, align_transform(face.landmarks, TEMPLATES["tclr"], 128, 1.0), 128)


def test_mediapipe_is_called_in_the_thread_that_asks(portrait, aligned):
    with closing(MediapipeDetector(DetectConfig(), video=True, n_faces=4)) as detector:
        assert len(detector.detect([portrait], [0.0])[0]) == len(detector.look(portrait)) == 1
        assert detector.score_crop(aligned) > 0.8
        for model in (detector._landmarker, detector._looker, detector._checker):
            assert model.task._lib._executor.submit(threading.get_ident).result() == threading.get_ident()


def test_detect_image_without_a_face():
    assert detect_image(np.full((200, 200, 3), 128, np.uint8)) == []


def test_score_crop_tells_a_face_from_texture(aligned):
    texture = np.random.default_rng(0).integers(0, 255, (224, 224, 3), np.uint8)
    with closing(open_detector(DetectConfig())) as detector:
        assert detector.score_crop(aligned) > 0.8
        assert detector.score_crop(texture) < DetectConfig().min_score


def test_a_detector_looks_whatever_came_before_and_keeps_its_models_chatter_to_itself(portrait, capfd):
    head, blank = np.ascontiguousarray(portrait[:260, 90:350]), np.full((260, 260, 3), 128, np.uint8)
    with closing(open_detector(DetectConfig())) as detector:
        detector.n_faces = 1
        ((tracked,), _) = detector.detect([head, blank], [0.0, 0.04])
        (seen,) = detector.look(head)
        assert detector.look(blank) == []
        detector.reset()
        assert len(detector.detect([head], [0.08])[0]) == 1
    np.testing.assert_allclose(seen.landmarks, tracked.landmarks, atol=0.02 * seen.size_px)
    assert capfd.readouterr() == ("", "")
