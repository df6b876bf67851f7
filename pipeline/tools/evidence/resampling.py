"""Figures with 95% intervals by resampling people or pictures (percentile bootstrap, Efron and Tibshirani 1993).

A figure in files is ``[value, low, high]``, each None where it cannot be measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tclr.pipeline.au import Estimate

RESAMPLES = 1000
Figure = list[float | None]
"""``[value, low, high]``."""
UNKNOWN: Figure = [None, None, None]


def draw_weights(n_units: int, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return (1 + R, n_units): how often each unit counts, first once each, then in each resample.

    A single unit has no resamples.
    """
    drawn = np.random.default_rng(seed).multinomial(
        n_units, np.full(n_units, 1 / max(n_units, 1)), resamples if n_units > 1 else 0
    )
    return np.concatenate([np.ones((1, n_units)), drawn])


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient, NaN where the denominator is not above 0."""
    quotient = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator > 0)


def mean_known(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis without NaNs, NaN where nothing is known."""
    return divide(np.nansum(values, axis=-1), np.isfinite(values).sum(axis=-1).astype(float))


def figure_of(values: np.ndarray) -> Figure:
    """Return the figure of (1 + R,) values: the first is of all units once, the others are of resamples."""
    resampled = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(resampled, (2.5, 97.5)) if len(resampled) else (np.nan, np.nan)
    return to_figure(Estimate(float(values[0]), float(low), float(high)))


def to_figure(estimate: Estimate) -> Figure:
    """Return an estimate as a figure."""
    numbers = estimate.value, estimate.low, estimate.high
    return [number if math.isfinite(number) else None for number in numbers]


def sum_by(units: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return (S, ...) sums of (N, ...) values over the frames of each of S units, in the order of ``np.unique``."""
    names, index = np.unique(units, return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums


def linear_fit(units: np.ndarray, truth: np.ndarray, guess: np.ndarray) -> dict[str, Figure]:
    """Return ``slope`` of the least-squares line of a guess on the truth, and Pearson's ``r``, over resampled units.

    ``units``, ``truth`` and ``guess`` are (N,), without NaN.
    """
    products = [np.ones(len(truth)), truth, guess, truth * truth, truth * guess, guess * guess]
    sums = draw_weights(len(np.unique(units))) @ sum_by(units, np.stack(products, axis=1))
    n, x, y, xx, xy, yy = sums.T
    spread_x, spread_y, common = (total - divide(a * b, n) for total, a, b in ((xx, x, x), (yy, y, y), (xy, x, y)))
    spread_x, spread_y = (np.where(spread > 1e-9 * n, spread, 0) for spread in (spread_x, spread_y))
    slope, r = divide(common, spread_x), divide(common, np.sqrt(spread_x * spread_y))
    return {"slope": figure_of(slope), "r": figure_of(r)}


def shares(known: np.ndarray, called: np.ndarray, names: Sequence[str]) -> dict[str, object]:
    """Return by AU how often it is called present, their mean, and the AU that is called most often.

    ``known`` and ``called`` are (S, A) counts of calls, and of those that say present, of S people.
    """
    weights = draw_weights(len(known))
    by_au = divide(weights @ called, weights @ known)
    result: dict[str, object] = {
        "aus": {name: figure_of(column) for name, column in zip(names, by_au.T, strict=True)},
        "mean": figure_of(mean_known(by_au)),
        "worst": None,
    }
    if np.isfinite(by_au[0]).any():
        worst = int(np.nanargmax(by_au[0]))
        result["worst"] = {"au": names[worst], "share": figure_of(by_au[:, worst])}
    return result
