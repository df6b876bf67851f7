"""CSV files that grow: rows are whole, columns are those of the export, and nothing is overwritten."""

import datetime

import pandas as pd
import pytest

from tclr.pipeline.features.foreign import FORMS, GrowingTable, as_openface, growing
from tclr.schemas.errors import OutputError


def rows(n, first=0):
    frames = range(first, first + n)
    return pd.DataFrame(
        {
            "subject": pd.Categorical(["frames"] * n),
            "clip": ["frames"] * n,
            "frame": pd.Series(frames, dtype="int64"),
            "timestamp": [i / 3 for i in frames],
            "status": pd.Categorical(["ok"] * n),
            "score": [0.9] * n,
            "AU12": pd.array([None if i % 2 else i / 7 for i in frames], "Float32"),
            "AU12_c": pd.array([None if i % 2 else 1 for i in frames], "Int8"),
        }
    )


def test_rows_are_those_that_were_added_with_the_time_of_day(tmp_path):
    path = tmp_path / "new" / "rows.csv"
    with GrowingTable(path, "tclr", "camera 0") as table:
        for i in range(5):
            table.add(rows(1, i), [10 * i], [1.7e9 + i])
    read = pd.read_csv(path)
    assert read.columns.tolist() == ["frame", "timestamp", "time", "status", "score", "AU12", "AU12_c"]
    assert read["frame"].tolist() == [0, 10, 20, 30, 40] and read["AU12"].isna().tolist() == [False, True] * 2 + [False]
    assert read["timestamp"].tolist() == pytest.approx([i / 3 for i in range(5)], rel=1e-8)
    times = [datetime.datetime.fromisoformat(text).timestamp() for text in read["time"]]
    assert times == [1.7e9 + i for i in range(5)]


def test_rows_are_on_the_disk_before_the_end_in_whole_lines(tmp_path, monkeypatch):
    path, now = tmp_path / "rows.csv", [0.0]
    monkeypatch.setattr(growing.time, "monotonic", lambda: now[0])
    with GrowingTable(path, "tclr", "camera 0") as table:
        assert not path.exists()
        found = []
        for i in range(7):
            now[0] = 0.4 * i
            table.add(rows(1, i), [i], [0.0])
            text = path.read_text()
            assert text.endswith("\n")
            found.append(text.count("\n") - 1)
    assert found == [1, 1, 1, 4, 4, 4, 7] and path.read_text().count("\n") == 8


@pytest.mark.parametrize("form", FORMS)
def test_columns_are_those_of_the_export(tmp_path, form):
    with GrowingTable(tmp_path / "rows.csv", form, "camera 0") as table:
        table.add(rows(3), [0, 1, 2], [0.0] * 3)
    read = pd.read_csv(tmp_path / "rows.csv")
    plain = rows(3).drop(columns=["subject", "clip"])
    expected = FORMS[form](plain, {"source": "a.mp4"}).columns.drop("subject", errors="ignore").tolist()
    assert sorted(read) == sorted([*expected, "time"])
    if form != "tclr":
        assert read.columns.tolist() == [*expected, "time"]


def test_openface_counts_frames_from_one_and_a_null_stays_empty(tmp_path):
    with GrowingTable(tmp_path / "rows.csv", "openface", "camera 0") as table:
        table.add(rows(3), [0, 4, 5], [0.0] * 3)
    read = pd.read_csv(tmp_path / "rows.csv")
    assert read["frame"].tolist() == [1, 5, 6] and read["AU12_c"].isna().tolist() == [False, True, False]
    assert as_openface(rows(1), {"source": "a.mp4"})["frame"].tolist() == [1]


def test_a_file_that_exists_is_left_as_it_is(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("dear\n")
    with pytest.raises(OutputError, match="exists"), GrowingTable(path, "tclr", "x") as table:
        table.add(rows(1), [0], [0.0])
    assert path.read_text() == "dear\n"


def test_without_rows_there_is_no_file(tmp_path):
    with GrowingTable(tmp_path / "rows.csv", "tclr", "x"):
        pass
    assert list(tmp_path.iterdir()) == []
