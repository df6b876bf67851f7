"""``tclr.Analyser``: frames one by one, as they come."""

import numpy as np
import pandas as pd
import pytest

import tclr
from tclr.schemas.errors import InputError, SettingError, TclrError

BLANK = np.zeros((480, 480, 3), np.uint8)


def analyse_all(analyser, frames, times_s=None):
    """Return what each frame gave, and what closing gave."""
    times_s = times_s or [None] * len(frames)
    parts = [analyser.add(frame, time_s) for frame, time_s in zip(frames, times_s, strict=True)]
    return [*parts, analyser.close()]


def numbers_of(df):
    return df.select_dtypes("number").astype(float)


@pytest.fixture(scope="module")
def expected(clip_frames):
    return tclr.analyse(clip_frames, fps=25, hidden="keep", embedding="wide", progress=False)


def test_with_look_ahead_rows_are_those_of_a_recording_but_late(clip_frames, expected):
    analyser = tclr.Analyser(25, hidden="keep", embedding="wide", look_ahead=True)
    parts = analyse_all(analyser, clip_frames)
    rows = pd.concat([part for part in parts if part is not None], ignore_index=True)
    assert list(rows) == list(expected) and (rows.dtypes.astype(str) == expected.dtypes.astype(str)).all()
    blinks = [name for name in rows if name.startswith("AU45")]
    np.testing.assert_allclose(
        numbers_of(rows.drop(columns=blinks)), numbers_of(expected.drop(columns=blinks)), atol=2e-5
    )
    assert (rows["status"].astype(str) == expected["status"].astype(str)).all()
    assert analyser.latency_frames == 10 and analyser.latency_s == pytest.approx(0.38)
    late = [i - number for i, part in enumerate(parts[:-1]) if part is not None for number in part["frame"]]
    assert 0 < max(late) <= analyser.latency_frames


def test_without_it_every_frame_gives_its_row_at_once(clip_frames, expected):
    with tclr.Analyser(hidden="keep", columns="status,score,yaw,AU12,AU12_c", au_model="shape") as analyser:
        parts = [analyser.add(frame, i / 25) for i, frame in enumerate(clip_frames)]
    assert analyser.latency_frames == 0 and [len(part) for part in parts] == [1] * 16
    rows = pd.concat(parts, ignore_index=True)
    assert list(rows) == ["subject", "clip", "frame", "timestamp", "status", "score", "yaw", "AU12", "AU12_c"]
    assert rows["frame"].tolist() == list(range(16)) and set(rows["status"]) == {"ok"}
    np.testing.assert_allclose(rows["timestamp"], expected["timestamp"])
    np.testing.assert_allclose(rows["yaw"], expected["yaw"], atol=1e-6)  # landmarks are the same, crops are not
    assert np.corrcoef(rows["AU12"], expected["AU12"])[0, 1] > 0.9


def test_the_last_frame_can_be_drawn_on(clip_frames):
    analyser = tclr.Analyser(fps=25, au_model="shape", look_ahead=True)
    assert analyser.last is None
    assert analyser.add(clip_frames[0]) is None
    last = analyser.last
    assert (last.frame, last.status, last.landmarks.shape, last.box.shape, last.row) == (0, "ok", (478, 2), (4,), None)
    left, top, right, bottom = last.box
    assert ((last.landmarks >= [left, top]) & (last.landmarks <= [right, bottom])).all() and right - left > 50
    for frame in clip_frames[1:]:
        analyser.add(frame)
    assert analyser.last.frame == 15 and 0 < analyser.last.row["frame"] < 15  # that row is final, later ones are not
    analyser.add(BLANK)
    assert analyser.last.status == "no_face" and analyser.last.landmarks is None and analyser.last.box is None
    assert analyser.close() is not None and analyser.close() is None


def test_frames_without_a_face_keep_their_row_and_the_face_is_found_again(clip_frames):
    with tclr.Analyser(fps=25, au_model="shape", hidden="keep") as analyser:
        rows = pd.concat([analyser.add(frame) for frame in [BLANK, *clip_frames[:3], BLANK, *clip_frames[3:6]]])
    assert rows["status"].tolist() == ["no_face", "ok", "ok", "ok", "no_face", "ok", "ok", "ok"]
    assert rows["AU12"].isna().tolist() == [status == "no_face" for status in rows["status"]]
    assert rows["track"].isna().sum() == 2


def test_closed_eyes_are_a_blink_until_they_stay_closed():
    from tclr.pipeline.au import BlinkFollower, Prediction, add_blinks

    closed = np.array([0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, np.nan, 1], np.float32)[:, None]
    times_s = np.arange(13) * 0.15
    predicted = Prediction(closed, 5 * closed, np.stack([closed, closed], axis=1))
    follower = BlinkFollower(0, 0.5)
    parts = [follower.add(predicted.map(lambda values, i=i: values[i : i + 1]), times_s[i : i + 1]) for i in range(13)]
    blinks = np.concatenate([part.probability[:, 1] for part in parts])
    afterwards = add_blinks(predicted, 0, 0.5, times_s).probability[:, 1]
    assert afterwards[:4].tolist() == blinks[:4].tolist() == [0, 1, 1, 0]  # a blink is one, either way
    assert afterwards[4:10].tolist() == [0] * 6 and blinks[4:10].tolist() == [1, 1, 1, 1, 0, 0]
    assert np.isnan(blinks[11]) and blinks[12] == 1
    assert parts[5].sides.shape == (1, 2, 2) and parts[9].intensity.tolist() == [[5, 0]]


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([(BLANK, None)], "Give timestamp_s, or fps"),
        ([(BLANK, 1.0), (BLANK, 0.5)], "in order of time"),
        ([(BLANK, float("nan"))], "in order of time"),
        ([(BLANK / 255, 0.0)], "dtype uint8"),
        ([(BLANK[..., :2], 0.0)], "shape"),
    ],
)
def test_wrong_frames_are_errors_and_the_next_right_one_goes(calls, reason):
    analyser = tclr.Analyser(au_model="shape")
    *good, bad = calls
    for call in good:
        analyser.add(*call)
    with pytest.raises(InputError, match=reason):
        analyser.add(*bad)
    assert len(analyser.add(BLANK, 2.0)) == 1
    analyser.close()
    with pytest.raises(InputError, match="closed"):
        analyser.add(BLANK, 3.0)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"fps": 0}, InputError),
        ({"sise": 112}, SettingError),
        ({"au_model": "missing.safetensors"}, TclrError),
        ({"columns": "AU99"}, TclrError),
        ({"margin": 1.5}, TclrError),  # the bundled model has learnt from other crops
        ({"detector": "none"}, SettingError),
    ],
)
def test_wrong_settings_are_errors(options, kind):
    with pytest.raises(kind):
        tclr.Analyser(**options)


def test_a_frame_of_another_size_is_refused_and_nothing_is_lost():
    first, other = np.zeros((48, 64, 3), np.uint8), np.zeros((64, 48, 3), np.uint8)
    with tclr.Analyser(25, "shape", columns="status", look_ahead=True) as analyser:
        rows = [analyser.add(first)]
        with pytest.raises(InputError, match=r"64 x 48, but frame 1 has 48 x 64.*another analyser"):
            analyser.add(other)
        rows += [analyser.add(first), analyser.close()]
    assert sum(len(row) for row in rows if row is not None) == 2


@pytest.mark.parametrize("fps", ["25", np.inf, np.nan, 0])
def test_a_rate_that_is_none_is_one_line(fps):
    with pytest.raises(InputError, match="Expected fps above 0"):
        tclr.Analyser(fps, "shape")


@pytest.mark.parametrize("time_s", ["0:01", np.nan, np.inf])
def test_a_time_that_is_none_is_one_line(time_s):
    with tclr.Analyser(25, "shape", columns="status") as analyser, pytest.raises(InputError) as caught:
        analyser.add(np.zeros((48, 64, 3), np.uint8), time_s)
    assert "give its time in seconds" in str(caught.value) and "-inf" not in str(caught.value)
