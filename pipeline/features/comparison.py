"""Comparison of two groups of people: the unit is the subject, never the frame.

Frames of one person resemble each other, so thousands of frames are not thousands of observations (Hurlbert, 1984,
"pseudoreplication"). Every subject therefore enters once, with one value per measure.

Sources: Hedges, "Distribution theory for Glass's estimator of effect size", 1981; Holm, "A simple sequentially
rejective multiple test procedure", 1979. The permutation test and the bootstrap are those of scipy.stats.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from tclr.schemas.errors import InputError

MIN_SUBJECTS = 2
"""Fewest subjects of a group that have a variance."""


def compare_groups(
    values: pd.DataFrame, group: pd.Series, *, n_resamples: int = 9999, confidence: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Compare two groups of subjects, measure by measure.

    Parameters
    ----------
    values : pandas.DataFrame
        One row per subject (the index) and one column per measure, such as an AU's share of time. Null: not measured.
    group : pandas.Series
        Group of each subject, with the same index. There must be two groups. Differences are the second group's mean
        minus the first's, in sorted order.
    n_resamples : int
        Number of permutations and of bootstrap samples. If fewer permutations exist, the test uses all and is exact.
    confidence : float
        Level of the interval, 0..1.

    Returns
    -------
    pandas.DataFrame
        One row per measure, in the order of the columns: ``n_<group>`` and ``mean_<group>`` of both groups;
        ``difference`` of the means; ``hedges_g``, the difference in pooled standard deviations, corrected for small
        samples; ``g_low`` and ``g_high``, its percentile bootstrap interval over the subjects of each group; ``p`` of
        a two-sided permutation test of the difference; and ``p_holm``, corrected for the number of measures tested.
        Null where a group has fewer than two subjects with a value, or all values are equal.

    Raises
    ------
    InputError
        If a subject appears twice or has no group, or if there are not two groups.

    Examples
    --------
    >>> import pandas as pd
    >>> shares = pd.DataFrame({"AU12": [0.1, 0.2, 0.5, 0.8]}, index=["F001", "F002", "M001", "M002"])
    >>> result = compare_groups(shares, shares.index.to_series().str[0])
    >>> result.loc["AU12", ["mean_F", "mean_M", "difference", "hedges_g", "p"]].round(2).tolist()
    [0.15, 0.65, 0.5, 1.81, 0.33]
    """
    _check_subjects(values, group)
    group = group.reindex(values.index).astype(str)
    labels = sorted(group.unique())
    if len(labels) != 2:
        raise InputError(f"Expected two groups, but got {len(labels)}: {', '.join(labels)}. Compare two at a time.")
    rows = []
    for name in values.columns:
        first, second = (values.loc[group == label, name].dropna().to_numpy(float) for label in labels)
        row: dict[str, object] = {"measure": name}
        for label, sample in zip(labels, (first, second), strict=True):
            row |= {f"n_{label}": len(sample), f"mean_{label}": sample.mean() if len(sample) else np.nan}
        rows.append(row | _compare(first, second, n_resamples, confidence, seed))
    table = pd.DataFrame(rows).set_index("measure")
    return table.assign(p_holm=correct_holm(table["p"].to_numpy()))


def hedges_g(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return Hedges' g of second minus first, with the approximate correction for small samples.

    NaN where the values within each group are all equal.
    """
    n, m = first.shape[axis], second.shape[axis]
    freedom = n + m - 2
    pooled = ((n - 1) * first.var(axis=axis, ddof=1) + (m - 1) * second.var(axis=axis, ddof=1)) / freedom
    with np.errstate(invalid="ignore", divide="ignore"):
        g = (second.mean(axis=axis) - first.mean(axis=axis)) / np.sqrt(pooled) * (1 - 3 / (4 * freedom - 1))
    return np.where(pooled > 0, g, np.nan)


def correct_holm(p: np.ndarray) -> np.ndarray:
    """Return p values corrected by Holm's step-down method; NaN stays and is not counted as a test."""
    corrected = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])]
    scaled = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1) if len(order) else scaled
    return corrected


def _check_subjects(values: pd.DataFrame, group: pd.Series) -> None:
    for what, index in (("values", values.index), ("groups", group.index)):
        if index.has_duplicates:
            raise InputError(
                f"Expected one row per subject in the {what}, but {index[index.duplicated()][0]} has several. "
                "Average a subject's frames first: the subject is the unit."
            )
    if strangers := sorted(map(str, set(values.index) - set(group.dropna().index))):
        raise InputError(
            f"Expected a group for every subject, but {strangers[0]} has none ({len(strangers)} in all). "
            "Give it one, or remove the subject from the values."
        )


def _compare(first: np.ndarray, second: np.ndarray, n_resamples: int, confidence: float, seed: int) -> dict[str, float]:
    result = dict.fromkeys(("difference", "hedges_g", "g_low", "g_high", "p"), np.nan)
    if min(len(first), len(second)) < MIN_SUBJECTS or np.ptp(np.concatenate([first, second])) == 0:
        return result
    result["difference"] = second.mean() - first.mean()
    result["hedges_g"] = float(hedges_g(first, second))
    sampling: dict[str, Any] = {"n_resamples": n_resamples, "vectorized": True, "axis": -1, "rng": seed}
    test = stats.permutation_test((first, second), lambda x, y, axis: y.mean(axis=axis) - x.mean(axis=axis), **sampling)
    result["p"] = float(test.pvalue)
    with warnings.catch_warnings():  # samples of equal values have no g: they are left out
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        sampled = stats.bootstrap((first, second), hedges_g, method="percentile", **sampling)
    drawn = sampled.bootstrap_distribution[np.isfinite(sampled.bootstrap_distribution)]
    if len(drawn):
        result["g_low"], result["g_high"] = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return result
