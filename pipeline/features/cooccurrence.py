"""Which Action Units occur together: conditional probability, Jaccard index and phi of each pair.

Occurrences are 0/1 columns of a table with one row per frame; null is unknown. A pair counts the frames in which both
AUs are known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tclr.schemas.errors import InputError

MEASURES = ("conditional", "jaccard", "phi")


def measure_cooccurrence(table: pd.DataFrame, columns: Sequence[str], by: str | None = "subject") -> pd.DataFrame:
    """Measure how often AUs occur together.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per frame.
    columns : sequence of str
        Columns of occurrences, 0, 1 or null, such as ``["AU06_c", "AU12_c"]``.
    by : str, optional
        Measure each group of rows separately and average, so that long and short groups count the same. The default
        is each subject. ``None`` pools all frames.

    Returns
    -------
    pandas.DataFrame
        One row per ordered pair, ``given`` and ``au``, including each AU with itself. ``conditional``: share of the
        frames with ``given`` that also have ``au``. ``jaccard``: frames with both, divided by frames with at least
        one. ``phi``: correlation of the two occurrences, -1..1. They are null in groups without such frames or with a
        constant AU; averages are over the other groups, and ``n_groups`` counts those of phi. ``n_frames`` (both
        known) and ``n_both`` (both present) are totals. ``.pivot(index="given", columns="au", values="phi")`` makes
        the matrix.

    Raises
    ------
    InputError
        If the table lacks a column, or an occurrence is not 0, 1 or null.

    Examples
    --------
    >>> pairs = measure_cooccurrence(load("features"), ["AU06_true", "AU12_true"])
    >>> pairs.loc[[1], ["given", "au", "conditional", "n_both"]]
           given         au  conditional  n_both
    1  AU06_true  AU12_true          1.0      20
    """
    wanted = [*columns, *([by] if by else [])]
    if missing := sorted(set(wanted) - set(table.columns)):
        raise InputError(f"Expected a table with column {missing[0]!r}, but got {', '.join(map(str, table.columns))}.")
    parts = [rows for _, rows in table.groupby(by, observed=True)] if by else [table]
    counts = np.stack([_count(part[list(columns)].to_numpy(float, na_value=np.nan), columns) for part in parts])
    measures = measure_pairs(*np.moveaxis(counts, 1, 0))
    index = pd.MultiIndex.from_product([columns, columns], names=["given", "au"])
    means = (np.ma.masked_invalid(values).mean(axis=0).filled(np.nan) for values in measures)
    values = {name: mean.ravel() for name, mean in zip(MEASURES, means, strict=True)}
    values["n_groups"] = np.isfinite(measures[MEASURES.index("phi")]).sum(axis=0).ravel()
    for name, count in zip(("n_frames", "n_both"), counts.sum(axis=0)[:2], strict=True):
        values[name] = count.ravel().astype(np.int64)
    return pd.DataFrame(values, index=index).reset_index()


def _count(occurrence: np.ndarray, columns: Sequence[str]) -> np.ndarray:
    for name, values in zip(columns, occurrence.T, strict=True):
        if not np.isin(values[~np.isnan(values)], (0, 1)).all():
            raise InputError(f"Expected 0, 1 or null, but {name} has other values. Give columns such as AU12_c.")
    return count_pairs(occurrence)


def count_pairs(occurrence: np.ndarray) -> np.ndarray:
    """Count pairs of AUs in (n, A) float occurrences: 1 present, 0 absent, NaN unknown.

    Returns
    -------
    ndarray
        (4, A, A) float: frames with both known and, among these, frames with both, the first and the second present.
        Counts of several parts may be added.

    Examples
    --------
    >>> count_pairs(np.array([[1, 1], [1, 0], [0, np.nan]]))[:, 0, 1]
    array([2., 1., 2., 1.])
    """
    known, present = (~np.isnan(occurrence)).astype(float), (occurrence == 1).astype(float)
    return np.stack([known.T @ known, present.T @ present, present.T @ known, known.T @ present])


def measure_pairs(n: np.ndarray, both: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the ``MEASURES`` of counts from ``count_pairs``, in their shape; NaN where undefined.

    >>> n, both, first, second = np.array([10.0, 2, 4, 5])
    >>> [round(float(value), 3) for value in measure_pairs(n, both, first, second)]
    [0.5, 0.286, 0.0]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        conditional = both / first
        jaccard = both / (first + second - both)
        phi = (n * both - first * second) / np.sqrt(first * (n - first) * second * (n - second))
    return conditional, jaccard, phi
