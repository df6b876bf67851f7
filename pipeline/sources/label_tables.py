"""AU labels in tables of the user's own: any clips in one table, a row found by its frame number or its time.

::

    subject,clip,frame,AU01_c,AU12_r      or timestamp (seconds from the clip's start) in place of frame

Columns may stand in any order. Those of AUs are as in ``folder_labels``; other columns are passed over, but a misspelt
AU is an error. A table without ``subject`` and ``clip`` is named like its clip, ``<subject>_<clip>.csv``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tclr.pipeline.sources.folder_labels import check_values, parse_columns, to_labels
from tclr.pipeline.sources.listing import MAX_FRAME, reading_table
from tclr.schemas.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

LIKE_AN_AU = re.compile(r"(?i)au[_ ]?\d")
"""Beginning of a column that must be one of an AU."""
KEYS = ("subject", "clip", "frame", "timestamp")
NO_FRAME = -1


@dataclass(frozen=True)
class LabelRows:
    """N labelled frames of one table, with A AUs.

    ``where`` names the table in messages and ``stem`` is its name without suffix. ``subjects`` and ``clips`` are (N,)
    str, empty without such a column; ``frames`` (N,) int64, -1 without a number; ``timestamps`` (N,) float64 seconds,
    NaN without a time. ``occurrence`` (N, A) int8 is 1 present, 0 absent, -1 unknown; ``intensity`` (N, A) float32
    0..5, NaN unknown. ``ignored`` are columns that were passed over.
    """

    where: str
    stem: str
    names: tuple[str, ...]
    subjects: np.ndarray
    clips: np.ndarray
    frames: np.ndarray
    timestamps: np.ndarray
    occurrence: np.ndarray
    intensity: np.ndarray
    ignored: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)


def read_label_rows(source: Path | pd.DataFrame) -> list[LabelRows]:
    """Read a CSV table of labels, every table of a folder, or a DataFrame with the same columns.

    Raises
    ------
    InputError
        If there is no table, or one cannot be read: a column, a number or a value out of range. It names the line.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = read_label_rows(pd.DataFrame({"subject": ["anna"], "clip": ["smile"], "frame": [7], "AU12_r": [3.5]}))[0]
    >>> rows.names, rows.frames.tolist(), rows.occurrence.tolist(), rows.intensity.tolist()
    (('AU12',), [7], [[1]], [[3.5]])
    """
    if not isinstance(source, Path):
        return [_parse_table(source.reset_index(drop=True).astype(object), "the table of labels", "")]
    paths = _list_tables(source) if source.is_dir() else [source]
    return [_read_file(path) for path in paths]


def _list_tables(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*.csv") if not path.name.startswith("."))
    if not paths:
        raise InputError(f"Expected tables of labels (.csv), but found none in {folder}. Check the path.")
    return paths


def _read_file(path: Path) -> LabelRows:
    import pandas as pd  # most users of this room need no table of labels

    with reading_table(path):
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True, encoding="utf-8-sig")
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise InputError(
                f"Expected a table with a header such as subject,clip,frame,AU01_c, but cannot read {path}: "
                f"{' '.join(str(error).split())} Correct it."
            ) from error
    return _parse_table(table, str(path), path.stem)


def _parse_table(table: pd.DataFrame, where: str, stem: str) -> LabelRows:
    """Return the rows of a table of texts or numbers."""
    table = table.rename(columns=lambda name: str(name).strip())
    names = list(table.columns)
    header = f"{where} line 1"
    cells = [name for name in names if LIKE_AN_AU.match(name)]
    if not {"frame", "timestamp"} & set(names) or not cells:
        is_apart = len(names) == 1 and re.search(r"[;\t]", names[0])
        advice = "Separate columns by commas" if is_apart else "Rename or add columns"
        raise InputError(
            f"Expected columns subject, clip, frame (or timestamp) and AUs such as AU01_c, but got "
            f"{', '.join(names)[:80] or 'none'} in {header}. {advice}."
        )
    if twice := [name for name in (*KEYS, *cells) if names.count(name) > 1]:
        raise InputError(f"Expected each column once, but got {twice[0]!r} twice in {header}. Remove one.")
    columns = parse_columns(cells, header)
    if not len(table):
        raise InputError(f"Expected one row per frame, but got only a header in {where}. Add the labels.")
    values = np.stack([_numbers(table, cell, where) for cell in cells], axis=1)
    check_values(values, columns, _lines(table), where)
    labels = to_labels(columns, np.arange(len(table)), values)
    unknown = np.full(labels.occurrence.shape, np.nan, np.float32)
    return LabelRows(
        where,
        stem,
        labels.names,
        _texts(table, "subject"),
        _texts(table, "clip"),
        _frames(table, where),
        _timestamps(table, where),
        labels.occurrence,
        unknown if labels.intensity is None else labels.intensity,
        tuple(name for name in names if name not in (*KEYS, *cells)),
    )


def _lines(table: pd.DataFrame) -> np.ndarray:
    """Return the (N,) line numbers of the rows in a file with a header."""
    return np.arange(2, len(table) + 2)


def _texts(table: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column as (N,) str, empty if there is none."""
    if name not in table:
        return np.full(len(table), "")
    return np.array([str(cell).strip() for cell in table[name]], str)


def _numbers(table: pd.DataFrame, name: str, where: str) -> np.ndarray:
    """Return a column as (N,) float64, NaN for empty cells."""
    import pandas as pd

    cells: Sequence[object] = [cell.strip() if isinstance(cell, str) else cell for cell in table[name]]
    empty = np.array([cell is None or cell is pd.NA or cell == "" for cell in cells])
    numbers = pd.to_numeric(
        pd.Series([np.nan if no else cell for no, cell in zip(empty, cells, strict=True)]), "coerce"
    )
    out = numbers.to_numpy(np.float64)
    for row in np.flatnonzero(np.isnan(out) & ~empty).tolist():
        if str(cells[row]).lower() != "nan":
            raise InputError(
                f"Expected a number in column {name}, but got {cells[row]!r} in {where} line {row + 2}. Correct it, or "
                "leave the cell of an unknown label empty."
            )
    return out


def _frames(table: pd.DataFrame, where: str) -> np.ndarray:
    """Return the (N,) int64 frame numbers, ``NO_FRAME`` without such a column."""
    if "frame" not in table:
        return np.full(len(table), NO_FRAME)
    numbers = _numbers(table, "frame", where)
    good = np.isfinite(numbers) & (numbers >= 0) & (numbers < MAX_FRAME) & (numbers % 1 == 0)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(
            f"Expected a whole frame number of 0 or more, but got {table['frame'].iloc[row]!r} in {where} line "
            f"{row + 2}. Number frames as in the column 'frame' of the features."
        )
    return numbers.astype(np.int64)


def _timestamps(table: pd.DataFrame, where: str) -> np.ndarray:
    """Return the (N,) times in seconds, NaN without such a column; all are needed where there are no frame numbers."""
    if "timestamp" not in table:
        return np.full(len(table), np.nan)
    seconds = _numbers(table, "timestamp", where)
    if "frame" not in table and not np.isfinite(seconds).all():
        row = int(np.argmin(np.isfinite(seconds)))
        raise InputError(
            f"Expected a time in seconds in column timestamp, but got {table['timestamp'].iloc[row]!r} in {where} line "
            f"{row + 2}. Correct it, or remove the row."
        )
    return seconds
