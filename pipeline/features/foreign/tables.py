"""Writes features as CSV files, one per clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tclr.pipeline.features.clips import FeatureClips
from tclr.pipeline.features.foreign.openface import as_openface
from tclr.pipeline.features.foreign.pyfeat import as_pyfeat
from tclr.pipeline.system import read_metadata, write_text
from tclr.schemas.errors import OutputError, StoreError
from tclr.schemas.features import EMBEDDING

DIGITS = "%.9g"
"""Enough for every float32, and for microseconds of a recording of an hour."""


def as_tclr(table: pd.DataFrame, metadata: Mapping[str, Any]) -> pd.DataFrame:
    """Return a clip's features with the subject in front, and without an embedding that is one column of lists.

    >>> import pandas as pd
    >>> as_tclr(pd.DataFrame({"frame": [0], "AU12": [0.5]}), {"subject": "anna"}).columns.tolist()
    ['subject', 'frame', 'AU12']
    """
    numbers = table.drop(columns=[EMBEDDING], errors="ignore")
    numbers.insert(0, "subject", str(metadata.get("subject", "")))
    return numbers


FORMS: dict[str, Callable[[pd.DataFrame, Mapping[str, Any]], pd.DataFrame]] = {
    "tclr": as_tclr,
    "openface": as_openface,
    "pyfeat": as_pyfeat,
}
"""Names of the tables that can be written."""
NEEDED = {"tclr": (), "openface": ("frame", "timestamp", "status"), "pyfeat": ("frame", "timestamp")}
"""Columns of the features that a table cannot do without."""


def write_tables(
    features: Path, out: Path, form: str, notify: Callable[[int, int], None] = lambda done, total: None
) -> list[Path]:
    """Write each clip of a features folder to ``OUT/<subject>/<clip>.csv``; a file that exists is replaced.

    Parameters
    ----------
    features : Path
        A folder that ``tclr embed`` wrote.
    out : Path
        Folder of the CSV files.
    form : str
        One of ``FORMS``.
    notify : callable, optional
        Receives the number of clips written and of all clips.

    Returns
    -------
    list of Path
        The files, sorted by subject and clip.

    Raises
    ------
    StoreError
        If the folder holds no features, or they lack a column that the form needs.
    OutputError
        If ``out`` lies within the features, whose readers would then meet CSV files, or cannot be written.

    Examples
    --------
    >>> [file.as_posix() for file in write_tables(Path("features"), Path("csv"), "openface")]
    ['csv/F001/T1.csv', 'csv/F003/T1.csv']
    """
    clips, files = FeatureClips(features), []
    _check(clips, features, out, form)
    for (subject, clip), source in clips.paths.items():
        table = FORMS[form](clips.read(subject, clip, clips.columns), read_metadata(source))
        file = out / subject / f"{clip}.csv"
        write_text(file, table.to_csv(index=False, float_format=DIGITS))
        files.append(file)
        notify(len(files), len(clips.paths))
    return files


def _check(clips: FeatureClips, features: Path, out: Path, form: str) -> None:
    if out.resolve().is_relative_to(features.resolve()):
        raise OutputError(
            f"Expected a folder for CSV files outside {features}, whose Parquet files could not be read with others "
            f"among them, but got {out}. Give another folder."
        )
    if missing := [name for name in NEEDED[form] if name not in clips.columns]:
        raise StoreError(
            f"Expected the column {missing[0]!r} in {features}, which the table of {form} needs, but found none. Run "
            "'tclr embed' with it among --columns."
        )
