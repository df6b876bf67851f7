"""Tables of a user's own labels: columns in any order, frames or times, files, folders and DataFrames."""

import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.sources import NO_FRAME, read_label_rows
from tclr.schemas.errors import InputError


def read(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    (rows,) = read_label_rows(path)
    return rows


def test_columns_are_found_by_name_and_labels_read_as_in_the_folder_of_labels(tmp_path):
    rows = read(
        tmp_path, "AU12_r, note, clip, AU01_c, AU04, frame, subject\n3.2, hm, smile, 1, 0.5, 7, 01\n, , rest,9,,8,ben\n"
    )
    assert rows.names == ("AU01", "AU04", "AU12") and rows.ignored == ("note",) and rows.stem == "labels"
    assert rows.subjects.tolist() == ["01", "ben"] and rows.clips.tolist() == ["smile", "rest"]
    assert rows.frames.tolist() == [7, 8] and np.isnan(rows.timestamps).all()
    np.testing.assert_array_equal(rows.occurrence, [[1, 1, 1], [-1, -1, -1]])
    np.testing.assert_allclose(rows.intensity, [[np.nan, 2.5, 3.2], [np.nan] * 3], rtol=1e-6)


def test_times_stand_in_for_frame_numbers(tmp_path):
    rows = read(tmp_path, "subject,clip,timestamp,AU01_c\nanna,smile,0.04,1\n")
    assert rows.frames.tolist() == [NO_FRAME] and rows.timestamps.tolist() == [0.04]


def test_a_folder_gives_each_of_its_tables(tmp_path):
    for name in ("labels/anna_smile.csv", "labels/day2/ben_rest.csv", "labels/.hidden.csv"):
        read(tmp_path, "frame,AU01_c\n0,1\n", name)
    tables = read_label_rows(tmp_path / "labels")
    assert [table.stem for table in tables] == ["anna_smile", "ben_rest"] and len(tables[0]) == 1
    assert tables[0].subjects.tolist() == [""]


def test_a_data_frame_is_a_table_too():
    table = pd.DataFrame(
        {"subject": ["a", "a"], "clip": [1, 1], "frame": [3, 4], "AU01_c": pd.array([1, None], "Int8")}
    )
    (rows,) = read_label_rows(table.set_index("subject", drop=False))
    assert rows.clips.tolist() == ["1", "1"] and rows.occurrence.tolist() == [[1], [-1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected a table with a header such as subject,clip,frame,AU01_c, but cannot read .*labels.csv"),
        ("subject,clip,frame,smile\n", "Expected columns subject, clip, frame .* but got subject, clip, frame, smile"),
        ("subject;clip;frame;AU01_c\na;b;0;1\n", "line 1. Separate columns by commas"),
        ("subject\tclip\tframe\tAU01_c\na\tb\t0\t1\n", "line 1. Separate columns by commas"),
        ("subject,clip,AU01_c\n", "Expected columns .* but got subject, clip, AU01_c in .*line 1"),
        ("frame,AU1_c\n0,1\n", "but got 'AU1_c' in .*line 1. Rename or remove it"),
        ("frame,AU01_true\n0,1\n", "but got 'AU01_true' in .*line 1"),
        ("frame,au12_r\n0,1\n", "but got 'au12_r' in .*line 1"),
        ("frame,AU01_c\n", "Expected one row per frame, but got only a header"),
        ("frame,AU01_c\n0,1\n1,2\n", "Expected AU01_c to be 0 or 1, .*but got 2 in .*line 3"),
        ("frame,AU01_c\n0,1\nx,1\n", "Expected a number in column frame, but got 'x' in .*line 3"),
        ("frame,AU01_c\n0.5,1\n", "whole frame number of 0 or more, but got '0.5' in .*line 2"),
        ("frame,AU01_c\n,1\n", "whole frame number of 0 or more, but got '' in .*line 2"),
        ("frame,AU01_c\n0,yes\n", "Expected a number in column AU01_c, but got 'yes' in .*line 2"),
        ("timestamp,AU01_c\n0,1\n,1\n", "Expected a time in seconds in column timestamp, but got '' in .*line 3"),
        ('frame,AU01_c\n0,"1\n', "cannot read .*labels.csv"),
    ],
)
def test_errors_name_the_column_and_the_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="labels.csv"):
        read_label_rows(tmp_path / "labels.csv")
    with pytest.raises(InputError, match="Expected tables of labels .* but found none in"):
        read_label_rows(tmp_path)
