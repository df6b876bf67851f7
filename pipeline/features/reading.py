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
from tclr.schemas.errors import StoreError, suggestion
from tclr.schemas.features import check_columns, check_metadata

PARTITION = "subject="


def list_files(path: Path) -> list[tuple[str, Path]]:
    """Return (subject, file) of every clip in a features folder, sorted by subject and clip.

    Raises
    ------
    StoreError
        If there is none, a file has another or a newer format, or the files differ in encoder or AU source.

    Examples
    --------
    >>> [(subject, file.name) for subject, file in list_files(Path("features"))]
    [('F001', 'T1.parquet'), ('F003', 'T1.parquet')]
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
            "An export was interrupted: run 'tclr embed' again."
        )
    return sorted(files, key=lambda item: (item[0], item[1].stem))


def _origin(metadata: dict[str, Any]) -> str:
    """Return what all files of a folder must share, as text."""
    encoder = (metadata.get("encoder") or {}).get("digest")
    return json.dumps([encoder, *(metadata.get(name) for name in ("au_source", "au_smooth_s", "columns"))])


def _brief(names: Sequence[str]) -> str:
    """Return sorted names as text; of embeddings, blendshapes and landmarks only the first and the last."""
    brief = []
    for prefix, group in itertools.groupby(sorted(names), lambda name: re.match("(?:emb_|bs_|lm_[xy]_)?", name)[0]):  # type: ignore[index]
        members = list(group)
        brief += [members[0], "...", members[-1]] if prefix and len(members) > 2 else members
    return ", ".join(brief).replace(", ..., ", " ... ")


def choose_columns(patterns: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return the known columns that names or patterns such as ``AU*`` match, in the order of the patterns.

    Raises
    ------
    StoreError
        If a pattern matches no column. ``subject`` is accepted although no file has that column.

    Examples
    --------
    >>> choose_columns(["AU*", "frame"], ["frame", "AU01", "AU02", "yaw"])
    ['AU01', 'AU02', 'frame']
    """
    chosen: list[str] = []
    for pattern in patterns:
        found = [name for name in known if fnmatch.fnmatchcase(name, pattern)]
        if not found and pattern != "subject":
            raise StoreError(f"Unknown column {pattern!r}. Known columns: {_brief(known)}.{suggestion(pattern, known)}")
        chosen += [name for name in found if name not in chosen]
    return chosen


def load(path: str | Path, columns: Iterable[str] | None = None, subjects: Iterable[str] | None = None) -> pd.DataFrame:
    """Load features that ``tclr embed`` wrote into a data frame.

    Parameters
    ----------
    path : str or Path
        The folder.
    columns : iterable of str, optional
        Column names or patterns, such as ``["frame", "AU??"]``; default all. ``subject`` is always included.
    subjects : iterable of str, optional
        Subjects to load; default all.

    Returns
    -------
    pandas.DataFrame
        One row per frame, sorted by subject, clip and frame; ``subject`` is a category.

    Raises
    ------
    StoreError
        If the folder holds no features, or a column or subject is unknown.

    Examples
    --------
    >>> load("features", ["timestamp", "AU12"], subjects=["F001"]).round(3).head(2)
      subject  timestamp   AU12
    0    F001       0.00  0.114
    1    F001       0.04  0.085
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
