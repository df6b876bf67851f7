"""The only reader and writer of Parquet.

Files appear in one step; their metadata are one JSON text under the key ``tclr``. Reading raises a ``StoreError`` for a
damaged file, or one with more rows than a clip may have. Writing raises an ``OutputError``.
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
    """Write a table with metadata, compressed with zstd; ``confirm`` is called just before the file appears."""
    kept = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(kept), temporary, compression="zstd")
        confirm()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the errors of Arrow and pandas for a file that is damaged or no Parquet into one ``StoreError``."""
    try:
        if not path.is_file():  # reading a named pipe would block
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
    """Read all columns of a file, or some."""
    with _reading(path), _open(path) as file:
        return file.read(columns=columns)


def read_pandas(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read all columns of a file, or some, into pandas."""
    table = read_table(path, columns)
    with _reading(path):
        return table.to_pandas()


def read_rows(path: Path, schema: pa.Schema, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Read columns of a file as one dictionary per row; each must be there and have the schema's type."""
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
