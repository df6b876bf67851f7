import numpy as np
import pandas as pd
import pytest
from skimage.filters import apply_hysteresis_threshold

from tclr.pipeline.features.events import EVENT_DTYPES, detect_events, summarise_events
from tclr.schemas.errors import InputError, SettingError


def curve(values, *, fps=10.0, subject="S1", clip="c", timestamps=None, **columns):
    """A clip of one curve, AU12; None is a frame without a face."""
    values = pd.Series(values, dtype="float32")
    times = np.arange(len(values)) / fps if timestamps is None else timestamps
    table = {"subject": subject, "clip": clip, "frame": np.arange(len(values)) + 100, "timestamp": times}
    return pd.DataFrame(table | {"AU12": values} | columns).astype({"subject": "category", "clip": "category"})


def spans(events):
    return list(zip(events["onset_frame"] - 100, events["offset_frame"] - 100, strict=True))


def slow_events(values, high, low, n_min):
    """The same on a curve without gaps, frame by frame: (first, apex, last) rows."""
    found, start, apex = [], None, 0
    for row, value in enumerate([*values, -np.inf]):
        if start is None and value >= low:
            start = apex = row
        elif start is not None and value < low:
            if values[apex] >= high and row - start >= n_min:
                found.append((start, apex, row - 1))
            start = None
        if start is not None and value > values[apex]:
            apex = row
    return found


def test_an_action_has_onset_apex_and_offset():
    events = detect_events(curve([0, 0.2, 0.35, 0.6, 0.9, 0.7, 0.4, 0.31, 0.1, 0]), ["AU12"])
    (event,) = events.to_dict("records")
    assert (event["subject"], event["clip"], event["au"], event["n_frames"]) == ("S1", "c", "AU12", 6)
    assert (event["onset_frame"], event["apex_frame"], event["offset_frame"]) == (102, 104, 107)
    times = [event[name] for name in ("onset_s", "apex_s", "offset_s", "duration_s")]
    np.testing.assert_allclose(times, [0.2, 0.4, 0.7, 0.6])
    assert event["peak"] == pytest.approx(0.9) and event["mean"] == pytest.approx(
        np.mean([0.35, 0.6, 0.9, 0.7, 0.4, 0.31])
    )
    assert not event["onset_cut"] and not event["offset_cut"]
    assert events.dtypes.astype(str).to_dict() == EVENT_DTYPES


@pytest.mark.parametrize("seed", range(5))
def test_events_are_those_of_a_slow_loop_and_of_hysteresis_on_images(seed):
    values = np.convolve(np.random.default_rng(seed).random(402), np.ones(3) / 3, "valid").astype(np.float32)
    events = detect_events(curve(values), ["AU12"], high=0.6, low=0.45, min_duration_s=0.3)
    slow = slow_events(values, 0.6, 0.45, 3)
    assert len(slow) > 20
    columns = ("onset_frame", "apex_frame", "offset_frame")
    assert [tuple(row) for row in events[list(columns)].to_numpy() - 100] == slow
    every = detect_events(curve(values), ["AU12"], high=0.6, low=0.45, min_duration_s=0)
    inside = np.zeros(len(values), bool)
    for start, stop in spans(every):
        inside[start : stop + 1] = True
    np.testing.assert_array_equal(inside, apply_hysteresis_threshold(values, 0.45, 0.6))


def test_one_threshold_makes_two_events_of_a_dip_that_hysteresis_bridges():
    dip = [0, 0.8, 0.8, 0.4, 0.8, 0.8, 0]
    assert spans(detect_events(curve(dip), ["AU12"])) == [(1, 5)]
    assert spans(detect_events(curve(dip), ["AU12"], low=0.5)) == [(1, 2), (4, 5)]


def test_what_never_reaches_high_is_no_event():
    assert detect_events(curve([0, 0.45, 0.49, 0.45, 0]), ["AU12"]).empty


def test_short_events_are_left_out_by_seconds_not_frames():
    values = [0, 0.9, 0.9, 0, 0]
    kept = {fps: len(detect_events(curve(values, fps=fps), ["AU12"], min_duration_s=0.1)) for fps in (10, 20, 25)}
    assert kept == {10: 1, 20: 1, 25: 0}  # two frames: 0.2, 0.1 and 0.08 s


def test_a_missing_face_splits_an_event_and_both_parts_say_so():
    table = curve([0, 0.9, 0.9, None, None, None, 0.9, 0.9, 0])
    events = detect_events(table, ["AU12"])
    assert spans(events) == [(1, 2), (6, 7)]
    assert events["onset_cut"].tolist() == [False, True] and events["offset_cut"].tolist() == [True, False]
    pd.testing.assert_frame_equal(events, detect_events(table.dropna(), ["AU12"]))  # rows left out are the same


def test_a_gap_within_the_limit_is_bridged():
    table = curve([0, 0.9, None, 0.9, 0], fps=20)
    assert spans(detect_events(table, ["AU12"])) == [(1, 3)]
    assert spans(detect_events(table, ["AU12"], max_gap_s=0, min_duration_s=0)) == [(1, 1), (3, 3)]


def test_a_slow_clip_has_no_gaps():
    assert spans(detect_events(curve([0, 0.9, 0.9, 0], fps=1), ["AU12"])) == [(1, 2)]


def test_an_event_ends_with_its_track_and_a_clip_without_tracks_is_whole():
    values = [0, 0.9, 0.9, 0.9, 0.9, 0]
    switched = curve(values, track=pd.array([0, 0, 0, 1, 1, 1], "Int32"))
    assert spans(detect_events(switched, ["AU12"])) == [(1, 2), (3, 4)]
    unknown = curve(values, track=pd.array([pd.NA] * 6, "Int32"))
    assert spans(detect_events(unknown, ["AU12"])) == [(1, 4)]


def test_time_counts_where_the_rate_varies():
    table = curve([0.9, 0.9, 0.9, 0, 0, 0], timestamps=[0, 0.05, 0.25, 0.3, 0.35, 0.4])
    (event,) = detect_events(table, ["AU12"]).to_dict("records")
    assert event["offset_s"] == 0.25 and event["duration_s"] == pytest.approx(0.30)


def test_clips_and_columns_are_apart_and_thresholds_may_differ():
    table = pd.concat([curve([0, 0.9, 0.9]), curve([0.9, 0.9, 0], clip="d")], ignore_index=True)
    table["AU06"] = table["AU12"] / 2
    events = detect_events(table, ["AU06", "AU12"], high={"AU06": 0.4, "AU12": 0.5}, low=0.3)
    assert events[["clip", "au"]].agg("/".join, axis=1).tolist() == ["c/AU06", "c/AU12", "d/AU06", "d/AU12"]
    assert detect_events(table, ["AU06"]).empty


def test_rows_in_any_order_give_the_same_events():
    table = curve([0, 0.9, 0.8, 0, 0.7, 0.7])
    pd.testing.assert_frame_equal(detect_events(table, ["AU12"]), detect_events(table.iloc[::-1], ["AU12"]))


def test_detect_events_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="column 'AU99'"):
        detect_events(curve([0]), ["AU99"])
    with pytest.raises(SettingError, match="low <= high"):
        detect_events(curve([0]), ["AU12"], high=0.2, low=0.3)
    with pytest.raises(SettingError, match="threshold 'high' for AU12"):
        detect_events(curve([0]), ["AU12"], high={"AU06": 0.5})


def test_summary_counts_events_against_the_time_observed():
    seen = [0, 0.9, 0.9, 0, 0, 0.9, 0.9, 0.9, 0, 0]
    table = pd.concat(
        [curve(seen), curve([*seen[:5], *[None] * 5], clip="d"), curve([0] * 4, subject="S2"),
         curve([None] * 3, subject="S3")],
        ignore_index=True,
    )  # fmt: skip
    events = detect_events(table, ["AU12"])
    summary = summarise_events(events, table, ["AU12"]).set_index("subject")
    assert summary["n_events"].to_dict() == {"S1": 3, "S2": 0, "S3": 0}
    np.testing.assert_allclose(summary["observed_s"], [1.5, 0.4, 0])
    np.testing.assert_allclose(summary["events_per_min"], [3 / 1.5 * 60, 0, np.nan])
    np.testing.assert_allclose(summary["share_active"], [(0.2 + 0.3 + 0.2) / 1.5, 0, np.nan])
    np.testing.assert_allclose(summary["mean_duration_s"], [0.7 / 3, np.nan, np.nan])
    by_clip = summarise_events(events, table, ["AU12"], by=("subject", "clip"))
    assert by_clip["n_events"].tolist() == [2, 1, 0, 0]


def test_summary_of_no_events_at_all():
    table = curve([0, 0, 0])
    summary = summarise_events(detect_events(table, ["AU12"]), table, ["AU12"])
    assert summary[["n_events", "share_active"]].to_numpy().tolist() == [[0, 0]]
