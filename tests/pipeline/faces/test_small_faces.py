from contextlib import closing

import cv2
import numpy as np
import pytest

from tclr.pipeline.faces import Face, open_detector
from tclr.pipeline.faces.small_faces import VAIN_LOOKS, SmallFaceDetector, cut_tiles, tile_sides
from tclr.schemas.config import DetectConfig

SIZE = (720, 1080)
"""Width and height of the test's pictures: 30 tiles."""


class Counter:
    """Finds white squares that span a quarter of the picture or more, and counts its looks."""

    name, n_landmarks, blendshape_names, batch_size = "counter", 5, (), 1

    def __init__(self):
        self.n_faces, self.looks = 4, 0

    def look(self, image):
        self.looks += 1
        rows, columns = np.nonzero(image[..., 0])
        if not len(rows) or np.ptp(rows) < max(image.shape) / 4:
            return []
        corners = [(x, y, 0) for y in (rows.min(), rows.max()) for x in (columns.min(), columns.max())]
        return [Face(np.array([*corners, corners[0]], np.float32), np.zeros(3, np.float32), None)]

    def look_at_all(self, images):
        return [self.look(image) for image in images]

    def detect(self, images, timestamps_s):
        return self.look_at_all(images)

    def reset(self):
        pass


def paint(x=None, side=80):
    image = np.zeros((*SIZE[::-1], 3), np.uint8)
    if x is not None:
        image[500 : 500 + side, x : x + side] = 255
    return image


@pytest.mark.parametrize("size", [(1920, 1080), (720, 1080), (3840, 2160), (640, 480), (512, 512)])
def test_any_face_too_small_for_one_look_lies_wholly_in_a_tile_of_the_next(size):
    longer, rng = max(size), np.random.default_rng(0)
    for before, side in zip([longer, *tile_sides(*size)], tile_sides(*size), strict=False):
        tiles = np.array(cut_tiles(*size, side))
        assert tiles.min() == 0 and (tiles[:, 2:].max(axis=0) == size).all()
        face_px = 0.16 * before
        for corner in rng.uniform(0, np.array(size) - face_px, (200, 2)):
            inside = (tiles[:, :2] <= corner) & (corner + face_px <= tiles[:, 2:])
            assert inside.all(axis=1).any()


def test_tiles_are_not_cut_further_than_small_faces_need():
    assert tile_sides(240, 300) == tile_sides(100, 100) == []
    assert [tile_sides(3840, 2160)[-1], tile_sides(1920, 1080)[-1], tile_sides(1080, 1920)[-1]] == [256] * 3


def test_a_video_without_faces_is_searched_ever_more_rarely_and_at_once_after_a_cut():
    inner = Counter()
    detector = SmallFaceDetector(inner, video=True)
    searched = []
    for i in range(40 * 5):
        before = inner.looks
        if i == 30 * 5:
            detector.reset()
        assert detector.detect([paint()], [i / 5]) == [[]]
        if inner.looks > before + 1:
            searched.append(i / 5)
    assert searched == [0, 2, 6, 14, 22, 30, 32, 36]


def test_a_small_face_is_followed_without_another_search_until_it_is_large():
    inner = Counter()
    detector = SmallFaceDetector(inner, video=True)
    for i in range(100):  # four seconds
        before = inner.looks
        x = 140 + 5 * i  # up to the edge of the picture
        (face,) = detector.detect([paint(x)], [i / 25])[0]
        assert face.bbox.tolist() == [x, 500, x + 79, 579]
        assert i == 0 or inner.looks - before <= 2
    large = detector.detect([paint(100, 400)], [5.0])[0]  # later than the next look at the whole
    assert [face.size_px for face in large] == [399]


def test_a_face_that_comes_later_is_found_within_seconds():
    inner = Counter()
    detector = SmallFaceDetector(inner, video=True)
    found = [bool(detector.detect([paint(300 if i >= 15 else None)], [i / 5])[0]) for i in range(60)]
    assert found.index(True) == 30 and all(found[30:])  # three seconds after it came, at the search due at 6 s


def test_looking_ahead_at_a_clip_without_faces_costs_few_searches():
    inner = Counter()
    detector = SmallFaceDetector(inner, video=True)
    for _ in range(20):
        assert detector.look(paint()) == []
    assert inner.looks < 20 + VAIN_LOOKS * 40
    assert SmallFaceDetector(Counter(), video=True).look(paint(300))[0].bbox.tolist() == [300, 500, 379, 579]


@pytest.mark.parametrize("size", [SIZE, (1920, 1080)])
@pytest.mark.parametrize("video", [True, False])
def test_mediapipe_finds_a_face_of_40_pixels(portrait, size, video):
    head = portrait[:260, 90:350]
    with closing(open_detector(DetectConfig(), video=video)) as detector:
        detector.n_faces = 1
        (alone,) = detector.look(head)
        scale = 40 / alone.size_px
        small = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for i in range(2):
            x, y = 420 + 4 * i, 530
            picture = np.full((*size[::-1], 3), 128, np.uint8)
            picture[y : y + small.shape[0], x : x + small.shape[1]] = small
            (face,) = detector.detect([picture], [i / 25])[0]
            expected = alone.landmarks[:, :2] * scale + (x, y)
            eyes = np.linalg.norm(expected[33] - expected[263])
            assert np.linalg.norm(face.landmarks[:, :2] - expected, axis=1).mean() < 0.1 * eyes
