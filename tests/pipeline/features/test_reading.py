import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tclr.pipeline.export import with_pandas_types
from tclr.pipeline.features import load
from tclr.pipeline.system import write_table
from tclr.schemas.errors import StoreError
from tclr.schemas.features import FORMAT, FORMAT_VERSION, features_schema

METADATA = {"format": FORMAT, "format_version": FORMAT_VERSION}


def write_features(folder, subject, clip, *, frames=(3, 4), dim=2, metadata=METADATA):
    """Write one clip; AU01 is the frame number / 10, AU12_true is null in the first row."""
    schema = with_pandas_types(features_schema(["AU01"], ["AU12"], dim, blendshapes=False))
    columns = {}
    for field in schema:
        if pa.types.is_dictionary(field.type):
            columns[field.name] = pa.array([clip] * len(frames)).dictionary_encode()
        elif field.name == "frame":
            columns[field.name] = pa.array(frames, pa.int64())
        else:
            columns[field.name] = pa.array([frame / 10 for frame in frames]).cast(field.type, safe=False)
    columns["AU12_true"] = pa.array([None] + [1] * (len(frames) - 1), pa.int8())
    path = folder / f"subject={subject}" / f"{clip}.parquet"
    write_table(path, pa.table(list(columns.values()), schema=schema), metadata)
    return path


@pytest.fixture
def features(tmp_path):
    for subject, clip in (("S2", "T1"), ("S10", "T2"), ("S10", "T10"), ("007", "T1")):
        write_features(tmp_path, subject, clip)
    return tmp_path


def test_load_sorts_by_subject_clip_and_frame(features):
    table = load(features)
    keys = list(zip(table["subject"], table["clip"], table["frame"], strict=True))
    assert keys == sorted(keys) and len(keys) == 8


def test_load_keeps_subjects_that_look_like_numbers_as_text(tmp_path):
    write_features(tmp_path, "007", "T1")
    assert list(load(tmp_path)["subject"]) == ["007", "007"]


def test_load_gives_nullable_labels_and_float_probabilities(features):
    table = load(features)
    assert table.dtypes[["AU12_true", "AU01_c"]].tolist() == [pd.Int8Dtype(), pd.Int8Dtype()]
    assert table.dtypes["AU01"] == np.float32 and table.dtypes["frame"] == np.int64
    assert table["AU12_true"].isna().tolist() == [True, False] * 4
    assert isinstance(table["clip"].dtype, pd.CategoricalDtype)


def test_load_has_every_column_of_the_files(features):
    assert load(features).columns.tolist() == [
        "subject",
        *features_schema(["AU01"], ["AU12"], 2, blendshapes=False).names,
    ]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["AU??"], ["AU01"]),
        (["AU*"], ["AU01", "AU01_c", "AU12_true"]),
        (["frame", "emb_*"], ["frame", "emb_000", "emb_001"]),
        (["emb_001", "emb_*"], ["emb_001", "emb_000"]),
        (["subject", "AU12_true"], ["AU12_true"]),
    ],
)
def test_load_chooses_columns_by_pattern(features, patterns, expected):
    chosen = load(features, columns=patterns)
    assert chosen.columns.tolist() == ["subject", *expected]
    everything = load(features)
    pd.testing.assert_frame_equal(chosen, everything[chosen.columns])


def test_load_takes_only_some_subjects(features):
    assert set(load(features, subjects=["S10", "007"])["subject"]) == {"S10", "007"}
    assert len(load(features, subjects=(name for name in ["S2"]))) == 2


def test_load_names_the_known_columns(features):
    with pytest.raises(StoreError, match=r"'AU99'.*Known columns:.*AU01.*emb_000"):
        load(features, columns=["frame", "AU99"])


def test_load_names_the_known_subjects(features):
    with pytest.raises(StoreError, match="'S3'.*Known subjects: 007, S10, S2"):
        load(features, subjects=["S3"])


def test_load_refuses_a_folder_without_features(tmp_path):
    with pytest.raises(StoreError, match="tclr embed"):
        load(tmp_path)
    with pytest.raises(StoreError, match="tclr embed"):
        load(tmp_path / "missing")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"format": "tclr-manifest", "format_version": 1}, "format 'tclr-features'"),
        ({**METADATA, "format_version": 2}, "Upgrade"),
    ],
)
def test_load_refuses_another_or_a_newer_format(features, metadata, message):
    write_features(features, "S3", "T1", metadata=metadata)
    with pytest.raises(StoreError, match=message):
        load(features)


def test_load_refuses_a_file_that_tclr_did_not_write(features):
    pq.write_table(pa.table({"x": [1]}), features / "subject=S2" / "mine.parquet")
    with pytest.raises(StoreError, match=r"mine\.parquet"):
        load(features)


def test_load_refuses_files_with_different_columns(features):
    write_features(features, "S3", "T1", dim=3, metadata={**METADATA, "columns": ["frame"]})
    with pytest.raises(StoreError, match="tclr embed"):
        load(features)


def test_load_refuses_embeddings_of_different_encoders(features):
    for subject, digest in (("S2", "a"), ("S3", "b")):
        write_features(features, subject, "T1", metadata={**METADATA, "encoder": {"digest": digest}})
    with pytest.raises(StoreError, match="tclr embed"):
        load(features)


def test_an_unknown_column_comes_with_the_most_similar_one(features):
    with pytest.raises(StoreError, match="Unknown column 'timestmp'.*Did you mean 'timestamp'"):
        load(features, ["timestmp"])
