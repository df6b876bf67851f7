"""The networks run directly give what mediapipe's graph gives, and what it rests on holds by itself."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tclr.pipeline.faces import find_model, open_detector, pose_from_rotation
from tclr.pipeline.faces.landmarker import regions
from tclr.pipeline.faces.landmarker.boxes import find_boxes
from tclr.pipeline.faces.landmarker.bundle import BOXES, CANONICAL_FACE, LANDMARKS, open_network, read_entry
from tclr.pipeline.faces.landmarker.landmarker import FaceLandmarker
from tclr.pipeline.faces.landmarker.pose import FIELD_OF_VIEW, CanonicalFace
from tclr.pipeline.faces.landmarker.regions import Region, cut
from tclr.schemas.config import DetectConfig
from tclr.schemas.errors import ModelError

DIRECT, GRAPH = DetectConfig(detector="landmarker"), DetectConfig(detector="mediapipe")


@pytest.fixture
def head(portrait):
    return np.ascontiguousarray(portrait[:300, 80:380])


@pytest.fixture
def turning(head):
    """16 frames, twice as wide as high, of a head that moves, tilts and shrinks."""
    maps = [cv2.getRotationMatrix2D((150, 130), 1.5 * i, 1 - 0.02 * i) for i in range(16)]
    return [cv2.warpAffine(head, m + [[0, 0, i], [0, 0, 0]], (600, 300), borderMode=1) for i, m in enumerate(maps)]


def rms_px(face, other):
    """Distance of landmarks on a crop of 224 px, depth included."""
    apart = np.linalg.norm(face.landmarks - other.landmarks, axis=1)
    return np.sqrt((apart**2).mean()) * 224 / (1.3 * face.size_px)


def assert_equal(face, other):
    assert rms_px(face, other) < 0.1
    np.testing.assert_allclose(face.blendshapes, other.blendshapes, atol=0.03)
    np.testing.assert_allclose(face.pose, other.pose, atol=0.01)


def test_a_followed_face_equals_that_of_the_graph(turning):
    times_s = [1 + i / 25 for i in range(len(turning))]  # at 0 the graph's filter forgets that it was told to rest
    found = []
    for config in (DIRECT, GRAPH):
        with closing(open_detector(config)) as detector:
            detector.n_faces = 1
            found.append(detector.detect(turning, times_s))
    for ours, theirs in zip(*found, strict=True):
        assert len(ours) == len(theirs) == 1
        assert_equal(ours[0], theirs[0])


def test_stills_and_several_faces_equal_those_of_the_graph(head):
    pair = np.hstack([head, cv2.resize(head[:, ::-1], (200, 300))])
    for image, n_faces in ((head, 1), (pair, 2), (np.zeros((60, 80, 3), np.uint8), 0)):
        with closing(open_detector(DIRECT)) as ours, closing(open_detector(GRAPH)) as theirs:
            mine, its = (sorted(detector.look(image), key=lambda face: face.bbox[0]) for detector in (ours, theirs))
        assert len(mine) == len(its) == n_faces
        for face, other in zip(mine, its, strict=True):
            assert_equal(face, other)


def test_crops_are_scored_as_the_graph_scores_them(head):
    with closing(open_detector(DIRECT)) as ours, closing(open_detector(GRAPH)) as theirs:
        for image in (head, np.ascontiguousarray(head[::-1]), np.zeros((90, 90, 3), np.uint8)):
            crop = cv2.resize(image, (128, 128))
            assert ours.score_crop(crop) == pytest.approx(theirs.score_crop(crop), abs=1e-3)


def test_a_lost_face_is_found_again_and_a_reset_forgets(head):
    blank = np.full_like(head, 128)
    detector = FaceLandmarker(DIRECT, video=True, n_faces=1)
    counts = [len(faces) for faces in detector.detect([head, blank, head, head], [0, 1, 2, 3])]
    assert counts == [1, 0, 1, 1]
    first, followed = (detector.detect([head], [t])[0][0] for t in (4, 5))
    detector.reset()
    again = detector.detect([head], [6])[0][0]
    assert not np.array_equal(again.landmarks, followed.landmarks)
    np.testing.assert_array_equal(again.landmarks, detector.look(head)[0].landmarks)
    assert rms_px(first, followed) < 0.5


def test_faces_looked_for_are_at_most_so_many(head):
    pair = np.hstack([head, head])
    for n_faces in (1, 2):
        detector = FaceLandmarker(DIRECT, video=True, n_faces=n_faces)
        assert [len(faces) for faces in detector.detect([pair] * 3, [0, 1, 2])] == [n_faces] * 3
    together = detector.detect([pair], [3])[0]
    assert abs(together[0].bbox[0] - together[1].bbox[0]) == pytest.approx(300, abs=3)  # two, not one twice


def test_box_of_a_face_has_its_eyes_and_scores_it(head):
    (box,) = find_boxes(open_network(find_model(), BOXES), head, 0.5, 3)
    (face,) = FaceLandmarker(DIRECT, video=False, n_faces=1).look(head)
    right_eye, left_eye = (face.landmarks[list(corners), :2].mean(axis=0) for corners in ((33, 133), (263, 362)))
    np.testing.assert_allclose(box.keypoints[:2], [right_eye, left_eye], atol=0.06 * face.size_px)
    assert 0.8 < box.score <= 1 and (box.corners[0] < right_eye).all() and (box.corners[1] > left_eye).all()


# ---- regions


def test_region_of_a_turned_face_is_level():
    points = np.random.default_rng(0).uniform(0, 100, (478, 3))
    points[33, :2], points[263, :2] = (30, 40), (60, 70)
    region = Region.of_landmarks(points)
    assert region.angle == pytest.approx(np.pi / 4)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    assert (region.x, region.y) == pytest.approx(tuple((low + high) / 2))
    assert region.side == pytest.approx(1.5 * (high - low).max())
    matrix = region.matrix(256)
    corner, middle = (matrix[:, :2] @ np.array(point) + matrix[:, 2] for point in ((0, 0), (128, 128)))
    np.testing.assert_allclose(middle, [region.x, region.y])
    np.testing.assert_allclose(corner - middle, [0, -region.side / np.sqrt(2)], atol=1e-9)


def test_cut_of_an_upright_region_is_the_picture_itself():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    np.testing.assert_array_equal(cut(image, Region(20, 18, 16), 16, cv2.BORDER_REPLICATE), image[10:26, 12:28])


@pytest.mark.parametrize("border", [cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT])
@pytest.mark.parametrize("angle", [0, 0.3, 2.5])
@pytest.mark.parametrize(("x", "y", "side"), [(600, 400, 300), (20, 30, 400), (1180, 790, 250), (-900, 400, 200)])
def test_cut_of_a_small_picture_is_that_of_a_large_one_to_the_bit(x, y, side, angle, border, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    image = cv2.resize(noise, (1200, 800), interpolation=cv2.INTER_CUBIC)
    found = [cut(image, Region(x, y, side, angle), 256, border)]
    monkeypatch.setattr(regions, "FEW_PIXELS", image.size)
    found.append(cut(image, Region(x, y, side, angle), 256, border))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("other", "overlap"), [(Region(10, 10, 8), 1), (Region(14, 10, 8), 1 / 3), (Region(18, 10, 8), 0)]
)
def test_overlap_of_regions(other, overlap):
    assert Region(10, 10, 8).overlap(other) == pytest.approx(overlap)


# ---- what is computed later


def test_pose_and_blendshapes_are_computed_when_they_are_read_and_once(head, monkeypatch):
    calls = []
    describe = FaceLandmarker._describe
    monkeypatch.setattr(FaceLandmarker, "_describe", lambda *given: calls.append(1) or describe(*given))
    (face,) = open_detector(DIRECT, video=False).look(head)
    moved = face.placed(face.landmarks + np.float32(5))
    assert not calls and face.size_px > 50
    with ThreadPoolExecutor(2) as pool:
        blendshapes = pool.submit(lambda: moved.blendshapes).result()
    np.testing.assert_array_equal(face.blendshapes, blendshapes)
    np.testing.assert_array_equal(moved.pose, face.pose)
    np.testing.assert_array_equal(moved.landmarks, face.landmarks + np.float32(5))
    assert len(calls) == 1 and moved.score == face.score
    for copied in (copy.deepcopy(face), pickle.loads(pickle.dumps(moved))):
        np.testing.assert_array_equal(copied.pose, face.pose)
        np.testing.assert_array_equal(copied.blendshapes, face.blendshapes)


def test_a_process_opens_a_network_once():
    first, second = (FaceLandmarker(DIRECT, video=True, n_faces=1) for _ in range(2))
    assert first._landmarks is second._landmarks
    first.close()
    assert second._landmarks is open_network(find_model(), LANDMARKS)


# ---- pose


def test_pose_of_a_face_seen_by_a_camera_is_found():
    """The canonical face itself, turned, moved away and projected; z as the landmarks have it, per eye's distance."""
    canonical = CanonicalFace.parse(read_entry(find_model(), CANONICAL_FACE))
    width, height = 640, 480
    for angles in ([0, 0, 0], [0.3, 0.1, 0.2], [-0.4, -0.2, 0.1]):
        rotation = Rotation.from_euler("YXZ", angles).as_matrix()
        x, y, z = (canonical.points @ rotation.T + [3, -2, -400]).T  # so far that perspective hardly shows
        focal = height / (2 * np.tan(FIELD_OF_VIEW / 2))
        landmarks = np.zeros((478, 3))
        landmarks[:, 2] = 0
        landmarks[canonical.numbers] = np.stack(
            [width / 2 + focal * x / -z, height / 2 - focal * y / -z, focal * (-z - 400) / 400], axis=1
        )
        found = pose_from_rotation(canonical.rotation(landmarks, width, height))
        np.testing.assert_allclose(found[[1, 0, 2]], angles, atol=0.02)


def test_another_bundle_is_refused(tmp_path):
    path = tmp_path / "bundle.task"
    path.write_bytes(b"no archive")
    with pytest.raises(ModelError, match=r"Expected face_detector.tflite in .*bundle.task"):
        open_network(path, BOXES)
