"""AU labels for any folder of videos: one table per clip, by frame number.

::

    SOURCE/labels/<subject>_<clip>.csv    header frame,AU01_c,AU01_r,AU02,...; then one row per frame

``frame`` is the store's ``source_frame``: the position in a video, from 0, or the number in an image's file name.
Each AU has one or two columns, named as in common tools:

==========  ===============================================================  =================
``AU01_c``  occurrence, 0 or 1; 9, 999, -1, empty = unknown                  OpenFace
``AU01_r``  intensity, 0..5; empty = unknown                                 OpenFace
``AU01``    intensity, 0..1, stored times 5; empty = unknown                 Py-Feat
==========  ===============================================================  =================

An AU with an intensity alone is present at intensity 2 or more, as in DISFA's protocol. Sources: Baltrusaitis, Zadeh,
Lim and Morency, "OpenFace 2.0", FG 2018; Cheong et al., "Py-Feat", Affective Science 2023.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tclr.pipeline.sources.clip import Clip, Labels
from tclr.pipeline.sources.listing import MAX_FRAME, reading_table
from tclr.schemas.action_units import ABSENT, AU_NAMES, MAX_INTENSITY, PRESENT, PRESENT_FROM, UNKNOWN, au_column
from tclr.schemas.errors import InputError

LABEL_FOLDER = "labels"
OCCURRENCE, INTENSITY, SHARE = "_c", "_r", ""
"""Suffixes of an AU's name in the header; ``SHARE`` is an intensity of 0..1."""
COLUMN = re.compile(r"(AU(\d\d))(_c|_r|)")
UNKNOWN_CODES = (9, 999, -1)
"""Codes for an unknown occurrence: BP4D's, EmotioNet's and that of tclr's store."""
LIMITS = {INTENSITY: MAX_INTENSITY, SHARE: 1.0}
ALLOWED = {
    OCCURRENCE: f"0 or 1, or {', '.join(map(str, UNKNOWN_CODES))} or empty for unknown",
    INTENSITY: f"0 to {MAX_INTENSITY:g}, or empty for unknown",
    SHARE: "0 to 1, or empty for unknown",
}

Column = tuple[int, str]
"""FACS number, and one of ``OCCURRENCE``, ``INTENSITY``, ``SHARE``."""


def _parse_header(cells: list[str], where: str) -> list[Column]:
    """Return the kind of each column after the first."""
    if not cells or cells[0] != "frame":
        raise InputError(
            f"Expected a header 'frame,AU01,...', but got {','.join(cells)[:60]!r} in {where}. "
            "Add one, with the frame number as the first column."
        )
    columns: list[Column] = []
    for cell in cells[1:]:
        found = COLUMN.fullmatch(cell)
        if found is None or int(found.group(2)) not in AU_NAMES:
            known = ", ".join(au_column(number) for number in sorted(AU_NAMES))
            raise InputError(
                f"Expected columns frame and AU01_c (0/1), AU01_r (0..5) or AU01 (0..1), but got {cell!r} in {where}. "
                f"Rename or remove it. Known AUs: {known}."
            )
        columns.append((int(found.group(2)), found.group(3)))
        name, kind = found.group(1, 3)
        if columns.count(columns[-1]) > 1:
            raise InputError(f"Expected each column once, but got {cell!r} twice in {where}. Remove one.")
        if {(columns[-1][0], other) for other in LIMITS} <= set(columns):
            raise InputError(
                f"Expected one intensity per AU, but got {name} (0..1) and {name}_r (0..5) in {where}. Remove one."
            )
    if not columns:
        raise InputError(f"Expected columns such as AU01, but got only 'frame' in {where}. Add the labels.")
    return columns


def _parse_row(cells: list[str], names: list[str], where: str) -> list[float]:
    """Return a row's numbers, NaN for empty cells; the first is the frame number."""
    if len(cells) != len(names):
        raise InputError(
            f"Expected {len(names)} cells, but got {len(cells)} in {where}. Leave the cell of an unknown label empty."
        )
    values = []
    for cell, name in zip(cells, names, strict=True):
        try:
            values.append(float(cell) if cell.strip() else math.nan)
        except ValueError as error:
            raise InputError(
                f"Expected a number in column {name}, but got {cell!r} in {where}. "
                "Correct it, or leave the cell of an unknown label empty."
            ) from error
    if not (values[0].is_integer() and 0 <= values[0] < MAX_FRAME):
        raise InputError(
            f"Expected a whole frame number of 0 or more, but got {cells[0]!r} in {where}. "
            "Number frames as in the column 'frame' of the features."
        )
    return values


def _check_values(values: np.ndarray, columns: list[Column], lines: np.ndarray, path: Path) -> None:
    """Reject a value outside its range; ``values`` (N, C) float64, ``lines`` (N,) int64."""
    good = np.isnan(values)
    for place, (_, kind) in enumerate(columns):
        column = values[:, place]
        if kind == OCCURRENCE:
            good[:, place] |= np.isin(column, (ABSENT, PRESENT, *UNKNOWN_CODES))
        else:
            good[:, place] |= (column >= 0) & (column <= LIMITS[kind])
    if not good.all():
        row, place = np.argwhere(~good)[0]
        number, kind = columns[place]
        raise InputError(
            f"Expected {au_column(number)}{kind} to be {ALLOWED[kind]}, but got {values[row, place]:g} in {path} "
            f"line {lines[row]}. Correct it, or rename the column to match its scale."
        )


def _check_frames(frames: np.ndarray, lines: np.ndarray, path: Path) -> None:
    """Reject a frame that appears twice; ``frames`` (N,) int64, sorted, ``lines`` (N,) int64."""
    again = np.flatnonzero(np.diff(frames) == 0)
    if again.size:
        first, second = lines[again[0]], lines[again[0] + 1]
        raise InputError(
            f"Expected each frame once, but got {frames[again[0]]} again in {path} line {second} (first in line "
            f"{first}). Remove one."
        )


def _read_table(path: Path) -> tuple[list[Column], np.ndarray, np.ndarray, np.ndarray]:
    """Return columns, frames (N,) int64, values (N, C) float64 and lines (N,) int64, in file order."""
    rows, lines = [], []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        names = [cell.strip() for cell in next(reader, [])]
        columns = _parse_header(names, f"{path} line 1")
        for cells in reader:
            if cells:
                rows.append(_parse_row(cells, names, f"{path} line {reader.line_num}"))
                lines.append(reader.line_num)
    if not rows:
        raise InputError(
            f"Expected one row per frame, but got only a header in {path}. Add the labels, or delete the file."
        )
    table = np.array(rows, np.float64)
    return columns, table[:, 0].astype(np.int64), table[:, 1:], np.array(lines)


def read_label_table(paths: tuple[Path, ...]) -> Labels:
    """Read a clip's one table, AUs sorted by number; ``intensity`` is ``None`` if no AU has one."""
    (path,) = paths
    with reading_table(path):
        columns, frames, values, lines = _read_table(path)
    _check_values(values, columns, lines, path)
    order = np.argsort(frames, kind="stable")
    _check_frames(frames[order], lines[order], path)
    return _to_labels(columns, frames[order], values[order])


def _to_labels(columns: list[Column], frames: np.ndarray, values: np.ndarray) -> Labels:
    """Convert a table's columns to occurrence and intensity; ``values`` (N, C) float64, NaN unknown."""
    given = {column: values[:, place] for place, column in enumerate(columns)}
    numbers = sorted({number for number, _ in columns})
    occurrence = np.full((len(frames), len(numbers)), UNKNOWN, np.int8)
    intensity = np.full((len(frames), len(numbers)), np.nan, np.float32)
    for place, number in enumerate(numbers):
        level = None
        for kind, limit in LIMITS.items():
            if (number, kind) in given:
                level = given[number, kind] * (MAX_INTENSITY / limit)
                intensity[:, place] = level
        if (number, OCCURRENCE) in given:
            codes = given[number, OCCURRENCE]
            occurrence[:, place] = np.where(np.isin(codes, (ABSENT, PRESENT)), codes, UNKNOWN)
        elif level is not None:
            occurrence[:, place] = np.where(np.isnan(level), UNKNOWN, level >= PRESENT_FROM)
    has_intensity = any(kind in LIMITS for _, kind in columns)
    names = tuple(au_column(number) for number in numbers)
    return Labels(names, frames, occurrence, intensity if has_intensity else None)


def labels_of_columns(names: list[str], frames: np.ndarray, values: np.ndarray, where: str) -> Labels:
    """Return labels from columns named as in a table of labels, with the errors of reading one.

    ``frames`` (N,) int64 and ``values`` (N, C) float64, NaN unknown, have one row per labelled frame; ``where`` they
    come from is for messages.

    >>> labels_of_columns(["AU12_r"], np.array([4, 2]), np.array([[3.0], [0.0]]), "labels").at(np.array([2, 3, 4]))
    array([[ 0],
           [-1],
           [ 1]], dtype=int8)
    """
    columns, lines = _parse_header(["frame", *names], where), np.arange(1, len(frames) + 1)
    _check_values(values, columns, lines, Path(where))
    order = np.argsort(frames, kind="stable")
    _check_frames(frames[order], lines[order], Path(where))
    return _to_labels(columns, frames[order], values[order])


def _tables(source: Path) -> dict[str, Path]:
    """Return a source folder's label tables by their stem, ``<subject>_<clip>``."""
    folder = source / LABEL_FOLDER
    paths = folder.glob("*.csv") if folder.is_dir() else ()
    return {path.stem: path for path in paths if not path.name.startswith(".")}


def attach_labels(source: Path, clips: Iterable[Clip]) -> list[Clip]:
    """Return the clips with the folder's labels for them; a table that fits two clips is an error."""
    tables = _tables(source)
    owners: dict[str, Clip] = {}
    attached: list[Clip] = []
    for clip in clips:
        name = f"{clip.subject}_{clip.clip}"
        if name in tables:
            owner = owners.setdefault(name, clip)
            if owner.key != clip.key:
                raise InputError(
                    f"Expected {tables[name]} to fit one clip, but it fits {owner.name} and {clip.name}. "
                    "Rename one of the clips."
                )
            clip = replace(clip, label_paths=(tables[name],), read_labels=read_label_table)
        attached.append(clip)
    return attached


def unused_tables(source: Path, clips: Iterable[Clip]) -> list[Path]:
    """Return the label tables of a source folder that fit none of its clips, sorted.

    >>> Path("videos/labels").mkdir(parents=True)
    >>> Path("videos/labels/anna_smiel.csv").touch()
    >>> unused_tables(Path("videos"), clips=[])
    [PosixPath('videos/labels/anna_smiel.csv')]
    """
    used = {path for clip in clips for path in clip.label_paths}
    return sorted(set(_tables(source).values()) - used)
