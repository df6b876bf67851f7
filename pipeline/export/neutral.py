"""The frames that someone says are neutral: a table of subjects, clips and frames."""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.errors import InputError

COLUMNS = ("subject", "clip", "first", "last")


@dataclass(frozen=True)
class NeutralFrames:
    """Frames ``first`` to ``last`` of a clip; an empty ``clip`` means all clips, missing ends the whole clip."""

    subject: str
    clip: str
    first: int
    last: int

    def rows(self, store: Store, info: ClipInfo) -> np.ndarray:
        """Return the (T,) bool mask of these frames in a clip."""
        if info.subject != self.subject or self.clip not in ("", info.clip):
            return np.zeros(info.n_frames, bool)
        frames = store.read(info, "source_frame")
        return np.asarray((frames >= self.first) & (frames <= self.last))


def read_neutral(path: Path, subjects: Collection[str]) -> tuple[NeutralFrames, ...]:
    """Read a CSV table with the columns subject, clip, first and last; all but ``subject`` may be empty or missing.

    Raises
    ------
    InputError
        If it cannot be read, a column or one of the ``subjects`` is unknown, or a number is none.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, skipinitialspace=True)
            names = tuple(table.fieldnames or ())
            if "subject" not in names or not set(names) <= set(COLUMNS):
                raise InputError(f"Expected the columns {', '.join(COLUMNS)} in {path}, but got {', '.join(names)}.")
            rows = tuple(_parse(row, f"line {table.line_num} of {path}") for row in table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"Cannot read the neutral frames in {path}: {error}. Give a CSV table.") from error
    unknown = [row.subject for row in rows if row.subject not in subjects]
    if unknown or not rows:
        raise InputError(
            f"Expected subjects of the store in {path}, such as {min(subjects)!r}, but got "
            f"{repr(unknown[0]) if rows else 'none'}. 'tclr inspect' lists them."
        )
    return rows


def _parse(row: dict[str, str | None], where: str) -> NeutralFrames:
    first, last = (row.get("first") or "").strip(), (row.get("last") or "").strip()
    try:
        ends = int(first or 0), int(last or np.iinfo(np.int64).max)
    except ValueError as error:
        raise InputError(f"Expected whole numbers of frames, but got {first!r} and {last!r} in {where}.") from error
    return NeutralFrames((row["subject"] or "").strip(), (row.get("clip") or "").strip(), *ends)
