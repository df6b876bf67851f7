"""The subject of frames that arrive one by one."""

import numpy as np
import pytest

from tclr.pipeline.faces import Face
from tclr.pipeline.tracking import TEMPLATES, FaceStream
from tclr.pipeline.video import Frame
from tclr.schemas.config import AlignConfig, DetectConfig

IMAGE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


class Scripted:
    """A detector that finds a face of 64 px at the given places, nothing where there is none."""

    name, n_landmarks, blendshape_names, batch_size, n_faces = "scripted", 5, (), 4, 1

    def __init__(self, places):
        self.places = iter(places)
        self.n_resets = self.n_seen = 0

    def detect(self, images, timestamps_s):
        self.n_seen += len(images)
        return [[face_at(*at) for at in next(self.places)] for _ in images]

    def score_crop(self, crop):
        return 0.9

    def reset(self):
        self.n_resets += 1


def face_at(x, y, size=64):
    points = TEMPLATES["arcface"].points * size + (x, y)
    return Face(np.c_[points, np.zeros(5)].astype(np.float32), np.zeros(3, np.float32), None)


def push(stream, n_frames, step_s=0.04):
    """Return, for each frame pushed, the frames that came out."""
    return [[out.tracked.frame.index for out in stream.add(Frame(i, i * step_s, IMAGE))] for i in range(n_frames)]


def test_each_frame_comes_out_at_once_even_if_a_detector_likes_batches():
    detector = Scripted([[(10 + i, 20)] for i in range(4)] + [[]] * 2)
    stream = FaceStream(detector, DetectConfig(max_faces=1), AlignConfig(size=32))
    assert push(stream, 6) == [[i] for i in range(6)] and not list(stream.flush())
    assert stream.ahead_s == 0 and stream.last.status.name == "no_face" and detector.n_faces == 1


def test_with_look_ahead_frames_wait_for_their_neighbours_and_gaps_are_filled():
    places = [[(10 + i, 20)] if i != 3 else [] for i in range(12)]
    stream = FaceStream(Scripted(places), DetectConfig(), AlignConfig(size=32, smooth_s=0.04), look_ahead=True)
    out, statuses = [], []
    for i in range(12):
        for item in stream.add(Frame(i, i * 0.04, IMAGE)):
            out.append((item.tracked.frame.index, i))
            statuses.append(item.tracked.status.name)
    waiting = [item.tracked.frame.index for item in stream.flush()]
    assert [index for index, _ in out] + waiting == list(range(12))
    assert max(now - index for index, now in out) * 0.04 <= stream.ahead_s == pytest.approx(0.32)
    assert statuses[3] == "interpolated" and waiting


def test_the_largest_of_the_first_faces_is_the_subject():
    stream = FaceStream(Scripted([[(0, 0, 30), (60, 10, 90)]] * 2), DetectConfig(max_faces=3), AlignConfig(size=32))
    push(stream, 2)
    assert stream.last.face.bbox[0] > 60


def test_pictures_that_lie_on_their_side_are_turned():
    detector = Scripted([[(10, 20)]])
    stream = FaceStream(detector, DetectConfig(rotate="90"), AlignConfig(size=32))
    push(stream, 1)
    x, y = stream.last.face.landmarks[0, :2]
    upright = face_at(10, 20).landmarks[0]
    assert (x, y) != tuple(upright[:2]) and stream.rotation == 90
    assert FaceStream(detector, DetectConfig(), AlignConfig()).rotation == 0


def test_a_frame_that_cannot_be_read_keeps_its_row():
    stream = FaceStream(Scripted([[(10, 20)]] * 2), DetectConfig(), AlignConfig(size=32))
    assert [item.tracked.status.name for item in stream.add(Frame(0, 0.0, None))] == ["unreadable"]
    assert [item.tracked.status.name for item in stream.add(Frame(1, 0.04, IMAGE))] == ["ok"]
