"""``tclr.analyse``: the numbers of the command line in one call, wherever it is called."""

import subprocess
import sys
import tempfile
import warnings

import numpy as np
import pandas as pd
import pytest

import tclr
from tclr.analysis import _choose_workers
from tclr.cli.main import run
from tclr.frames import clip_of_frames
from tclr.pipeline.sources import find_clips
from tclr.pipeline.video import probe, read_frames
from tclr.schemas.errors import InputError, ReplacementError, SettingError, StoreError

TWO = np.zeros((2, 48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def by_command_line(made, tmp_path_factory):
    """Features of the clips by the command line, on a cluster of two workers."""
    folder = tmp_path_factory.mktemp("cli")
    store, features = str(folder / "store"), str(folder / "features")
    assert run(["preprocess", str(made / "clips"), store, "--workers", "2", "-q"]) == 0
    assert run(["embed", store, features, "--hidden", "keep", "--blendshapes", "-q"]) == 0
    return folder / "features"


def test_numbers_are_those_of_the_command_line(made, by_command_line):
    expected = tclr.load_features(by_command_line)
    pd.testing.assert_frame_equal(tclr.load_features(made / "features"), expected, check_exact=True)
    assert len(expected) == 32 and expected["AU12"].notna().all() and "emb_255" in expected


def test_settings_go_by_the_names_of_the_command_line(made, by_command_line, tmp_path):
    kept = {"store": tmp_path / "store", "features": tmp_path / "features"}
    given = {"columns": "status,AU12*", "smooth": 0.1, "hidden": "keep", "progress": False, **kept}
    df = tclr.analyse(made / "clips", size=64, codec="none", fps=5, **given)
    store, features = str(tmp_path / "store2"), str(tmp_path / "features2")
    options = ["--size", "64", "--codec", "none", "--fps", "5", "-q"]
    assert run(["preprocess", str(made / "clips"), store, *options]) == 0
    options = ["--embedding", "none", "--columns", "status,AU12*", "--smooth", "0.1", "--hidden", "keep", "-q"]
    assert run(["embed", store, features, *options]) == 0
    pd.testing.assert_frame_equal(df, tclr.load_features(features), check_exact=True)
    assert len(df) == 8 and tclr.open_store(kept["store"]).crop_size() == 64
    assert list(df)[:4] == ["subject", "clip", "frame", "timestamp"]


def test_who_only_predicts_does_not_wait_for_what_learns(made):
    call = f"tclr.analyse({str(made / 'clips')!r}, columns='status,AU12', progress=False)"
    code = f"import sys, tclr; {call}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "h5py" in loaded and {"torch", "mediapipe", "sklearn", "scipy.stats", "scipy.optimize"}.isdisjoint(loaded)


@pytest.mark.parametrize("faces", ["subject", "all"])
def test_frames_of_a_video_give_what_the_video_gives(tmp_path, write_video, clip_frames, monkeypatch, faces):
    path = write_video(tmp_path / "anna.mp4", clip_frames, pts_ms=[37 * i + i % 2 for i in range(16)])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "work"))
    (tmp_path / "work").mkdir()
    (clip,) = find_clips(path)
    frames = [(frame.image, frame.timestamp_s) for frame in read_frames(probe(clip, image_fps=25))]
    given = {"hidden": "keep", "progress": False, "faces": faces}
    df = tclr.analyse(str(path), **given)
    images, times_s = zip(*frames, strict=True)
    again = tclr.analyse(iter(images), timestamps_s=[time_s + 100 for time_s in times_s], **given)
    ending = "#1" if faces == "all" else ""
    assert set(df["clip"]) == {f"anna{ending}"} and set(again["clip"]) == {f"frames{ending}"}
    numbers = df.select_dtypes("number").columns
    np.testing.assert_allclose(again["timestamp"], df["timestamp"], atol=1e-9)
    numbers = numbers.drop("timestamp")
    pd.testing.assert_frame_equal(again[numbers], df[numbers], check_exact=True)
    by_rate = tclr.analyse(np.stack(images), fps=25, columns="timestamp", **given)
    assert by_rate["timestamp"].tolist() == [i / 25 for i in range(16)]
    assert not any((tmp_path / "work").iterdir())  # nothing is left behind


FRAME = np.zeros((48, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "options", "reason"),
    [
        ([], {"fps": 25}, "at least one frame"),
        ([FRAME / 255], {"fps": 25}, "dtype uint8, RGB, but frame 0 has .* float64"),
        ([FRAME, FRAME[..., 0]], {"fps": 25}, "frame 1 has"),
        ([FRAME, FRAME[1:]], {"fps": 25}, "of one size"),
        ([FRAME], {}, "either fps above 0 or timestamps_s"),
        ([FRAME], {"fps": 25, "timestamps_s": [0]}, "either fps above 0 or timestamps_s"),
        ([FRAME], {"fps": 0}, "either fps above 0"),
        ([FRAME, FRAME], {"timestamps_s": [0]}, "one time in seconds for each of 2"),
        ([FRAME, FRAME], {"timestamps_s": [1, 0]}, "never falling"),
        ([FRAME, FRAME], {"timestamps_s": [0, np.nan]}, "never falling"),
    ],
)
def test_wrong_frames_are_errors(frames, options, reason):
    with pytest.raises(InputError, match=reason):
        tclr.analyse(frames, progress=False, **options)


def test_other_wrong_calls_are_errors(tmp_path, made):
    with pytest.raises(SettingError, match="Unknown setting 'sise'.*size"):
        tclr.analyse(tmp_path, sise=96)
    with pytest.raises(SettingError, match="'size' in analyse"):
        tclr.analyse(tmp_path, size=2)
    with pytest.raises(InputError, match="frames in memory only"):
        tclr.analyse(tmp_path, timestamps_s=[0])
    with pytest.raises(InputError, match="nothing at"):
        tclr.analyse(tmp_path / "missing.mp4", progress=False)
    with pytest.raises(StoreError, match="Unknown column 'AU99'"):
        tclr.analyse(made / "clips", store=made / "store", columns="AU99", progress=False)


def test_frames_without_a_face_have_rows_and_a_warning():
    with pytest.warns(UserWarning, match="no face in any of 3 frames"):
        df = tclr.analyse([FRAME] * 3, fps=25, progress=False)
    assert set(df["status"]) == {"no_face"} and df["AU12"].isna().all()


def test_a_clip_that_fails_is_a_warning_and_nothing_else_to_do_an_error(tmp_path, write_video, clip_frames):
    write_video(tmp_path / "both" / "good.mp4", clip_frames[:4])
    (tmp_path / "bad").mkdir()
    for folder in ("both", "bad"):
        (tmp_path / folder / "broken.mp4").write_bytes(b"no video")
    with pytest.warns(UserWarning, match="broken/broken: .*broken.mp4"):
        df = tclr.analyse(tmp_path / "both", progress=False, columns="status")
    assert set(df["subject"]) == {"good"} and len(df) == 4
    with pytest.raises(InputError, match="broken.mp4"):
        tclr.analyse(tmp_path / "bad", progress=False)


def test_a_plain_script_needs_no_guard_and_no_dask(tmp_path, write_video, clip_frames):
    write_video(tmp_path / "anna.mp4", clip_frames[:4])
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, tclr\n"
        "df = tclr.analyse('anna.mp4', columns='status')\n"
        "print(len(df), 'distributed' in sys.modules, 'dask' in sys.modules)\n"
    )
    command = [sys.executable, "-W", "ignore", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["4", "False", "False"] and done.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anna.mp4", "script.py"]


def test_a_script_never_starts_processes_by_itself_and_a_notebook_may(tmp_path, monkeypatch):
    clip = clip_of_frames([FRAME], 25, None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "script.py", raising=False)
    assert [_choose_workers(n, tmp_path) for n in (None, 0, 3)] == [0, 0, 3]
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    assert [_choose_workers(n, tmp_path) for n in (None, 0, 3)] == [None, 0, 3]
    assert _choose_workers(4, clip) == 0  # frames are here


@pytest.mark.parametrize(("columns", "progress", "shown"), [(100, None, True), (100, False, False), (0, None, False)])
def test_progress_is_shown_on_a_terminal_unless_unwanted(watch, plain, columns, progress, shown):
    def work():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tclr.analyse([FRAME] * 3, fps=25, columns="status", progress=progress)

    text = plain(watch(work, columns=columns))
    assert all((word in text) == shown for word in ("Detecting", "Assembling", "Embedding"))
    assert shown or text == ""


def test_what_is_done_is_not_done_again(made, monkeypatch):
    from tclr.pipeline.preprocessing import scheduling

    def refuse(*arguments):
        raise AssertionError("done before")

    monkeypatch.setattr(scheduling, "extract_task", refuse)
    df = tclr.analyse(made / "clips", store=made / "store", columns="status", progress=False)
    assert len(df) == 32


def test_features_of_other_columns_are_replaced_only_if_that_is_wanted(made, tmp_path):
    kept = {"store": made / "store", "features": tmp_path / "features", "hidden": "keep", "progress": False}
    tclr.analyse(made / "clips", columns="AU12", **kept)
    with pytest.raises(ReplacementError):
        tclr.analyse(made / "clips", columns="AU06", **kept)
    assert "AU06" in tclr.analyse(made / "clips", columns="AU06", replace=True, **kept)


@pytest.mark.parametrize("name", ["single_face.mp4", "face_noface.mov"])
def test_real_videos_give_what_the_command_line_gives(shared_data, tmp_path, name):
    source, store, features = shared_data / "real" / name, tmp_path / "store", tmp_path / "features"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        df = tclr.analyse(source, progress=False)
    assert run(["preprocess", str(source), str(store), "--workers", "1", "-q"]) == 0
    assert run(["embed", str(store), str(features), "--embedding", "none", "-q"]) == 0
    pd.testing.assert_frame_equal(df, tclr.load_features(features), check_exact=True)
    assert df["AU12"].notna().any()


@pytest.mark.parametrize(
    ("source", "given", "says"),
    [
        (None, {}, "Expected a video, a folder or frames, but got NoneType"),
        (7, {}, "Expected a video, a folder or frames, but got int"),
        (TWO, {"fps": "25"}, "Expected either fps above 0"),
        (TWO, {"fps": np.inf}, "Expected either fps above 0"),
        (TWO, {"timestamps_s": ["0:00", "0:01"]}, "Expected timestamps_s to have a number of seconds"),
        (TWO, {"fps": 25, "workers": -1}, "Expected workers to be a whole number from 0, but got -1"),
        (TWO, {"fps": 25, "columns": 12}, "Expected names of columns, but got 12"),
        (TWO, {"fps": 25, "columns": ["AU12", 6]}, "Expected names of columns, but got 6"),
    ],
)
def test_arguments_of_another_kind_are_one_line(source, given, says):
    with pytest.raises((InputError, SettingError)) as caught:
        tclr.analyse(source, progress=False, **given)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_times_may_be_an_array():
    assert clip_of_frames(TWO, None, np.array([2.0, 2.5])).memory.times_s == (0.0, 0.5)
