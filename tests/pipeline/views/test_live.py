"""What ``tclr live`` draws on a frame, and the window that shows it."""

import subprocess

import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.views.overlay import Window, draw_live, live, view_row
from tclr.schemas.errors import OutputError

BOX = np.array([200, 100, 320, 260], np.float32)
POINTS = np.array([[250.0, 180.0]], np.float32)


class FakeScreen:
    """OpenCV's windows without a display."""

    WINDOW_NORMAL, WINDOW_KEEPRATIO, WND_PROP_VISIBLE = 0, 0, 4

    def __init__(self, keys, visible):
        self.keys, self.visible, self.shown, self.sizes, self.gone = list(keys), list(visible), [], [], False

    def namedWindow(self, title, flags):
        self.title = title

    def resizeWindow(self, title, width, height):
        self.sizes.append((width, height))

    def imshow(self, title, picture):
        self.shown.append(picture)

    def waitKey(self, ms):
        return self.keys.pop(0)

    def getWindowProperty(self, title, which):
        return self.visible.pop(0)

    def destroyAllWindows(self):
        self.gone = True


@pytest.fixture
def screen(monkeypatch):
    def make(keys=(), visible=()):
        fake = FakeScreen(keys, visible)
        monkeypatch.setattr(live, "cv2", fake)
        monkeypatch.setattr(live, "_check_display", lambda: None)
        return fake

    return make


def test_a_row_becomes_a_face_with_its_bars():
    row = pd.Series({"AU12": 0.7, "AU12_c": 1, "AU01": pd.NA, "AU01_c": pd.NA, "pitch": 0.1, "yaw": 0.2, "roll": 0.3})
    view = view_row("ok", BOX, POINTS, row.to_dict(), {"AU01": 0.2, "AU12": 0.5, "AU45": 0.4})
    assert view.aus == ("AU01", "AU12") and view.threshold.tolist() == pytest.approx([0.2, 0.5])
    np.testing.assert_array_equal(view.probability, np.float32([np.nan, 0.7]))
    np.testing.assert_array_equal(view.present, np.float32([np.nan, 1]))
    assert view.pose == pytest.approx([0.1, 0.2, 0.3]) and np.isnan(view.true).all()
    assert view_row("no_face", None, None, None, {"AU12": 0.5}).aus == ()
    assert view_row("ok", BOX, None, {"pitch": pd.NA, "yaw": 0.2, "roll": 0.3}, {}).pose is None


@pytest.mark.parametrize(("height", "drawn"), [(90, 480), (360, 480), (601, 600), (1080, 720)])
def test_pictures_are_of_a_height_that_can_be_read_with_even_sides(height, drawn):
    image = np.full((height, 2 * height + 1, 3), 90, np.uint8)
    picture = draw_live(image, view_row("no_face", None, None, None, {}))
    assert picture.shape[0] == drawn and picture.shape[1] % 2 == 0
    assert (image == 90).all() and (picture[:, :drawn] == 90).all()


def test_box_and_landmarks_are_where_they_are_on_the_frame():
    image = np.zeros((240, 320, 3), np.uint8)
    picture = draw_live(image, view_row("", BOX[[0, 1, 2, 3]] / 2, POINTS / 2, None, {}))[:, :640]
    assert not image.any()
    assert picture[100:260, 198:203].max(axis=(1, 2)).min() > 50  # the left edge of the box, twice as far out
    assert picture[178:183, 248:253].max() > 50 and picture[150:170, 230:270].max() == 0


@pytest.mark.parametrize("key", [ord("q"), ord("Q"), 27])
def test_the_window_shows_bgr_and_ends_at_a_key(screen, key):
    fake = screen(keys=[-1, key], visible=[1])
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[..., 0] = 255
    with Window("t") as window:
        assert window.show(picture) and not window.show(picture)
    assert fake.shown[0][0, 0].tolist() == [0, 0, 255] and fake.sizes == [(6, 4)] and fake.gone


def test_a_window_that_was_closed_is_not_opened_again(screen):
    fake = screen(keys=[-1], visible=[0])
    with Window("t") as window:
        assert window.show(np.zeros((4, 6, 3), np.uint8)) and not window.show(np.zeros((4, 6, 3), np.uint8))
    assert len(fake.shown) == 1


@pytest.mark.parametrize("outcome", ["fails", "hangs"])
def test_without_a_display_the_error_names_the_way_out(monkeypatch, outcome):
    def probe(command, timeout, **options):
        if outcome == "hangs":
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, -6)

    monkeypatch.setattr(subprocess, "run", probe)
    with pytest.raises(OutputError, match="--no-show"):
        Window("t")
