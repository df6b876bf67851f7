"""A CSV file that grows while its rows come, in the columns of any of the tools."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TextIO

import numpy as np
import pandas as pd

from tclr.pipeline.features.foreign.tables import DIGITS, FORMS
from tclr.pipeline.system import writing
from tclr.schemas.errors import OutputError

CLOCK = "time"
"""Column of the time of day."""
FLUSH_S = 1.0
"""Rows are on the disk after this time at the latest."""


class GrowingTable:
    """A CSV file that ends with a whole line at any time. The first row makes it; without rows there is no file.

    Parameters
    ----------
    path : Path
        The file to make.
    form : str
        One of ``FORMS``: whose columns to write.
    title : str
        What the rows come from, for Py-Feat's column ``input``.

    Raises
    ------
    OutputError
        If the file exists already, since a recording cannot be made again, or cannot be written.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = pd.DataFrame({"frame": [0], "timestamp": [0.0], "status": ["ok"], "AU12": [0.5]})
    >>> with GrowingTable(Path("live.csv"), "tclr", "camera 0") as table:
    ...     table.add(rows, frames=[7], clocks_s=[0.0])
    >>> pd.read_csv("live.csv")[["frame", "timestamp", "AU12"]].values.tolist()
    [[7.0, 0.0, 0.5]]
    """

    def __init__(self, path: Path, form: str, title: str) -> None:
        self._path, self._form, self._title = path, form, title
        self._waiting: list[pd.DataFrame] = []
        self._clocks: list[str] = []
        self._file: TextIO | None = None
        self._flushed_s = time.monotonic()

    def add(self, rows: pd.DataFrame, frames: Sequence[int], clocks_s: Sequence[float]) -> None:
        """Add T rows, with the numbers of their frames, and with when they came, in seconds since 1970."""
        known = rows.drop(columns=["subject", "clip", "dataset"], errors="ignore")
        numbered = known.assign(frame=np.asarray(frames, np.int64)) if "frame" in known else known
        self._waiting.append(numbered)
        self._clocks += map(iso_time, clocks_s)
        if self._file is None or time.monotonic() - self._flushed_s >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait, at once."""
        if not self._waiting:
            return
        with writing(self._path):
            is_new, self._file = self._file is None, self._file or _make_file(self._path)
            self._file.write(self._take().to_csv(index=False, float_format=DIGITS, header=is_new))
            self._file.flush()
        self._flushed_s = time.monotonic()

    def _take(self) -> pd.DataFrame:
        """Return the rows that wait, in the columns of the form and with the time of day, and forget them."""
        table = FORMS[self._form](pd.concat(self._waiting, ignore_index=True), {"source": self._title})
        if self._form == "openface":  # it counts the frames of a camera from 1, too
            table["frame"] = pd.concat(self._waiting)["frame"].to_numpy() + 1
        table = table.drop(columns=["subject"], errors="ignore")
        after = self._form == "tclr" and "timestamp" in table
        table.insert(table.columns.get_loc("timestamp") + 1 if after else len(table.columns), CLOCK, self._clocks)
        self._waiting, self._clocks = [], []
        return table

    def __enter__(self) -> GrowingTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        finally:
            if self._file is not None:
                self._file.close()


def _make_file(path: Path) -> TextIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return path.open("x", encoding="utf-8", newline="")
    except FileExistsError as error:
        raise OutputError(f"Expected a new file, but {path} exists. Give another name, or remove it first.") from error


def iso_time(clock_s: float) -> str:
    """Return a time of day as ISO 8601 writes it, to the millisecond, with this machine's distance from UTC.

    >>> len(iso_time(1.7e9))
    29
    """
    return datetime.fromtimestamp(clock_s).astimezone().isoformat(timespec="milliseconds")
