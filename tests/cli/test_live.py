"""``tclr live``: rows of a source as it plays, and each way in which it ends."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest

import tclr
from tclr.cli.look import live
from tclr.cli.main import run
from tclr.pipeline.sources import find_clips
from tclr.pipeline.video import probe, read_frames
from tclr.pipeline.views import overlay

QUICK = ["--au-model", "shape", "--hidden", "keep"]
PATIENCE_S = 120


@pytest.fixture(scope="module")
def video(tmp_path_factory, write_video, moving_portrait):
    return write_video(tmp_path_factory.mktemp("live") / "talk.mp4", [*moving_portrait(8)])


def live_json(capfd, *args, status=0):
    assert run(["live", *map(str, args), *QUICK, "--json"]) == status
    return json.loads(capfd.readouterr().out)


class FakeWindow:
    """A window that somebody closes after its third picture."""

    def __init__(self, title):
        self.shown = []
        windows.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def show(self, picture):
        self.shown.append(picture)
        return len(self.shown) < 3


windows: list[FakeWindow] = []


def test_every_frame_of_a_file_has_the_row_that_the_analyser_gives(video, tmp_path, capfd):
    document = live_json(capfd, video, "-o", tmp_path / "a.csv", "--fast", "--no-show")
    assert (document["n_frames"], document["n_dropped"], document["ended"]) == (8, 0, "source")
    assert document["frames_per_s"] > 0 and document["latency_ms"] > 0 and document["overlay"] is None
    with tclr.Analyser(au_model="shape", hidden="keep") as analyser:
        frames = read_frames(probe(find_clips(video)[0], image_fps=25))
        expected = pd.concat([analyser.add(frame.image, frame.timestamp_s) for frame in frames])
    rows = pd.read_csv(tmp_path / "a.csv")
    assert rows.columns.drop("time").tolist() == expected.columns.drop(["subject", "clip", "dataset"]).tolist()
    numbers = expected.select_dtypes("number").astype(float)
    np.testing.assert_allclose(rows[numbers.columns].astype(float), numbers, rtol=1e-6, atol=1e-7)
    assert rows["status"].tolist() == expected["status"].astype(str).tolist() and (rows["AU12"] > 0.2).all()
    assert pd.to_datetime(rows["time"]).is_monotonic_increasing


def test_the_columns_of_other_tools_and_chosen_ones(video, tmp_path, capfd):
    live_json(capfd, video, "-o", tmp_path / "of.csv", "--fast", "--no-show", "--as", "openface", "--landmarks")
    rows = pd.read_csv(tmp_path / "of.csv")
    assert rows["frame"].tolist() == list(range(1, 9)) and set(rows["success"]) == {1}
    assert {"AU12_r", "pose_Rx", "x_67", "time"} <= set(rows)
    live_json(capfd, video, "-o", tmp_path / "few.csv", "--fast", "--no-show", "--columns", "frame,timestamp,AU12")
    assert pd.read_csv(tmp_path / "few.csv").columns.tolist() == ["frame", "timestamp", "time", "AU12"]


def test_at_its_own_pace_what_is_not_analysed_is_counted(video, tmp_path, capfd):
    document = live_json(capfd, video, "-o", tmp_path / "a.csv", "--no-show")
    rows = pd.read_csv(tmp_path / "a.csv")
    assert len(rows) == document["n_frames"] and document["n_frames"] + document["n_dropped"] == 8
    assert rows["timestamp"].tolist() == pytest.approx((rows["frame"] / 25).tolist())  # the frame's own number and time


def test_limits_end_it(video, tmp_path, capfd):
    document = live_json(capfd, video, "-o", tmp_path / "a.csv", "--fast", "--no-show", "--frames", 3)
    assert document["ended"] == "limit" and len(pd.read_csv(tmp_path / "a.csv")) == 3
    document = live_json(capfd, video, "-o", tmp_path / "b.csv", "--fast", "--no-show", "--seconds", 0.2)
    assert document["ended"] == "limit" and pd.read_csv(tmp_path / "b.csv")["timestamp"].max() < 0.2


def test_the_overlay_has_each_frame_and_is_the_only_picture_kept(video, tmp_path, capfd):
    live_json(capfd, video, "--overlay", tmp_path / "o.mp4", "--fast", "--no-show")
    assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]
    drawn = list(read_frames(probe(find_clips(tmp_path / "o.mp4")[0], image_fps=25)))
    assert [frame.timestamp_s for frame in drawn] == pytest.approx([i / 25 for i in range(8)], abs=1e-3)
    height, width = drawn[0].image.shape[:2]
    assert height == 480 and width == 480 + round(0.42 * 480 / 2) * 2
    plain = next(read_frames(probe(find_clips(video)[0], image_fps=25))).image
    shown = drawn[0].image[:, :480].astype(int)
    assert np.abs(shown - cv2.resize(plain, (480, 480)).astype(int)).max() > 100  # box and landmarks
    assert drawn[0].image[:, 480:].max() > 100  # bars


def test_the_window_shows_each_frame_and_ends_it_when_closed(video, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(overlay, "Window", FakeWindow)
    document = live_json(capfd, video, "-o", tmp_path / "a.csv", "--fast")
    assert document["ended"] == "window" and document["n_frames"] == 3 == len(pd.read_csv(tmp_path / "a.csv"))
    (window,) = windows
    assert [picture.shape for picture in window.shown] == [(480, 682, 3)] * 3


def test_prose_says_where_rows_go_and_that_no_pictures_are_kept(video, tmp_path, capfd):
    assert run(["live", str(video), "-o", str(tmp_path / "a.csv"), "--fast", "--no-show", *QUICK]) == 0
    out = capfd.readouterr().out
    assert f"rows go to {tmp_path / 'a.csv'}, no pictures are kept" in out
    assert "Live: 8 frames analysed, 0 dropped, " in out and "median latency" in out and "Rows: " in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_whole_files_and_a_summary(tmp_path, write_video, moving_portrait, number):
    source = write_video(tmp_path / "long.mp4", moving_portrait(20) * 60)
    out, film = tmp_path / "rows.csv", tmp_path / "o.mp4"
    args = ["live", source, "-o", out, "--overlay", film, "--no-show", *QUICK]
    command = [sys.executable, "-m", "tclr.cli.main", *map(str, args)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until_s = time.monotonic() + PATIENCE_S
        while not out.exists() and process.poll() is None and time.monotonic() < until_s:
            time.sleep(0.05)
        process.send_signal(number)
        said, complaints = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, complaints
    text = out.read_text()
    rows = pd.read_csv(out)
    assert text.endswith("\n") and len({line.count(",") for line in text.splitlines()}) == 1
    assert f"Live: {len(rows)} frames analysed" in said and 0 < len(rows) < 1200
    assert len(list(read_frames(probe(find_clips(film)[0], image_fps=25)))) == len(rows)


def test_a_source_that_breaks_off_keeps_its_rows_and_sets_the_status(tmp_path, capfd, write_jpegs, moving_portrait):
    cut = write_jpegs(tmp_path / "cut.mkv", moving_portrait(8))
    cut.write_bytes(cut.read_bytes()[:-3000])
    document = live_json(capfd, cut, "-o", tmp_path / "a.csv", "--fast", "--no-show", status=1)
    assert len(pd.read_csv(tmp_path / "a.csv")) == document["n_frames"] > 0
    (failure,) = document["failures"]
    assert "damaged or truncated" in failure["reason"]


@pytest.mark.skipif(os.path.exists("/dev/video0"), reason="there is a camera")
@pytest.mark.skipif(sys.platform != "linux", reason="cameras of Linux")
def test_without_a_camera_one_line_says_what_to_try(tmp_path, capfd):
    assert run(["live", "-o", str(tmp_path / "a.csv")]) == 1
    out, err = capfd.readouterr()
    assert err.startswith("tclr: Expected a camera, but there is no /dev/video0") and err.count("\n") == 1 and not out
    assert "give a video file or an address" in err and list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="displays of X11 and Wayland")
def test_without_a_display_one_line_names_no_show(video, tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run(["live", str(video), "-o", str(tmp_path / "a.csv"), "--fast"]) == 1
    err = capfd.readouterr().err
    assert err.startswith("tclr: Expected a display") and "--no-show" in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "status", "reason"),
    [
        (["--no-show"], 2, "Nothing would be kept or shown"),
        (["-o", "{tmp}/a.csv", "--as", "pyfeat", "--columns", "frame"], 2, "--columns chooses among tclr's"),
        (["-o", "{tmp}/there.csv"], 1, "there.csv exists"),
        (["--overlay", "{tmp}/there.csv"], 1, "there.csv exists"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(video, tmp_path, capfd, args, status, reason):
    (tmp_path / "there.csv").write_text("dear")
    assert run(["live", str(video), *(arg.format(tmp=tmp_path) for arg in args)]) == status
    assert reason in capfd.readouterr().err and (tmp_path / "there.csv").read_text() == "dear"


def test_a_camera_or_a_stream_cannot_be_read_fast(capfd):
    assert run(["live", "rtsp://127.0.0.1:1/x", "--fast"]) == 2
    assert "does not wait" in capfd.readouterr().err


def test_the_median_latency_is_that_of_the_frames():
    from types import SimpleNamespace

    times = live._Times()
    assert times.n_frames == 0 and times.frames_per_s == 0 and np.isnan(times.latency_ms)
    now = time.monotonic()
    for late_s in (100, 300, 200):
        times.add(SimpleNamespace(came_s=now - late_s))
    assert times.latency_ms == pytest.approx(200_000, rel=1e-2) and times.n_frames == 3
