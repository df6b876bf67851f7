"""Scores of faces: the detector's, lowered where the picture has too little contrast to read a face."""

import numpy as np
import pytest

from tclr.pipeline.faces import Face
from tclr.pipeline.tracking import TEMPLATES, TrackedFrame, score_faces
from tclr.pipeline.video import Frame
from tclr.schemas.store import Status

FACE = Face(np.c_[TEMPLATES["arcface"].points * 96 + 48, np.zeros(5)], pose=np.zeros(3), blendshapes=None)


def score(image):
    item = TrackedFrame(Frame(0, 0.0, image), Status.ok, face=FACE, is_due=True)
    ((_, found),) = score_faces([(item.frame, {0: item})], score_crop=lambda crop: 0.87, min_score=0.4)
    return found[0].score, found[0].status


@pytest.fixture
def image():
    """Blotches, so that reducing it leaves contrast."""
    cells = np.random.default_rng(0).integers(40, 216, (16, 16, 3), np.uint8)
    return cells.repeat(12, axis=0).repeat(12, axis=1)


def test_a_face_in_good_light_keeps_the_detectors_score_exactly(image):
    assert score(image) == (0.87, Status.ok)


@pytest.mark.parametrize("spoil", [lambda image: image * 0.03, lambda image: 128 + 0.03 * (image - 128.0)])
def test_a_face_in_the_dark_or_in_fog_is_of_low_confidence(image, spoil):
    low, status = score(spoil(image).astype(np.uint8))
    assert low < 0.4 and status == Status.low_confidence
