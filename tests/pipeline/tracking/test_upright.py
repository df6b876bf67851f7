from contextlib import closing

import numpy as np
import pytest

from tclr.pipeline.faces import TURNS, open_detector
from tclr.pipeline.tracking import scout_people
from tclr.pipeline.tracking.upright import look_upright
from tclr.pipeline.video import Frame
from tclr.schemas.config import DetectConfig


@pytest.fixture
def detector():
    with closing(open_detector(DetectConfig())) as opened:
        yield opened


@pytest.fixture
def lying(portrait):
    """Return a function that gives the portrait's head turned anticlockwise by some degrees."""
    return lambda degrees: np.ascontiguousarray(np.rot90(portrait[:300, 80:380], degrees // 90))


@pytest.mark.parametrize("turn", TURNS)
def test_the_turn_that_makes_a_face_upright_is_found(detector, lying, turn):
    faces, found = look_upright(lying(turn), detector, TURNS)
    assert found == turn and len(faces) == 1
    chin, forehead = (np.linalg.inv(_matrix(turn)) @ faces[0].landmarks[[152, 10], :2].T).T
    assert chin[1] > forehead[1] + 50  # upright once turned back


def _matrix(anticlockwise):
    angle = np.radians(anticlockwise)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def test_an_upright_face_is_looked_at_once(detector, lying, monkeypatch):
    looks, look = [], detector.look
    monkeypatch.setattr(detector, "look", lambda image: looks.append(image.shape) or look(image))
    assert look_upright(lying(0), detector, TURNS)[1] == 0 and len(looks) == 1
    assert look_upright(lying(180), detector, (180,))[1] == 180 and len(looks) == 2


def test_a_picture_without_a_face_has_no_turn(detector):
    assert look_upright(np.full((200, 300, 3), 128, np.uint8), detector, TURNS) == ([], None)


def test_a_clip_is_turned_as_most_of_its_samples(detector, lying):
    def scout(*turns):
        return scout_people([Frame(-1, float(i), lying(turn)) for i, turn in enumerate(turns)], detector, TURNS).turn

    assert [scout(0, 180, 180), scout(180, 0, 0), scout(90)] == [180, 0, 90]
