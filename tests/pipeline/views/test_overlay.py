import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tclr.pipeline.faces.face import pose_from_rotation
from tclr.pipeline.store import Store
from tclr.pipeline.views.overlay import overlay
from tclr.pipeline.views.overlay.drawing import (
    AXIS_COLOURS,
    TRACK_COLOURS,
    FaceView,
    draw_face,
    draw_panel,
    rotation_from_pose,
)
from tclr.pipeline.views.overlay.rows import open_clips
from tclr.schemas.config import OverlayConfig
from tclr.schemas.errors import InputError, StoreError

PLAIN = OverlayConfig(height=240, crf=5)
SIZE = 64


def shade(i):
    """The grey of frame i: far enough apart to tell frames by."""
    return 40 + 4 * i


def bars(n_frames, level=lambda i: i / 40):
    """Columns of features in which the frame can be read off the bar of AU12."""
    rows = np.arange(n_frames)
    return {"AU12": [level(i) for i in rows], "status": ["ok"] * n_frames, "track": rows * 0}


def read_back(path):
    """Return the pictures, (n, H, W, 3), and their times."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), [frame.time for frame in frames]


def bar_share(picture, width):
    """Return how long the coloured bar beside a picture of ``width`` px is, as a share of its trough."""
    panel = picture[45, width:].astype(int)  # a row within the only bar
    coloured = np.abs(panel - TRACK_COLOURS[0]).max(axis=1) < 30
    trough = np.abs(panel - 60).max(axis=1) < 12
    return coloured.sum() / (coloured.sum() + trough.sum())


@pytest.fixture
def person(tmp_path, make_store, write_features):
    """A store of 40 frames, the images that it could come from, and features of the same frames."""
    store = make_store(tmp_path / "store", n_subjects=1, n_frames=40, no_face=(30,))
    images = tmp_path / "videos/F001/T1"
    images.mkdir(parents=True)
    for i in range(40):
        cv2.imwrite(str(images / f"{i + 100}.png"), np.full((SIZE, SIZE, 3), shade(i), np.uint8))
    columns = bars(40, lambda i: np.nan if i == 30 else i / 40)
    columns |= {"frame": np.arange(40) + 100, "timestamp": np.arange(40) / 25}
    facts = {"source": "F001/T1", "source_sha256": "", "fps": 25.0}
    write_features(tmp_path / "features", "F001", "T1", columns, {"AU12": 0.0}, **facts)
    return images, store, tmp_path / "features"


def test_every_frame_shows_its_own_row(tmp_path, person):
    images, store, features = person
    result = overlay(images, tmp_path / "o.mp4", PLAIN, store=store, features=features)
    assert result.n_frames == 40 and result.clips == ["F001/T1"] and not result.without_bars
    pictures, times = read_back(tmp_path / "o.mp4")
    np.testing.assert_allclose(times, np.arange(40) / 25, atol=1e-4)
    assert pictures.shape[1] == 240 and pictures.shape[2] > 240
    for i, picture in enumerate(pictures):
        assert picture[230, 200].mean() == pytest.approx(shade(i), abs=2)  # away from what is drawn
        assert bar_share(picture, 240) == pytest.approx(0 if i == 30 else i / 40, abs=0.06)


def test_box_and_landmarks_come_from_the_store_and_only_where_there_is_a_face(tmp_path, person):
    images, store, _ = person
    overlay(images, tmp_path / "o.mp4", PLAIN, store=store)
    pictures, _ = read_back(tmp_path / "o.mp4")
    assert pictures.shape[1:3] == (240, 240)  # no features, no panel
    edge = middle = round((2 + 0.5) * 240 / SIZE - 0.5)  # upper side of the box 1 2 3 4
    for i, picture in enumerate(pictures):
        drawn = np.abs(picture[edge - 1 : edge + 2, middle - 1 : middle + 2].astype(int) - shade(i)).max() > 60
        assert drawn == (i != 30)


def test_pose_is_that_of_the_features_where_they_have_it(tmp_path, person, write_features):
    images, store, features = person
    columns = bars(40) | {"frame": np.arange(100, 140), "pitch": np.full(40, 0.3), "yaw": np.full(40, -0.2)}
    columns["roll"] = np.zeros(40)
    columns["timestamp"] = np.arange(40) / 25
    facts = {"source": "F001/T1", "source_sha256": "", "fps": 25.0}
    write_features(tmp_path / "posed", "F001", "T1", columns, {"AU12": 0.0}, **facts)
    poses = {}
    for name, folder in (("store", None), ("both", features), ("posed", tmp_path / "posed")):
        with Store(store) as opened:
            (clip,) = open_clips(images, opened, folder, None)
            poses[name] = clip.view(10, (255, 0, 0), 1.0, False).pose.round(3).tolist()
    assert poses["posed"] == [0.3, -0.2, 0] and poses["both"] == poses["store"] == pytest.approx([0.1, 0.2, 0.3])


def test_landmarks_can_be_left_out(tmp_path, person):
    images, store, _ = person
    shown = {}
    for landmarks in (True, False):
        overlay(images, tmp_path / "o.mp4", PLAIN.model_copy(update={"landmarks": landmarks}), store=store)
        shown[landmarks] = read_back(tmp_path / "o.mp4")[0][0]
    assert not np.allclose(shown[True][:5, :5], shown[False][:5, :5], atol=30)  # the store's lie in the first pixel
    np.testing.assert_allclose(shown[False][:5, 220:], shade(0), atol=6)


def test_rows_at_fewer_frames_are_drawn_on_just_those_at_their_times(tmp_path, write_video, write_features):
    times_ms = [0, 40, 100, 140, 200, 260, 300, 400]
    video = write_video(
        tmp_path / "vfr.mp4", [np.full((SIZE, SIZE, 3), shade(i), np.uint8) for i in range(8)], pts_ms=times_ms
    )
    rows = [1, 2, 5, 7]
    columns = bars(4, lambda i: rows[i] / 10) | {"frame": rows, "timestamp": [(times_ms[r] - 40) / 1000 for r in rows]}
    facts = {"source": "vfr.mp4", "source_sha256": "", "fps": 25.0}
    write_features(tmp_path / "f", "vfr", "vfr", columns, {"AU12": 0.0}, **facts)
    assert overlay(video, tmp_path / "o.mp4", PLAIN, features=tmp_path / "f").n_frames == 4
    pictures, times = read_back(tmp_path / "o.mp4")
    np.testing.assert_allclose(times, [0, 0.06, 0.22, 0.36], atol=1e-4)
    for row, picture in zip(rows, pictures, strict=True):
        assert picture[120, 120].mean() == pytest.approx(shade(row), abs=3)
        assert bar_share(picture, 240) == pytest.approx(row / 10, abs=0.06)


def test_a_renamed_video_is_known_by_its_contents(tmp_path, write_video, write_features):
    from tclr.pipeline.sources import Clip

    video = write_video(tmp_path / "renamed.mp4", [np.full((SIZE, SIZE, 3), 90, np.uint8)] * 3)
    digest = Clip("folder", "x", "x", video, "x").sha256()
    columns = bars(3) | {"frame": np.arange(3), "timestamp": np.arange(3) / 25}
    facts = {"source": "old.mp4", "fps": 25.0}
    write_features(tmp_path / "f", "a", "b", columns, {"AU12": 0.0}, source_sha256=digest, **facts)
    assert overlay(video, tmp_path / "o.mp4", PLAIN, features=tmp_path / "f").clips == ["a/b"]
    write_features(tmp_path / "f", "a", "b", columns, {"AU12": 0.0}, source_sha256="0", **facts)
    with pytest.raises(InputError, match=r"\(old\.mp4\), but got .*renamed\.mp4.*--clip"):
        overlay(video, tmp_path / "o.mp4", PLAIN, features=tmp_path / "f")
    assert overlay(video, tmp_path / "o.mp4", PLAIN, features=tmp_path / "f", clip="a/b").n_frames == 3


def test_people_of_a_video_have_their_own_colours_and_columns(tmp_path, write_video, write_features):
    video = write_video(tmp_path / "talk.mp4", [np.full((SIZE, SIZE, 3), 90, np.uint8)] * 3)
    for number in range(4):
        columns = bars(3, lambda i: 0.5) | {"frame": np.arange(3), "timestamp": np.arange(3) / 25}
        facts = {"source": "talk.mp4", "source_sha256": "", "fps": 25.0}
        write_features(tmp_path / "f", "talk", f"talk#{number + 1}", columns, {"AU12": 0.0}, **facts)
    result = overlay(video, tmp_path / "o.mp4", PLAIN, features=tmp_path / "f")
    assert len(result.clips) == 4 and result.without_bars == ["talk/talk#4"]
    picture = read_back(tmp_path / "o.mp4")[0][2]
    panel = (picture.shape[1] - 240) // 3
    for number in range(3):
        column = picture[45, 240 + number * panel : 240 + (number + 1) * panel].astype(int)
        assert (np.abs(column - TRACK_COLOURS[number]).max(axis=1) < 40).any()


def test_a_video_cut_off_before_it_was_stored_is_drawn_as_far_as_it_goes(tmp_path, write_video, write_features):
    noise = np.random.default_rng(0).integers(0, 255, (40, SIZE, SIZE, 3), np.uint8)
    video = write_video(tmp_path / "cut.mp4", list(noise), options={"movflags": "faststart"})
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    columns = bars(10) | {"frame": np.arange(10), "timestamp": np.arange(10) / 25}
    facts = {"source": "cut.mp4", "source_sha256": "", "fps": 25.0}
    write_features(tmp_path / "f", "cut", "cut", columns, {"AU12": 0.0}, **facts)
    assert overlay(video, tmp_path / "o.mp4", PLAIN, features=tmp_path / "f").n_frames == 10


def test_a_new_track_has_a_new_colour_and_frames_without_one_that_of_the_first(tmp_path, write_video, write_features):
    video = write_video(tmp_path / "a.mp4", [np.full((SIZE, SIZE, 3), 90, np.uint8)] * 3)
    columns = bars(3, lambda i: 0.5) | {"frame": np.arange(3), "timestamp": np.arange(3) / 25, "track": [4, 7, None]}
    facts = {"source": "a.mp4", "source_sha256": "", "fps": 25.0}
    write_features(tmp_path / "f", "a", "a", columns, {"AU12": 0.0}, **facts)
    overlay(video, tmp_path / "o.mp4", PLAIN, features=tmp_path / "f")
    for picture, number in zip(read_back(tmp_path / "o.mp4")[0], (0, 1, 0), strict=True):
        near = [(np.abs(picture[45, 240:].astype(int) - colour).max(axis=1) < 40).sum() for colour in TRACK_COLOURS]
        assert np.argmax(near) == number and near[number] > 10


def test_features_of_chosen_columns_are_enough(tmp_path, write_video, write_features):
    video = write_video(tmp_path / "a.mp4", [np.full((SIZE, SIZE, 3), 90, np.uint8)] * 3)
    columns = {
        "frame": np.arange(3),
        "timestamp": np.arange(3) / 25,
        "AU12": [0.2, 0.6, None],
        "AU12_true": [1, 0, None],
    }
    facts = {"source": "a.mp4", "source_sha256": "", "fps": 25.0}
    path = write_features(tmp_path / "f", "a", "a", columns, {"AU01": 0.5, "AU12": 0.5}, **facts)
    pq.write_table(pq.read_table(path, columns=["clip", "frame", "timestamp", "AU12"], partitioning=None), path)
    overlay(video, tmp_path / "o.mp4", PLAIN, features=tmp_path / "f")
    low, high, unknown = read_back(tmp_path / "o.mp4")[0]
    assert bar_share(low, 240) == 0 and bar_share(high, 240) == pytest.approx(0.6, abs=0.06)  # coloured from 0.5 on
    assert bar_share(unknown, 240) == 0


def test_another_video_is_refused_and_nothing_is_left(tmp_path, person, write_features):
    images, store, features = person
    last = images / "139.png"
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(InputError, match="1 of the clip's 40 frames are not in it"):
        overlay(images, tmp_path / "o.mp4", PLAIN, store=store)
    last.write_bytes(content)
    columns = bars(40) | {"frame": np.arange(40) + 100, "timestamp": np.arange(40) / 24}
    facts = {"source": "F001/T1", "source_sha256": "", "fps": 25.0}
    write_features(tmp_path / "late", "F001", "T1", columns, {"AU12": 0.0}, **facts)
    with pytest.raises(InputError, match=r"frame 101 is at 0\.040 s"):
        overlay(images, tmp_path / "o.mp4", PLAIN, features=tmp_path / "late")
    write_features(tmp_path / "other", "F001", "T1", columns | {"frame": np.arange(40)}, {"AU12": 0.0}, **facts)
    with pytest.raises(StoreError, match=r"those of F001/T1 differ"):
        overlay(images, tmp_path / "o.mp4", PLAIN, store=store, features=tmp_path / "other")
    for path in images.iterdir():
        cv2.imwrite(str(path), np.zeros((SIZE, SIZE + 8, 3), np.uint8))
    with pytest.raises(InputError, match="it has 72 x 64 pixels"):
        overlay(images, tmp_path / "o.mp4", PLAIN, store=store)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".mp4", ".tmp")]


def test_overlay_refuses_nothing_to_draw_and_unknown_clips(tmp_path, person):
    images, store, _ = person
    with pytest.raises(InputError, match="--store, --features or both"):
        overlay(images, tmp_path / "o.mp4", PLAIN)
    with pytest.raises(InputError, match="Unknown clip 'F001/T9'. Known clips: F001/T1"):
        overlay(images, tmp_path / "o.mp4", PLAIN, store=store, clip="F001/T9")
    with pytest.raises(InputError, match="found nothing at"):
        overlay(tmp_path / "absent.mp4", tmp_path / "o.mp4", PLAIN, store=store)


def test_command_writes_a_video_of_the_height_asked_for(tmp_path, person):
    from tclr.cli.look.overlay import command

    images, store, features = person
    args = [images, "-o", tmp_path / "o.mp4", "--store", store, "--features", features, "--height", 100, "--no-audio"]
    result = CliRunner().invoke(command, list(map(str, args)))
    assert result.exit_code == 0 and "40 frames of F001/T1" in result.output
    assert read_back(tmp_path / "o.mp4")[0].shape[1] == 100


def face(**changes):
    nothing = np.empty(0)
    values = {"name": "a/b", "status": "ok", "colour": (250, 0, 0), "bbox": np.array([40.0, 30, 160, 180])}
    values |= {"landmarks": None, "pose": None, "aus": (), "probability": nothing, "present": nothing}
    return FaceView(**(values | {"true": nothing, "threshold": nothing} | changes))


def test_rotation_is_the_inverse_of_pose_from_rotation():
    for pose in np.random.default_rng(0).uniform(-1.4, 1.4, (50, 3)):
        rotation = rotation_from_pose(pose)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(pose_from_rotation(rotation), pose, atol=1e-5)


def test_head_axes_point_as_the_columns_of_readme_say():
    def tip_of(axis, rotation=0, **pose):
        image = np.zeros((200, 200, 3), np.uint8)
        angles = np.array([pose.get(name, 0.0) for name in ("pitch", "yaw", "roll")])
        draw_face(image, face(pose=angles, bbox=np.array([40.0, 40, 160, 160]), rotation=rotation))
        y, x = np.nonzero((np.abs(image.astype(int) - AXIS_COLOURS[axis]) < 60).all(axis=2))
        far = np.argmax(np.hypot(x - 100, y - 100))
        return x[far] - 100, y[far] - 100

    assert tip_of(0)[0] > 40 and tip_of(1)[1] < -40  # looking into the camera: right and up
    assert tip_of(2, yaw=0.8)[0] > 25  # the nose turns to the right of the picture
    assert tip_of(2, pitch=0.8)[1] > 25  # down
    x, y = tip_of(1, roll=0.5)
    assert x < -10 and y < -30  # anticlockwise: the crown goes to the left
    assert tip_of(1, rotation=180)[1] > 40  # the picture was turned for the face to be upright
    assert tip_of(1, rotation=90)[0] < -40  # clockwise: its crown was at the left


def test_box_and_landmarks_are_drawn_where_they_are():
    image = np.zeros((200, 200, 3), np.uint8)
    draw_face(image, face(landmarks=np.array([[100.0, 90.0], [20.0, 150.0]])))
    red = image[..., 0] > 200
    assert red[30, 100] and red[180, 100] and red[100, 40] and red[100, 160]
    assert red[90, 100] and red[150, 20] and not red[120, 100]


def test_panel_tells_present_unknown_threshold_and_label():
    aus = ("AU01", "AU12", "AU25")
    panel = draw_panel(
        face(
            aus=aus,
            probability=np.array([0.5, 0.5, np.nan]),
            present=np.array([1.0, 0, np.nan]),
            true=np.array([1.0, 0, np.nan]),
            threshold=np.array([0.8, 0.8, 0.8]),
        ),
        600,
    )
    middles = [round(600 * (0.16 + 0.05 * (i + 0.5))) for i in range(3)]
    width = panel.shape[1]
    red, white = (panel == (250, 0, 0)).all(axis=2), (panel > 230).all(axis=2)
    assert [bool(red[y].any()) for y in middles] == [True, False, False]
    squares = white[:, round(0.86 * width) :]
    assert squares[middles[0]].sum() > 8 and squares[middles[1]].sum() in (2, 3, 4) and not squares[middles[2]].any()
    bar = white[middles[2], round(0.26 * width) : round(0.86 * width)]
    assert bar.sum() == 1 and np.argmax(bar) / len(bar) == pytest.approx(0.8, abs=0.05)
