"""Features in the columns of OpenFace and Py-Feat: names, order, units and signs."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tclr.pipeline.features import write_tables
from tclr.pipeline.features.foreign import FORMS, as_openface, as_pyfeat, as_tclr
from tclr.pipeline.features.foreign.points import N_POINTS, POINTS, read_points
from tclr.pipeline.features.foreign.pose import FLIP, openface_angles
from tclr.pipeline.system import write_table
from tclr.schemas.errors import OutputError, StoreError
from tclr.schemas.features import FORMAT, FORMAT_VERSION

OPENFACE_AUS = "01 02 04 05 06 07 09 10 12 14 15 17 20 23 25 26 45".split()
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
    names = ["score", "confidence", "pitch", "yaw", "roll", "head_x", "head_y", "head_z", "gaze_yaw"]
    names += [f"lm_{axis}_{i:03d}" for i in range(478) for axis in "xy"]
    names += [f"AU{au}{ending}" for au in [*OPENFACE_AUS, "24", "28", "43"] for ending in ("", "_r", "_c")]
    values = np.random.default_rng(0).uniform(0.1, 0.3, (n, len(names)))
    values[1] = np.nan
    return pd.concat([pd.DataFrame(columns), pd.DataFrame(values, columns=names)], axis=1)


def test_openface_has_its_columns_in_its_order(table):
    expected = ["frame", "face_id", "timestamp", "confidence", "success"]
    expected += ["gaze_angle_x", "pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"]
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


def test_a_gaze_into_the_camera_from_the_right_points_left_of_the_axis_in_openface():
    seen = {"frame": [0], "timestamp": [0.0], "status": ["ok"], "score": [1.0]}
    head = {"gaze_yaw": [0.0], "head_x": [300.0], "head_y": [0.0], "head_z": [300.0]}
    converted = as_openface(pd.DataFrame(seen | head), VIDEO)
    assert converted["gaze_angle_x"].iloc[0] == pytest.approx(-np.pi / 4)
    assert converted[["pose_Tx", "pose_Ty", "pose_Tz"]].iloc[0].tolist() == [300, 0, 300]


def test_pyfeat_has_its_columns_signs_and_box(table):
    converted = as_pyfeat(table, VIDEO)
    assert converted.columns[:5].tolist() == ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore"]
    names = converted.columns.tolist()
    assert names[5:141] == [f"{axis}_{i}" for axis in "xy" for i in range(N_POINTS)]
    assert names[141:145] == ["Pitch", "Roll", "Yaw", "AU01"]
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


def write_features(folder, columns):
    """One clip, as ``tclr embed --columns`` leaves it."""
    (folder / "subject=anna").mkdir(parents=True)
    write_table(
        folder / "subject=anna" / "smile.parquet",
        pa.table(columns),
        VIDEO | {"format": FORMAT, "format_version": FORMAT_VERSION},
    )
    return folder


def test_features_without_a_column_that_a_form_needs_are_one_line(tmp_path):
    features = write_features(tmp_path / "f", {"clip": ["smile"], "frame": [0], "timestamp": [0.0], "AU12": [0.5]})
    with pytest.raises(StoreError, match=r"Expected the column 'status' in .* of openface needs.*--columns"):
        write_tables(features, tmp_path / "csv", "openface")
    assert len(write_tables(features, tmp_path / "csv", "tclr")) == 1


@pytest.mark.parametrize("inside", [".", "csv", "subject=anna"])
def test_csv_files_among_the_features_are_refused(tmp_path, inside):
    features = write_features(tmp_path / "f", {"clip": ["smile"], "frame": [0], "timestamp": [0.0], "AU12": [0.5]})
    with pytest.raises(OutputError, match="Expected a folder for CSV files outside"):
        write_tables(features, features / inside, "tclr")
    assert len(pd.read_parquet(features)) == 1
