"""How well predictions agree with labels: F1, accuracy, ROC-AUC, ICC(3,1), MAE, with intervals over subjects.

Frames of one person resemble each other, so intervals come from resampling *subjects* with replacement (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993; percentile interval). Every metric is a function of sums over
subjects, so a resample only weighs them anew. Labels of -1 and intensities of NaN are unknown and count nowhere; so
does a prediction that is missing (-1 or NaN).

What cannot be measured is NaN and left out of means: F1 without a present label, ROC-AUC without both classes, ICC
where both raters are constant, everything without a known frame.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tclr.schemas.action_units import ABSENT, PRESENT, UNKNOWN

PERCENTILES = (2.5, 97.5)
"""Ends of the 95% interval."""


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient, NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) > 0)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of what is not NaN, NaN if nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy warns of a mean of nothing, which is NaN as wanted
        return np.nanmean(values, axis=axis)


@dataclass(frozen=True)
class Outcomes:
    """What was predicted and what is true, frame by frame, for A Action Units.

    ``label``, ``decision`` (N, A) int8: 1 present, 0 absent, -1 unknown or not predicted; ``probability`` (N, A) 0..1,
    NaN where not predicted; ``intensity_label``, ``intensity`` (N, A) 0..5, NaN where unknown or not predicted;
    ``subject`` (N,), ``fold`` (N,) of any type that can be compared.
    """

    label: np.ndarray
    decision: np.ndarray
    probability: np.ndarray
    intensity_label: np.ndarray
    intensity: np.ndarray
    subject: np.ndarray
    fold: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95% interval; NaN where it cannot be measured."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricScores:
    """One metric: of each AU, in their order, and the mean over those AUs that could be measured."""

    aus: tuple[Estimate, ...]
    mean: Estimate


class _Subjects:
    """Sums values over the frames of each subject and fold; a subject of two folds counts in each with its frames."""

    def __init__(self, outcomes: Outcomes) -> None:
        subjects, self._subject = np.unique(outcomes.subject, return_inverse=True)
        folds, self._fold = np.unique(outcomes.fold, return_inverse=True)
        self.n_subjects, self.n_folds = len(subjects), len(folds)

    def rows(self, fold: int) -> np.ndarray:
        return self._fold == fold

    def sum(self, values: np.ndarray, fold: int | None) -> np.ndarray:
        """Return (S, A) sums of (N, A) values, of one fold or of all."""
        rows = slice(None) if fold is None else self.rows(fold)
        sums = np.zeros((self.n_subjects, values.shape[1]))
        np.add.at(sums, self._subject[rows], values[rows])
        return sums

    def split(self, mask: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
        """Return the sorted values of each subject's frames in a mask."""
        order = np.lexsort((values[mask], self._subject[mask]))
        subject = self._subject[mask][order]
        return np.split(values[mask][order], np.searchsorted(subject, np.arange(1, self.n_subjects)))


Weighted = Callable[[np.ndarray, int | None], np.ndarray]
"""Gives (R, A) values of a metric, under (R, S) weights of the subjects, in one fold or in all."""


def _confusion(outcomes: Outcomes, subjects: _Subjects) -> tuple[Weighted, Weighted]:
    """Return F1 and accuracy."""
    known = (outcomes.label != UNKNOWN) & (outcomes.decision != UNKNOWN)
    present, called = known & (outcomes.label == PRESENT), known & (outcomes.decision == PRESENT)

    def f1(weights: np.ndarray, fold: int | None) -> np.ndarray:
        hits, labelled, positive = (weights @ subjects.sum(mask, fold) for mask in (present & called, present, called))
        return np.where(labelled > 0, _divide(2 * hits, labelled + positive), np.nan)

    def accuracy(weights: np.ndarray, fold: int | None) -> np.ndarray:
        right = known & (present == called)
        return _divide(weights @ subjects.sum(right, fold), weights @ subjects.sum(known, fold))

    return f1, accuracy


def _pairs_won(positive: list[np.ndarray], negative: list[np.ndarray]) -> np.ndarray:
    """Return (S, S): how many of subject i's positives lie above subject j's negatives; ties count half."""
    owner = np.repeat(np.arange(len(positive)), [len(values) for values in positive])
    values = np.concatenate(positive)
    order = np.argsort(values)
    won = np.zeros((len(positive), len(negative)))
    for column, others in enumerate(negative):
        below = np.searchsorted(others, values[order], "left") + np.searchsorted(others, values[order], "right")
        won[:, column] = np.bincount(owner[order], below / 2, len(positive))
    return won


def _roc_auc(outcomes: Outcomes, subjects: _Subjects) -> Weighted:
    """Return the area as the share of pairs of a present and an absent frame that are ranked rightly."""
    known = (outcomes.label != UNKNOWN) & np.isfinite(outcomes.probability)

    def area(weights: np.ndarray, fold: int | None) -> np.ndarray:
        inside = known if fold is None else known & subjects.rows(fold)[:, None]
        areas = np.full((len(weights), known.shape[1]), np.nan)
        for column, probability in enumerate(outcomes.probability.T):
            positive, negative = (
                subjects.split(inside[:, column] & (outcomes.label[:, column] == code), probability)
                for code in (PRESENT, ABSENT)
            )
            n_pairs = np.prod([weights @ [len(values) for values in side] for side in (positive, negative)], axis=0)
            won = np.einsum("rs,rs->r", weights @ _pairs_won(positive, negative), weights)
            areas[:, column] = _divide(won, n_pairs)
        return areas

    return area


def _intensity(outcomes: Outcomes, subjects: _Subjects) -> tuple[Weighted, Weighted]:
    """Return ICC(3,1) and MAE; see ``icc_3_1``."""
    known = np.isfinite(outcomes.intensity_label) & np.isfinite(outcomes.intensity)
    truth, guess = (
        np.where(known, values.astype(np.float64) - 2.5, 0)  # near 0, so that squares lose no digits
        for values in (outcomes.intensity_label, outcomes.intensity)
    )

    def icc(weights: np.ndarray, fold: int | None) -> np.ndarray:
        def total(values: np.ndarray) -> np.ndarray:
            return weights @ subjects.sum(values, fold)

        n, both, apart = total(known), truth + guess, truth - guess
        between = total(both**2) - _divide(total(both) ** 2, n)  # n - 1 times twice the mean square between targets
        error = total(apart**2) - _divide(total(apart) ** 2, n)
        spread = between + error
        return np.where((n > 1) & (spread > 1e-9 * n), _divide(between - error, spread), np.nan)

    def mae(weights: np.ndarray, fold: int | None) -> np.ndarray:
        return _divide(weights @ subjects.sum(np.abs(truth - guess), fold), weights @ subjects.sum(known, fold))

    return icc, mae


def metrics_of(outcomes: Outcomes, subjects: _Subjects) -> dict[str, Weighted]:
    """Return all metrics by name, in the order of tables."""
    f1, accuracy = _confusion(outcomes, subjects)
    icc, mae = _intensity(outcomes, subjects)
    return {"f1": f1, "accuracy": accuracy, "roc_auc": _roc_auc(outcomes, subjects), "icc_3_1": icc, "mae": mae}


def _estimate(values: np.ndarray) -> Estimate:
    """Return the estimate of (1 + R,) values: the first is of all subjects once, the others are resamples."""
    resampled = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(resampled, PERCENTILES) if len(resampled) else (np.nan, np.nan)
    return Estimate(float(values[0]), float(low), float(high))


def score(outcomes: Outcomes, *, resamples: int = 1000, seed: int = 0) -> dict[str, dict[str, MetricScores]]:
    """Score predictions, with intervals.

    Parameters
    ----------
    outcomes : Outcomes
        Predictions and labels of at least one frame.
    resamples : int
        Resamples of the subjects, the same for all metrics, AUs and their mean; 0 for no intervals. There are none with
        a single subject either.
    seed : int
        Seed of the resamples.

    Returns
    -------
    dict
        By metric (``f1``, ``accuracy``, ``roc_auc``, ``icc_3_1``, ``mae``), then ``folds``: the mean over folds of the
        metric in each fold, and ``pooled``: the metric over the frames of all folds together.
    """
    subjects = _Subjects(outcomes)
    n = subjects.n_subjects
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples if n > 1 else 0)
    weights = np.concatenate([np.ones((1, n)), drawn])
    scores: dict[str, dict[str, MetricScores]] = {}
    for name, metric in metrics_of(outcomes, subjects).items():
        by_fold = np.stack([metric(weights, fold) for fold in range(subjects.n_folds)])
        values = {"folds": _mean(by_fold, axis=0)}
        values["pooled"] = values["folds"] if subjects.n_folds == 1 else metric(weights, None)
        scores[name] = {
            way: MetricScores(tuple(map(_estimate, of_aus.T)), _estimate(_mean(of_aus, axis=1)))
            for way, of_aus in values.items()
        }
    return scores


def _single(**columns: np.ndarray) -> Outcomes:
    """Return the outcomes of one AU and one subject; columns that are not given are unknown."""
    n = len(next(iter(columns.values())))
    codes, numbers = np.full(n, UNKNOWN, np.int8), np.full(n, np.nan)
    empty = {"label": codes, "decision": codes} | dict.fromkeys(
        ("probability", "intensity_label", "intensity"), numbers
    )
    shaped = {name: np.asarray(values)[:, None] for name, values in (empty | columns).items()}
    return Outcomes(**shaped, subject=np.zeros(n), fold=np.zeros(n))


def _measure(name: str, outcomes: Outcomes) -> float:
    subjects = _Subjects(outcomes)
    return float(metrics_of(outcomes, subjects)[name](np.ones((1, 1)), None)[0, 0])


def f1(label: np.ndarray, decision: np.ndarray) -> float:
    """Return F1 of (n,) labels and decisions, 1, 0 or -1 for unknown; NaN if no label is 1."""
    return _measure("f1", _single(label=label, decision=decision))


def accuracy(label: np.ndarray, decision: np.ndarray) -> float:
    """Return the share of (n,) decisions that are right; NaN if no label is known."""
    return _measure("accuracy", _single(label=label, decision=decision))


def roc_auc(label: np.ndarray, probability: np.ndarray) -> float:
    """Return the area under the ROC curve of (n,) labels and probabilities; NaN without both classes."""
    return _measure("roc_auc", _single(label=label, probability=probability))


def icc_3_1(intensity_label: np.ndarray, intensity: np.ndarray) -> float:
    """Return the intraclass correlation ICC(3,1) of two raters, (n,) 0..5, NaN unknown.

    ``(BMS - EMS) / (BMS + EMS)`` with the mean squares between targets and of the error of the two-way table (Shrout
    and Fleiss, Psychological Bulletin, 1979). NaN with fewer than two frames, or if both raters are constant.
    """
    return _measure("icc_3_1", _single(intensity_label=intensity_label, intensity=intensity))


def mae(intensity_label: np.ndarray, intensity: np.ndarray) -> float:
    """Return the mean absolute error of (n,) intensities, NaN unknown; NaN if none is known."""
    return _measure("mae", _single(intensity_label=intensity_label, intensity=intensity))
