"""The picture of moments: which frames it takes, and what is in it."""

import cv2
import numpy as np
import pytest

from tclr.pipeline.views.overlay import Moment, draw_moments, moments
from tclr.pipeline.views.overlay.moments import middle_of_longest
from tclr.schemas.errors import InputError


@pytest.mark.parametrize(
    ("present", "middle"),
    [("....", None), ("#...", 0), ("##.###.", 4), ("##.##", 0), ("####", 1)],
)
def test_the_frame_is_in_the_middle_of_the_longest_run(present, middle):
    assert middle_of_longest(np.array([letter == "#" for letter in present])) == middle


def test_a_video_that_no_clip_was_made_from_is_one_error(stored, features, tmp_path):
    (tmp_path / "other.mp4").touch()
    with pytest.raises(InputError, match="Expected a video that the clips were made from"):
        draw_moments([tmp_path / "other.mp4"], [], tmp_path / "a.png", store=stored, features=features)


@pytest.fixture
def person(tmp_path, make_store, write_features):
    """Numbered images, frame i of brightness 40 + 4 i, their store, and features with AU12 at frames 4-6 and 20-30."""
    store = make_store(tmp_path / "store", n_subjects=1, n_frames=40)
    images = tmp_path / "videos/F001/T1"
    images.mkdir(parents=True)
    for number in range(40):
        cv2.imwrite(str(images / f"{number + 100}.png"), np.full((64, 64, 3), 40 + 4 * number, np.uint8))
    rows = np.arange(40)
    labels = ((rows >= 4) & (rows <= 6)) | ((rows >= 20) & (rows <= 30))
    columns = {"frame": rows + 100, "timestamp": rows / 25, "status": ["ok"] * 40, "track": rows * 0}
    columns |= {"AU12": labels * 0.8, "AU12_true": labels.astype(np.int8), "AU25": rows / 40, "AU25_true": rows * 0}
    facts = {"source": "F001/T1", "source_sha256": "", "fps": 25.0}
    write_features(tmp_path / "features", "F001", "T1", columns, {"AU12": 0.5, "AU25": 0.5}, **facts)
    return images, store, tmp_path / "features"


def test_each_moment_has_its_frame_and_what_never_is_has_none(person, tmp_path, monkeypatch):
    images, store, features = person
    taken = {}
    draw, cut = moments._draw_picture, moments._cut_face
    monkeypatch.setattr(moments, "_cut_face", lambda image, bbox: taken.update(bbox=bbox) or image)
    monkeypatch.setattr(moments, "_draw_picture", lambda axes, picture, title: taken.update({title: picture}))
    shown = [Moment("smile", ("AU12",)), Moment("open mouth", ("AU25",)), Moment("not predicted", ("AU99",))]
    out = tmp_path / "moments.png"
    assert draw_moments([images], shown, out, store=store, features=features) == [("F001/T1", "smile")]
    assert taken["open mouth"] is None and taken["not predicted"] is None
    assert taken["bbox"].tolist() == [1, 2, 3, 4] and taken["smile"].shape == (64, 64, 3)
    assert np.median(taken["smile"]) == 40 + 4 * 25  # the middle of the longer run
    without = cv2.imread(str(out)).std()
    monkeypatch.setattr(moments, "_draw_picture", draw)
    monkeypatch.setattr(moments, "_cut_face", cut)
    draw_moments([images], shown, out, store=store, features=features)
    picture = cv2.imread(str(out))
    assert picture.shape[0] > 400 and picture.std() > without > 5


def test_the_face_fills_a_square_picture_also_at_the_edge():
    image = np.zeros((200, 300, 3), np.uint8)
    image[40:80, 100:140] = 255
    cut = moments._cut_face(image, np.array([100.0, 40, 140, 80]))
    assert cut.shape == (320, 320, 3) and cut.mean() / 255 == pytest.approx((40 / 60) ** 2, abs=0.02)
    assert moments._cut_face(image, np.array([0.0, 0, 40, 40])).shape == (320, 320, 3)
    assert moments._cut_face(image, None) is image
