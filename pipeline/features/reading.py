"""Reads a features folder into pandas: one row per frame."""

from __future__ import annotations

import fnmatch
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from tclr.pipeline.system import read_metadata, read_schema, read_table
from tclr.schemas.errors import StoreError
from tclr.schemas.features import check_columns, check_metadata

PARTITION = "subject="


def list_files(path: Path) -> list[tuple[str, Path]]:
    """Return (subject, file) of every clip, sorted by subject and clip.

    Raises
    ------
    StoreError
        If there is none, a file is of another or a newer format, or not all were made with one encoder and AU source.
    """
    files = [(file.parent.name.removeprefix(PARTITION), file) for file in path.glob(f"{PARTITION}*/*.parquet")]
    if not files:
        raise StoreError(
            f"Expected features (subject=<id>/<clip>.parquet), but found none in {path}. Run 'tclr embed' first."
        )
    origins = {}
    for _, file in files:
        metadata = read_metadata(file)
        check_metadata(metadata, str(file))
        origins[_origin(metadata)] = file
    if len(origins) > 1:
        first, second = sorted(origins.values())[:2]
        raise StoreError(
            f"Expected features of one encoder and one AU source in {path}, but {first} and {second} differ. "
            "Run 'tclr embed' again: it was interrupted."
        )
    return sorted(files, key=lambda item: (item[0], item[1].stem))


def _origin(metadata: dict[str, Any]) -> str:
    """Return what must be the same in all files of a folder, as text."""
    encoder = (metadata.get("encoder") or {}).get("digest")
    return json.dumps([encoder, *(metadata.get(name) for name in ("au_source", "au_smooth_s", "columns"))])


def _brief(names: Sequence[str]) -> str:
    """Return names in order, of numbered embeddings and of blendshapes only the first and the last."""
    brief = []
    for prefix, group in itertools.groupby(sorted(names), lambda name: re.match("(?:emb_|bs_)?", name)[0]):  # type: ignore[index]
        members = list(group)
        brief += [members[0], "...", members[-1]] if prefix and len(members) > 2 else members
    return ", ".join(brief).replace(", ..., ", " ... ")


def choose_columns(patterns: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return the columns that names or patterns, as ``AU*``, ask for, in their order.

    Raises
    ------
    StoreError
        If a pattern fits none; ``subject`` is no column of a file, and fits.
    """
    chosen: list[str] = []
    for pattern in patterns:
        found = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
        if not found and pattern != "subject":
            raise StoreError(f"Unknown column {pattern!r}. Known columns: {_brief(known)}.")
        chosen += [name for name in found if name not in chosen]
    return chosen


def load(path: str | Path, columns: Iterable[str] | None = None, subjects: Iterable[str] | None = None) -> pd.DataFrame:
    """Load the features in a folder that ``tclr embed`` wrote: all, or those of some subjects.

    Parameters
    ----------
    columns : iterable of str, optional
        Column names or patterns, as ``["frame", "AU??"]``; default all. ``subject`` is always there.

    Returns
    -------
    pandas.DataFrame
        One row per frame, sorted by subject, clip and frame; ``subject`` is a category.

    Raises
    ------
    StoreError
        If the folder holds no features, or a column or subject is unknown.
    """
    files = list_files(Path(path))
    if subjects is not None:
        wanted, known = list(subjects), sorted({subject for subject, _ in files})
        if unknown := sorted(set(wanted) - set(known)):
            raise StoreError(f"Unknown subject {unknown[0]!r} in {path}. Known subjects: {', '.join(known)}.")
        files = [(subject, file) for subject, file in files if subject in wanted]
    names = None if columns is None else choose_columns(columns, read_schema(files[0][1]).names)
    tables = []
    for subject, file in files:
        check_columns(read_schema(file), str(file))
        table = read_table(file, names)
        column = pa.array([subject] * len(table), pa.string()).dictionary_encode()
        tables.append(table.add_column(0, "subject", column))
    try:
        return pa.concat_tables(tables).to_pandas()
    except (pa.ArrowException, ValueError, LookupError, TypeError) as error:
        raise StoreError(
            f"Expected the same columns in all files of {path}, but cannot join them: {error}. Run 'tclr embed' again."
        ) from error
