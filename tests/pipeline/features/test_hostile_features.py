"""Features, manifests and JSON files of ours that lie: refused with an error of ours, or taken as not there."""

import json
import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tclr.pipeline.features import FeatureClips, load
from tclr.pipeline.store import DamageRecord, known_clips, summarise_store
from tclr.pipeline.system import parquet, read_json, read_metadata, read_pandas, read_rows, read_table, write_table
from tclr.pipeline.system.files import parse_json
from tclr.pipeline.views.report import write_report
from tclr.pipeline.views.report.figures import distance_figures
from tclr.pipeline.views.report.page import read_log
from tclr.schemas.errors import StoreError
from tclr.schemas.features import FORMAT, FORMAT_VERSION
from tclr.schemas.manifest import MANIFEST_SCHEMA

METADATA = {"format": FORMAT, "format_version": FORMAT_VERSION, "au_source": "head:1", "columns": []}
COLUMNS = {"clip": ["T1"] * 2, "frame": [0, 1], "timestamp": [0.0, 0.1], "status": ["ok"] * 2, "AU01": [0.1, 0.2]}


def write(folder, columns=None, metadata=None, subject="s", clip="T1"):
    path = folder / f"subject={subject}" / f"{clip}.parquet"
    write_table(path, pa.table(COLUMNS | (columns or {})), METADATA | (metadata or {}))
    return path


def read_all(folder):
    clips = FeatureClips(folder)
    for subject, clip in clips.paths:
        clips.read(subject, clip, clips.columns)
    return load(folder)


def test_features_that_are_sound_are_read(tmp_path):
    write(tmp_path)
    assert len(read_all(tmp_path)) == 2


METADATA_LIES = [{"format": 3}, {"format_version": "1"}, {"format_version": None}, {"format_version": 99}]
METADATA_LIES += [{"au_source": 7}, {"encoder": "x"}, {"au_thresholds": []}, {"au_thresholds": {"AU01": "x"}}]


@pytest.mark.parametrize("change", METADATA_LIES, ids=str)
def test_metadata_of_another_kind_are_refused(tmp_path, change):
    write(tmp_path, metadata=change)
    with pytest.raises(StoreError, match="T1.parquet"):
        read_all(tmp_path)


@pytest.mark.parametrize("text", [b"", b"[]", b"7", b"{", b"\xff", b"[" * 5000, b'{"a":' * 40 + b"1" + b"}" * 40])
def test_metadata_that_are_no_object_are_refused(tmp_path, text):
    path = write(tmp_path)
    pq.write_table(pa.table(COLUMNS).replace_schema_metadata({parquet.METADATA_KEY: text}), path)
    with pytest.raises(StoreError, match="that tclr wrote"):
        read_metadata(path)


COLUMN_LIES = {
    "text for a number": {"AU01": ["x", "y"]},
    "a number for text": {"status": [1, 2]},
    "lists for numbers": {"AU01": [[1.0], [2.0]]},
    "structs": {"timestamp": [{"a": 1}, {"a": 2}]},
    "bytes for text": {"clip": [b"\xff", b"x"]},
    "dates for numbers": {"frame": pd.to_datetime(["2020", "2021"])},
    "texts in an embedding": {"emb": [["a"], ["b"]]},
    "nothing": {"frame": pa.nulls(2)},
}


@pytest.mark.parametrize("name", COLUMN_LIES)
def test_columns_of_another_type_are_refused(tmp_path, name):
    write(tmp_path, COLUMN_LIES[name])
    with pytest.raises(StoreError, match="to hold"):
        load(tmp_path)
    with pytest.raises(StoreError, match="to hold"):
        read_all(tmp_path)


def test_columns_that_are_missing_double_or_differ_between_files_are_refused(tmp_path):
    path = write(tmp_path)
    table = pa.table({name: values for name, values in COLUMNS.items() if name != "frame"})
    write_table(path, table, METADATA)
    with pytest.raises(StoreError, match="one column 'frame'"):
        load(tmp_path)
    write_table(path, pa.table([pa.array([0, 1])] * 2, names=["frame", "frame"]), METADATA)
    with pytest.raises(StoreError, match="one column"):
        load(tmp_path)
    write(tmp_path)
    write(tmp_path, {"AU02": [0.1, 0.2]}, clip="T2")
    with pytest.raises(StoreError, match="Expected the same columns"):
        load(tmp_path)


def test_pandas_metadata_that_lie_are_refused(tmp_path):
    path = write(tmp_path)
    lie = {b"pandas": json.dumps({"index_columns": ["nowhere"], "columns": 3}).encode()}
    kept = pq.read_schema(path).metadata
    pq.write_table(pa.table(COLUMNS).replace_schema_metadata(kept | lie), path)
    with pytest.raises(StoreError):
        read_pandas(path)
    with pytest.raises(StoreError):
        load(tmp_path)


def test_more_rows_than_a_clip_may_have_are_refused_by_the_header(tmp_path, monkeypatch):
    """A few kB of Parquet can hold 10^9 times the same value."""
    path = write(tmp_path)
    monkeypatch.setattr(parquet, "MAX_CLIP_FRAMES", 1)
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *args, **options: pytest.fail("read"))
    for read in (read_table, read_metadata, read_pandas):
        with pytest.raises(StoreError, match="claims 2 rows"):
            read(path)


def test_a_small_file_of_2_25_rows_is_refused(tmp_path):
    rows = pa.array([7] * 2**18).dictionary_encode()
    table = pa.table({"frame": pa.chunked_array([rows] * 128)})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", row_group_size=2**25)
    assert (tmp_path / "a.parquet").stat().st_size < 2**18
    with pytest.raises(StoreError, match="claims 33554432 rows"):
        read_table(tmp_path / "a.parquet")


def test_pipes_and_folders_called_parquet_do_not_keep_us_waiting(tmp_path):
    (tmp_path / "subject=s").mkdir()
    os.mkfifo(tmp_path / "subject=s" / "T1.parquet")
    (tmp_path / "b.parquet").mkdir()
    for path in (tmp_path / "subject=s" / "T1.parquet", tmp_path / "b.parquet"):
        for read in (read_table, read_metadata):
            with pytest.raises(StoreError, match="no regular file"):
                read(path)
    with pytest.raises(StoreError):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 99])
def test_a_manifest_that_is_none_counts_as_not_there(tmp_path, content):
    (tmp_path / "manifest.parquet").write_bytes(content)
    assert known_clips(tmp_path) == {}


@pytest.mark.parametrize("columns", [{"subject": ["s"]}, {"subject": [[1]], "clip": ["T1"], "state": ["done"]}])
def test_a_manifest_of_other_columns_counts_as_not_there_and_fails_the_report(tmp_path, columns):
    write_table(tmp_path / "manifest.parquet", pa.table(columns), {})
    assert known_clips(tmp_path) == {}
    with pytest.raises(StoreError, match="manifest.parquet"):
        read_rows(tmp_path / "manifest.parquet", MANIFEST_SCHEMA, ["subject", "clip", "state"])


NO_OBJECTS = [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b"[" * 5000, b'{"a":' * 40 + b"1" + b"}" * 40]


@pytest.mark.parametrize("content", NO_OBJECTS)
def test_json_that_is_no_object_of_ours_is_refused(tmp_path, content):
    for name in ("distance.json", "config.json", "damage.json", "run.json"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError):
        parse_json(content)
    for read in (read_json, lambda path: distance_figures(path.parent)):
        with pytest.raises(StoreError, match="distance.json") as caught:
            read(tmp_path / "distance.json")
        assert "\n" not in str(caught.value)
    assert DamageRecord(tmp_path).read() == {}


CURVES = [3, None, [], {}, {"seconds": [1]}, {"seconds": [1], "mean": [1], "q25": [1], "q75": [1, 2]}]
CURVES += [
    {"seconds": "ab", "mean": "ab", "q25": "ab", "q75": "ab"},
    dict.fromkeys(["seconds", "mean", "q25", "q75"], ["x"]),
]


@pytest.mark.parametrize("curve", CURVES, ids=str)
def test_a_curve_of_distances_that_is_none_is_refused(tmp_path, curve):
    (tmp_path / "distance.json").write_text(json.dumps({"trained": curve}))
    with pytest.raises(StoreError, match="seconds, mean, q25, q75"):
        distance_figures(tmp_path)


def test_the_report_names_the_file_of_a_run_that_it_cannot_read(make_store, tmp_path):
    root, run = make_store(tmp_path / "store", n_subjects=1, n_frames=9), tmp_path / "run"
    run.mkdir()
    (run / "log.jsonl").write_text('{"epoch": 1, "train_loss": 1.0, "val_loss": 1.0, "val_accuracy": 0.5}\n')
    for name in ("config.json", "distance.json"):
        (run / name).write_text("[")
        with pytest.raises(StoreError, match=name):
            write_report(root, tmp_path / "report.html", run=run)
        (run / name).unlink()
    (root / "run.json").write_text("[" * 5000)
    assert summarise_store(root)["run_state"] == "unknown"
    (run / "log.jsonl").write_text("[" * 5000)
    with pytest.raises(StoreError, match="line 1 of"):
        read_log(run)
