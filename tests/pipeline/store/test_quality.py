import numpy as np

from tclr.pipeline.store.writer import summarise_clip
from tclr.schemas.store import NO_TRACK, Status


def summarise(**changes):
    n = 5
    arrays = {
        "timestamp": np.arange(n) / 25,
        "status": np.array([Status.ok, Status.low_confidence, Status.no_face, Status.interpolated, Status.unreadable]),
        "track": np.array([0, 0, NO_TRACK, 1, NO_TRACK]),
        "score": np.array([0.9, 0.3, np.nan, 0.6, np.nan]),
        "sharpness": np.array([10.0, 30, np.nan, 20, np.nan]),
        "bbox": np.array([[0, 0, 10, 20]] * 5, np.float32),
        "pose": np.array([[0, -0.2, 0], [0, 0.1, 0], [9, 9, 9], [0, 0.4, 0], [9, 9, 9]], np.float32),
    }
    return summarise_clip(**arrays | changes)


def test_summary_counts_statuses_and_tracks_and_takes_medians_of_faces_alone():
    summary = summarise()
    assert [summary[f"n_{status.name}"] for status in Status] == [1] * 5 and summary["n_tracks"] == 2
    assert (summary["median_score"], summary["median_sharpness"], summary["median_face_px"]) == (0.6, 20, 20)
    assert np.isclose(summary["median_abs_yaw"], 0.2) and np.isclose(summary["duration_s"], 4 / 25)


def test_tracks_are_counted_not_read_off_their_numbers():
    assert summarise(track=np.array([50_000, 50_001, NO_TRACK, 50_003, NO_TRACK]))["n_tracks"] == 3


def test_a_face_without_a_pose_does_not_hide_the_others():
    pose = np.array([[np.nan] * 3, [0, 0.1, 0], [9, 9, 9], [0, 0.3, 0], [9, 9, 9]])
    assert np.isclose(summarise(pose=pose)["median_abs_yaw"], 0.2)
    assert np.isnan(summarise(pose=np.full((5, 3), np.nan))["median_abs_yaw"])
