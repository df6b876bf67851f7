"""Features in the columns of OpenFace and Py-Feat: names, order, units and signs."""

import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.features.foreign import FORMS, as_openface, as_pyfeat, as_tclr
from tclr.pipeline.features.foreign.points import N_POINTS, POINTS, read_points
from tclr.pipeline.features.foreign.pose import FLIP, gaze_in_head, gaze_vectors, openface_angles

OPENFACE_AUS = "01 02 04 05 06 07 09 10 12 14 15 17 20 23 25 26 45".split()
SIDES = ("left", "right")
VIDEO = {"source": "day 1/anna.mp4", "subject": "anna"}


def turn(axis, angle):
    """A right-handed rotation about x, y or z, written out."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array({
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }[axis])  # fmt: skip


@pytest.fixture
def table():
    """Three frames with all columns that a table can have; the second without a face."""
    n = 3
    columns = {"frame": np.arange(n), "timestamp": np.arange(n) / 25, "status": ["ok", "no_face", "low_confidence"]}
    names = ["score", "confidence", "pitch", "yaw", "roll", "head_x", "head_y", "head_z", "gaze_pitch", "gaze_yaw"]
    names += [f"gaze_{side}_{angle}" for side in SIDES for angle in ("pitch", "yaw")]
    names += [f"lm_{axis}_{i:03d}" for i in range(478) for axis in "xy"]
    names += [f"AU{au}{ending}" for au in [*OPENFACE_AUS, "24", "28", "43"] for ending in ("", "_r", "_c")]
    values = np.random.default_rng(0).uniform(0.1, 0.3, (n, len(names)))
    values[1] = np.nan
    return pd.concat([pd.DataFrame(columns), pd.DataFrame(values, columns=names)], axis=1)


def test_openface_has_its_columns_in_its_order(table):
    expected = ["frame", "face_id", "timestamp", "confidence", "success"]
    expected += [f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in "xyz"] + ["gaze_angle_x", "gaze_angle_y"]
    expected += ["pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
    expected += [f"{axis}_{i}" for axis in "xy" for i in range(68)]
    expected += [f"AU{au}_r" for au in OPENFACE_AUS]
    expected += [f"AU{au}_c" for au in [*OPENFACE_AUS[:-1], "28", "45"]]
    assert as_openface(table, VIDEO).columns.tolist() == expected


def test_openface_counts_frames_of_a_video_from_one_and_keeps_numbers_of_images(table):
    assert as_openface(table, VIDEO)["frame"].tolist() == [1, 2, 3]
    assert as_openface(table, {"source": "2D+3D/F001/T1"})["frame"].tolist() == [0, 1, 2]


def test_openface_success_is_a_face_that_is_trusted(table):
    converted = as_openface(table, VIDEO)
    assert converted["success"].tolist() == [1, 0, 0]
    numbers = converted.drop(columns=["frame", "face_id", "timestamp", "success"])
    assert numbers.iloc[1].isna().all() and numbers.iloc[[0, 2]].notna().all().all()


@pytest.mark.parametrize("seed", range(5))
def test_openface_angles_describe_the_same_rotation(seed):
    pitch, yaw, roll = np.random.default_rng(seed).uniform(-0.9, 0.9, 3)
    x, y, z = openface_angles(np.array([[pitch, yaw, roll]]))[0]
    ours = turn("y", yaw) @ turn("x", pitch) @ turn("z", roll)
    theirs = turn("x", x) @ turn("y", y) @ turn("z", z)
    np.testing.assert_allclose(np.diag(FLIP) @ theirs @ np.diag(FLIP), ours, atol=1e-9)


def test_gaze_is_a_unit_vector_whose_angles_are_openfaces(table):
    converted = as_openface(table, VIDEO).iloc[[0, 2]]
    for eye, side in (("0", "right"), ("1", "left")):
        vector = converted[[f"gaze_{eye}_{axis}" for axis in "xyz"]].to_numpy()
        np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1)
        np.testing.assert_allclose(
            np.arctan2(vector[:, 0], -vector[:, 2]), table[f"gaze_{side}_yaw"].iloc[[0, 2]], atol=1e-9
        )
    assert (converted[["gaze_angle_x", "gaze_angle_y"]] > 0).all().all()  # right of the picture, down


def test_gaze_that_goes_with_the_head_is_straight_in_it():
    pose = np.array([[0.2, -0.4, 0.3]])
    ahead = turn("y", -0.4) @ turn("x", 0.2) @ turn("z", 0.3) @ [0, 0, 1]
    pitch, yaw = np.arcsin(-ahead[1]), np.arctan2(ahead[0], ahead[2])
    np.testing.assert_allclose(gaze_vectors(np.array([pitch]), np.array([yaw]))[0] * FLIP, ahead, atol=1e-9)
    np.testing.assert_allclose(gaze_in_head(pose, np.array([pitch]), np.array([yaw])), [[0, 0]], atol=1e-9)


def test_pyfeat_has_its_columns_signs_and_box(table):
    converted = as_pyfeat(table, VIDEO)
    assert converted.columns[:5].tolist() == ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    names = converted.columns.tolist()
    assert names[5:141] == [f"{axis}_{i}" for axis in "xy" for i in range(N_POINTS)]
    assert names[141:147] == ["Pitch", "Roll", "Yaw", "gaze_pitch", "gaze_yaw", "gaze_angle"]
    assert names[-3:] == ["input", "frame", "approx_time"] and "AU11" not in names and "AU45" not in names
    np.testing.assert_allclose(converted["Pitch"], -table["pitch"])
    np.testing.assert_allclose(converted["Yaw"], -table["yaw"])
    np.testing.assert_allclose(converted["Roll"], table["roll"])
    xs = table[[f"lm_x_{i:03d}" for i in POINTS]]
    np.testing.assert_allclose(converted["FaceRectX"], xs.min(axis=1))
    np.testing.assert_allclose(converted["FaceRectWidth"], xs.max(axis=1) - xs.min(axis=1))


@pytest.mark.parametrize("convert", FORMS.values())
def test_what_is_not_known_has_no_column(convert):
    bare = pd.DataFrame({"frame": [0], "timestamp": [0.0], "status": ["ok"], "score": [0.9], "AU12": [0.5]})
    converted = convert(bare, VIDEO)
    assert len(converted) == 1
    assert not [name for name in converted.columns if name.startswith(("gaze", "pose", "x_", "FaceRect", "AU01"))]


def test_points_are_distinct_and_68_landmarks_stay_in_their_order():
    assert len(POINTS) == len(set(POINTS)) == N_POINTS
    points = pd.DataFrame({f"lm_{axis}_{i:03d}": [float(i)] for i in range(N_POINTS) for axis in "xy"})
    assert [points[0] for points in read_points(points).values()] == [*range(N_POINTS)] * 2


def test_tclrs_table_names_the_subject_and_leaves_lists_out():
    table = pd.DataFrame({"frame": [0], "emb": [[0.1, 0.2]]})
    assert as_tclr(table, VIDEO).to_dict("records") == [{"subject": "anna", "frame": 0}]
