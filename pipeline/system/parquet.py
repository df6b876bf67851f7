"""The only place that reads and writes Parquet.

Files appear in one step; their metadata are one JSON text under the key ``tclr``. What cannot be read, or has more rows
than a clip may have, is a ``StoreError``; what cannot be written is an ``OutputError``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tclr.pipeline.system.files import parse_json, replacing
from tclr.schemas.errors import StoreError
from tclr.schemas.store import MAX_CLIP_FRAMES

if TYPE_CHECKING:
    import pandas as pd

METADATA_KEY = b"tclr"


def write_table(
    path: Path, table: pa.Table, metadata: dict[str, Any], *, confirm: Callable[[], None] = lambda: None
) -> None:
    """Write a table, zstd-compressed, with metadata; ``confirm`` is called before the file takes its place."""
    kept = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(kept), temporary, compression="zstd")
        confirm()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what Arrow and pandas say of a file that is no Parquet, or damaged, into one ``StoreError``."""
    try:
        if not path.is_file():  # a named pipe would keep us waiting
            raise FileNotFoundError("no regular file" if path.exists() else "no such file")
        yield
    except (OSError, pa.ArrowException, ValueError, LookupError, TypeError, MemoryError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(f"Expected a Parquet file, but cannot read {path}: {reason}.") from error


def _open(path: Path) -> pq.ParquetFile:
    file = pq.ParquetFile(path)
    if file.metadata.num_rows > MAX_CLIP_FRAMES:
        file.close()
        raise ValueError(f"it claims {file.metadata.num_rows} rows, more than {MAX_CLIP_FRAMES}")
    return file


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file, or only some of its columns."""
    with _reading(path), _open(path) as file:
        return file.read(columns=columns)


def read_pandas(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a file, or only some of its columns, into pandas."""
    table = read_table(path, columns)
    with _reading(path):
        return table.to_pandas()


def read_rows(path: Path, schema: pa.Schema, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read some columns of a file, one dictionary per row; they must be there and of the schema's types."""
    wanted = pa.schema([schema.field(name) for name in columns])
    table = read_table(path, columns)
    with _reading(path):
        return table.select(columns).cast(wanted).to_pylist()


def read_schema(path: Path) -> pa.Schema:
    """Return the columns of a file."""
    with _reading(path), _open(path) as file:
        return file.schema_arrow


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata that ``write_table`` stored."""
    try:
        return parse_json((read_schema(path).metadata or {})[METADATA_KEY])
    except (KeyError, ValueError) as error:
        raise StoreError(f"Expected a Parquet file that tclr wrote, but got another one: {path}.") from error
