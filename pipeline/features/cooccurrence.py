"""Which Action Units come together: conditional probability, Jaccard index and phi of each pair.

Occurrences are 0/1 columns of a table with one row per frame; null is unknown, and a pair counts the frames in which
both are known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from tclr.schemas.errors import InputError

MEASURES = ("conditional", "jaccard", "phi")


def measure_cooccurrence(table: pd.DataFrame, columns: Sequence[str], by: str | None = "subject") -> pd.DataFrame:
    """Measure how AUs come together.

    Parameters
    ----------
    columns : sequence of str
        Occurrences, 0 or 1, as ``["AU06_c", "AU12_c"]``, in a table with one row per frame.
    by : str, optional
        Measure each group of rows on its own and average, so that each counts the same, however long it is: by
        default each subject. ``None`` pools all frames.

    Returns
    -------
    pandas.DataFrame
        One row per ordered pair, ``given`` and ``au``, also of an AU with itself: ``conditional``: share of the frames
        with ``given`` that also have ``au``; ``jaccard``: frames with both by frames with one at least; ``phi``:
        correlation of the two occurrences, -1..1; null where a group has no such frame, or an AU does not change;
        averages are over the groups that have a value, and ``n_groups`` counts those of phi. ``n_frames`` with both
        known and ``n_both`` with both present are of all groups together. ``.pivot(index="given", columns="au",
        values="phi")`` makes the matrix.

    Raises
    ------
    InputError
        If the table lacks a column, or an occurrence is neither 0, 1 nor null.
    """
    wanted = [*columns, *([by] if by else [])]
    if missing := sorted(set(wanted) - set(table.columns)):
        raise InputError(f"Expected a table with column {missing[0]!r}, but got {', '.join(map(str, table.columns))}.")
    parts = [rows for _, rows in table.groupby(by, observed=True)] if by else [table]
    counts = np.stack([_count(part[list(columns)].to_numpy(float, na_value=np.nan), columns) for part in parts])
    measures = measure_pairs(*np.moveaxis(counts, 1, 0))
    index = pd.MultiIndex.from_product([columns, columns], names=["given", "au"])
    values = {name: _mean(values).ravel() for name, values in zip(MEASURES, measures, strict=True)}
    values["n_groups"] = np.isfinite(measures[MEASURES.index("phi")]).sum(axis=0).ravel()
    for name, count in zip(("n_frames", "n_both"), counts.sum(axis=0)[:2], strict=True):
        values[name] = count.ravel().astype(np.int64)
    return pd.DataFrame(values, index=index).reset_index()


def _count(occurrence: np.ndarray, columns: Sequence[str]) -> np.ndarray:
    if not np.isin(occurrence[~np.isnan(occurrence)], (0, 1)).all():
        bad = [
            name for name, x in zip(columns, occurrence.T, strict=True) if not np.isin(x[~np.isnan(x)], (0, 1)).all()
        ]
        raise InputError(f"Expected occurrences 0, 1 or null, but {bad[0]} has others. Give columns as AU12_c.")
    return count_pairs(occurrence)


def count_pairs(occurrence: np.ndarray) -> np.ndarray:
    """Count pairs of AUs in (n, A) float occurrences, 1 present, 0 absent, NaN unknown.

    Returns
    -------
    ndarray
        (4, A, A) float: frames with both known, of those frames with both, with the first, with the second. Counts of
        several parts may be added.
    """
    known, present = (~np.isnan(occurrence)).astype(float), (occurrence == 1).astype(float)
    return np.stack([known.T @ known, present.T @ present, present.T @ known, known.T @ present])


def measure_pairs(n: np.ndarray, both: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the ``MEASURES`` of the counts of ``count_pairs``, NaN where they are not defined; all of one shape."""
    with np.errstate(invalid="ignore", divide="ignore"):
        conditional = both / first
        jaccard = both / (first + second - both)
        phi = (n * both - first * second) / np.sqrt(first * (n - first) * second * (n - second))
    return conditional, jaccard, phi


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of what is not NaN, NaN if nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)
