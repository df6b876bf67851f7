"""Opening what the command line wrote: a store, and features."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import pandas as pd

from tclr.pipeline.features import load
from tclr.pipeline.store import Store
from tclr.schemas.errors import SettingError


def open_store(path: str | PathLike[str]) -> Store:
    """Open a store that ``tclr preprocess`` or ``analyse(..., store=path)`` wrote.

    Parameters
    ----------
    path : str or Path
        The folder, or the file of one subject.

    Returns
    -------
    Store
        ``clips`` lists the clips, ``read(clip, "landmarks")`` returns a dataset of ``tclr.schemas.store`` and
        ``read_crops(clip)`` the aligned crops (T, S, S, 3) uint8 RGB. It is a context manager.

    Raises
    ------
    StoreError
        If there is no store, or it is damaged or of a newer format.

    Examples
    --------
    >>> with open_store("store") as store:
    ...     clip = store.clips[0]
    ...     clip.name, store.read(clip, "landmarks").shape, store.read_crops(clip).shape
    ('F001/T1', (16, 478, 3), (16, 224, 224, 3))
    """
    return Store(Path(path))


def load_features(
    path: str | PathLike[str],
    columns: str | Iterable[str] | None = None,
    subjects: str | Iterable[str] | None = None,
) -> pd.DataFrame:
    """Load features that ``tclr embed`` or ``analyse(..., features=path)`` wrote.

    Parameters
    ----------
    path : str or Path
        The folder.
    columns : str or iterable of str, optional
        Names or patterns, as a list or separated by commas, such as ``"frame,AU*"``; default all. ``subject`` is always
        included.
    subjects : str or iterable of str, optional
        The subject or subjects to load; default all.

    Returns
    -------
    pandas.DataFrame
        One row per frame, sorted by subject, clip and frame.

    Raises
    ------
    StoreError
        If the folder holds no features, or a column or subject is unknown.

    Examples
    --------
    >>> load_features("features", "frame,AU12", subjects=["F001"]).shape
    (16, 3)
    """
    chosen = [subjects] if isinstance(subjects, str) else subjects
    return load(path=Path(path), columns=split_names(columns) or None, subjects=chosen)


def split_names(names: str | Iterable[str] | None) -> list[str]:
    """Return names or patterns as a list; they may come separated by commas.

    Raises
    ------
    SettingError
        If one is not text.

    Examples
    --------
    >>> split_names("frame, AU*"), split_names(None)
    (['frame', 'AU*'], [])
    """
    if names is None:
        return []
    parts = names.split(",") if isinstance(names, str) else list(names) if isinstance(names, Iterable) else [names]
    if wrong := [part for part in parts if not isinstance(part, str)]:
        raise SettingError(f"Expected names of columns, but got {wrong[0]!r}. Give 'AU12,AU06' or ['AU12', 'AU06'].")
    return [part.strip() for part in parts if part.strip()]
