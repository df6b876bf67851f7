"""Reads a features folder clip by clip, so that it never has to fit in memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tclr.pipeline.features.reading import list_files
from tclr.pipeline.system import read_metadata, read_pandas, read_schema
from tclr.schemas.features import EMBEDDING, check_columns

AU_COLUMN = re.compile(r"(AU\d{2,})(_c|_r|_true)?")
"""Probability ``AU01``, occurrence ``AU01_c``, intensity 0..5 ``AU01_r``, label ``AU01_true``."""


class FeatureClips:
    """The clips of a folder that ``tclr embed`` wrote.

    ``paths`` maps each (subject, clip) to its file, in sorted order. ``columns`` are the columns of every file.
    ``au_names`` are the AUs with a prediction or a label, sorted.

    Raises
    ------
    StoreError
        If the folder holds no features.

    Examples
    --------
    >>> clips = FeatureClips(Path("features"))
    >>> list(clips.paths), clips.read("F001", "T1", ["frame", "AU12"]).shape
    ([('F001', 'T1'), ('F003', 'T1')], (16, 2))
    """

    def __init__(self, path: Path) -> None:
        self.root = path
        self.paths = {(subject, file.stem): file for subject, file in list_files(path)}
        self._first = next(iter(self.paths.values()))
        self.columns: list[str] = read_schema(self._first).names
        matches = [match for name in self.columns if (match := AU_COLUMN.fullmatch(name))]
        self.au_names = sorted({match[1] for match in matches})
        self.au_columns = [match[0] for match in matches]
        self.embedding_columns = [name for name in self.columns if re.fullmatch(rf"{EMBEDDING}(_\d+)?", name)]

    def metadata(self) -> dict[str, Any]:
        """Return the metadata of the first file; encoder, AU source and settings are the same in all files."""
        return read_metadata(self._first)

    def read(self, subject: str, clip: str, columns: Sequence[str]) -> pd.DataFrame:
        """Return a clip's table of T rows with the given columns; columns that the folder lacks are left out."""
        path = self.paths[subject, clip]
        check_columns(read_schema(path), str(path))
        return read_pandas(path, [name for name in columns if name in self.columns])


def embeddings_of(table: pd.DataFrame) -> np.ndarray:
    """Return the (T, D) float32 embeddings of a table, NaN where there is no face.

    The table stores one column per dimension (``emb_000``) or one column of lists (``emb``).

    >>> clips = FeatureClips(Path("features"))
    >>> embeddings_of(clips.read("F001", "T1", clips.embedding_columns)).shape
    (16, 32)
    """
    if EMBEDDING not in table:
        return table.filter(regex=rf"^{EMBEDDING}_\d+$").to_numpy(np.float32, na_value=np.nan)
    lists = table[EMBEDDING]
    present = lists.notna().to_numpy()
    if not present.any():
        return np.full((len(table), 0), np.nan, np.float32)
    rows = np.stack([np.asarray(row, np.float32) for row in lists[present]])
    out = np.full((len(table), rows.shape[1]), np.nan, np.float32)
    out[present] = rows
    return out


def values_of(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a numeric column as (T,) float64, NaN where it is null or absent.

    >>> table = FeatureClips(Path("features")).read("F001", "T1", ["AU12_c"])
    >>> values_of(table, "AU12_c")[:3], values_of(table, "AU99")[:3]
    (array([0., 0., 0.]), array([nan, nan, nan]))
    """
    if column not in table:
        return np.full(len(table), np.nan)
    return table[column].to_numpy(np.float64, na_value=np.nan)
