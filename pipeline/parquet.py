"""The only place that reads and writes Parquet.

Files appear in one step; their metadata are one JSON text under the key ``tclr``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tclr.pipeline.files import replacing
from tclr.schemas.errors import StoreError

METADATA_KEY = b"tclr"


def write_table(
    path: Path, table: pa.Table, metadata: dict[str, Any], *, confirm: Callable[[], None] = lambda: None
) -> None:
    """Write a table, zstd-compressed, with metadata; ``confirm`` is called before the file takes its place.

    Raises
    ------
    OutputError
        If the folder cannot be written or is full.
    """
    kept = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(metadata, sort_keys=True).encode()}
    with replacing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(kept), temporary, compression="zstd")
        confirm()


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file, or only some of its columns.

    Raises
    ------
    StoreError
        If it is missing or no Parquet.
    """
    try:
        return pq.read_table(path, columns=columns, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"Expected a Parquet file, but cannot read {path}: {error}.") from error


def read_schema(path: Path) -> pa.Schema:
    """Return the columns of a file.

    Raises
    ------
    StoreError
        If it is missing or no Parquet.
    """
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"Expected a Parquet file, but cannot read {path}: {error}.") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata that ``write_table`` stored.

    Raises
    ------
    StoreError
        If it is missing, no Parquet, or was not written by tclr.
    """
    try:
        return json.loads(read_schema(path).metadata[METADATA_KEY])
    except (TypeError, KeyError, ValueError) as error:
        raise StoreError(f"Expected a Parquet file that tclr wrote, but got another one: {path}.") from error
