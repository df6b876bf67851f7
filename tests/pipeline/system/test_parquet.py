import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tclr.pipeline.system import read_metadata, read_schema, read_table, write_table
from tclr.schemas.errors import OutputError, StoreError

TABLE = pa.table({"clip": pa.array(["a", "b"]).dictionary_encode(), "x": pa.array([1.5, None], pa.float32())})


def test_write_table_round_trips_types_nulls_and_metadata(tmp_path):
    write_table(tmp_path / "new" / "t.parquet", TABLE, {"format": "x", "deep": {"list": [1, None]}})
    assert read_table(tmp_path / "new" / "t.parquet").equals(TABLE)
    assert read_metadata(tmp_path / "new" / "t.parquet") == {"format": "x", "deep": {"list": [1, None]}}


def test_write_table_compresses_with_zstd_and_keeps_other_metadata(tmp_path):
    write_table(tmp_path / "t.parquet", TABLE.replace_schema_metadata({b"other": b"kept"}), {})
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0).column(1).compression == "ZSTD"
    assert read_schema(tmp_path / "t.parquet").metadata[b"other"] == b"kept"


WRITE_ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from tclr.pipeline.system import write_table
from tclr.schemas.errors import OutputError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # no file may grow beyond, as on a full disk
try:
    write_table(Path(sys.argv[1]), pa.table({"x": np.random.default_rng(0).random(100_000)}), {})
except OutputError as error:
    sys.exit(7 if "t.parquet" in str(error) else 8)
"""


def test_write_table_leaves_the_old_file_when_the_disk_is_full(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, TABLE, {"old": True})
    # in a process of its own: the limit would also stop what the test runner writes
    result = subprocess.run([sys.executable, "-c", WRITE_ON_A_FULL_DISK, str(path)])
    assert result.returncode == 7
    assert read_metadata(path) == {"old": True}
    assert [item.name for item in tmp_path.iterdir()] == ["t.parquet"]


def test_write_table_names_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot write"):
        write_table(tmp_path / "file" / "t.parquet", TABLE, {})


def test_read_table_reads_only_the_columns_asked_for(tmp_path):
    write_table(tmp_path / "subject=1" / "t.parquet", TABLE, {})
    assert read_table(tmp_path / "subject=1" / "t.parquet", ["x"]).column_names == ["x"]
    assert read_table(tmp_path / "subject=1" / "t.parquet").column_names == ["clip", "x"]


@pytest.mark.parametrize("read", [read_table, read_schema, read_metadata])
@pytest.mark.parametrize("damage", ["missing", "cut", "text", "empty"])
def test_reading_a_damaged_file_names_it(tmp_path, read, damage):
    path = tmp_path / "t.parquet"
    write_table(path, TABLE, {})
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"cut": content[: len(content) // 2], "text": b"no parquet", "empty": b""}[damage])
    with pytest.raises(StoreError, match=r"t\.parquet"):
        read(path)


@pytest.mark.parametrize("kept", [None, {b"other": b"{}"}, {b"tclr": b"no json"}])
def test_read_metadata_refuses_foreign_files(tmp_path, kept):
    pq.write_table(TABLE.replace_schema_metadata(kept), tmp_path / "t.parquet")
    with pytest.raises(StoreError, match="tclr wrote"):
        read_metadata(tmp_path / "t.parquet")
