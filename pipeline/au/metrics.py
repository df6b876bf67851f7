"""How well predictions agree with labels: F1, accuracy, ROC-AUC, ICC(3,1), MAE, with intervals over subjects.

Frames of one person resemble each other, so intervals come from resampling *subjects* with replacement (Efron and
Tibshirani, An Introduction to the Bootstrap, 1993; percentile interval). Every metric is a function of sums over
subjects, so a resample only weighs them differently. Labels of -1 and intensities of NaN are unknown and do not count;
neither do missing predictions (-1 or NaN).

What cannot be measured is NaN and left out of means: F1 without a present label, ROC-AUC without both classes, ICC
where both raters are constant, everything without a known frame.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tclr.pipeline.au.labelled import LabelledFrames
from tclr.pipeline.au.readout import Prediction
from tclr.schemas.action_units import ABSENT, PRESENT, UNKNOWN

PERCENTILES = (2.5, 97.5)
"""Ends of the 95% interval."""


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return the quotient, NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=np.asarray(denominator) > 0)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean without NaNs, NaN if there is nothing else."""
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

    @classmethod
    def of(
        cls, frames: LabelledFrames, predicted: Prediction, au_names: Sequence[str], threshold: np.ndarray
    ) -> Outcomes:
        """Join predictions with labels, in one fold; AUs without a prediction or a label column are left aside.

        Parameters
        ----------
        frames : LabelledFrames
            N frames; its AUs become the columns.
        predicted : Prediction
            Of the N frames.
        au_names : sequence of str
            The AUs that are predicted.
        threshold : ndarray
            The probability from which each of them counts as present.
        """
        own = [place for place, name in enumerate(au_names) if name in frames.names]
        places = [frames.names.index(au_names[place]) for place in own]
        probability, intensity = (np.full(frames.labels.shape, np.nan, np.float32) for _ in range(2))
        probability[:, places], intensity[:, places] = predicted.probability[:, own], predicted.intensity[:, own]
        cut = np.full(len(frames.names), np.nan)
        cut[places] = threshold[own]
        decision = np.where(np.isnan(probability), UNKNOWN, probability >= cut).astype(np.int8)
        fold = np.zeros(len(frames), np.int64)
        return cls(frames.labels, decision, probability, frames.intensities, intensity, frames.subjects, fold)

    def take(self, mask: np.ndarray) -> Outcomes:
        """Return the outcomes of some frames, (N,) bool."""
        return Outcomes(**{name: values[mask] for name, values in vars(self).items()})

    @classmethod
    def join_folds(cls, parts: Sequence[Outcomes]) -> Outcomes:
        """Return the outcomes of all folds, which are numbered in their order."""
        joined = cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})
        return replace(joined, fold=np.repeat(np.arange(len(parts)), [len(part.label) for part in parts]))


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95% interval; NaN where it cannot be measured."""

    value: float
    low: float
    high: float

    @property
    def measured(self) -> float | None:
        """The value, ``None`` where it cannot be measured."""
        return self.value if math.isfinite(self.value) else None


@dataclass(frozen=True)
class MetricScores:
    """One metric: of each AU, in their order, and the mean over those AUs that could be measured."""

    aus: tuple[Estimate, ...]
    mean: Estimate


class _Subjects:
    """Sums values over the frames of each subject and fold; a subject of two folds counts in each with its frames."""

    def __init__(self, outcomes: Outcomes) -> None:
        subjects, self._subject = np.unique(outcomes.subject, return_inverse=True)
        folds, self.fold = np.unique(outcomes.fold, return_inverse=True)
        self.n_subjects, self.n_folds = max(len(subjects), 1), max(len(folds), 1)  # at least nobody, in no fold

    def sum(self, values: np.ndarray, fold: int | None) -> np.ndarray:
        """Return (S, A) sums of (N, A) values, of one fold or of all."""
        rows = slice(None) if fold is None else self.fold == fold
        sums = np.zeros((self.n_subjects, values.shape[1]))
        np.add.at(sums, self._subject[rows], values[rows])
        return sums

    def split(self, mask: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
        """Return the sorted values of each subject's frames in a mask."""
        order = np.lexsort((values[mask], self._subject[mask]))
        subject = self._subject[mask][order]
        return np.split(values[mask][order], np.searchsorted(subject, np.arange(1, self.n_subjects)))


Weighted = Callable[[np.ndarray, int | None], np.ndarray]
"""Returns (R, A) values of a metric, under (R, S) weights of the subjects, in one fold or in all."""


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
    """Return the area as the share of pairs of a present and an absent frame that are ranked correctly."""
    known = (outcomes.label != UNKNOWN) & np.isfinite(outcomes.probability)

    def area(weights: np.ndarray, fold: int | None) -> np.ndarray:
        inside = known if fold is None else known & (subjects.fold == fold)[:, None]
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
    """Return ICC(3,1) and MAE.

    ICC(3,1) is ``(BMS - EMS) / (BMS + EMS)`` with the mean squares between targets and of the error of the two-way
    table of two raters (Shrout and Fleiss, Psychological Bulletin, 1979).
    """
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
        Predictions and labels; without any frame, nothing can be measured.
    resamples : int
        Resamples of the subjects, the same for all metrics, AUs and their mean; 0 for no intervals. A single subject
        has no intervals either.
    seed : int
        Seed of the resamples.

    Returns
    -------
    dict
        By metric (``f1``, ``accuracy``, ``roc_auc``, ``icc_3_1``, ``mae``), then ``folds``: the mean over folds of the
        metric in each fold, and ``pooled``: the metric over the frames of all folds together.

    Examples
    --------
    >>> label, unknown = np.array([[1], [0], [1], [0]]), np.full((4, 1), np.nan)
    >>> outcomes = Outcomes(label, label, 0.5 * label, unknown, unknown, np.arange(4), np.zeros(4))
    >>> score(outcomes)["f1"]["pooled"].mean.value
    1.0
    """
    subjects = _Subjects(outcomes)
    n = subjects.n_subjects
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples if n > 1 else 0)
    weights = np.concatenate([np.ones((1, n)), drawn])
    f1, accuracy = _confusion(outcomes, subjects)
    icc, mae = _intensity(outcomes, subjects)
    metrics = {"f1": f1, "accuracy": accuracy, "roc_auc": _roc_auc(outcomes, subjects), "icc_3_1": icc, "mae": mae}
    scores: dict[str, dict[str, MetricScores]] = {}
    for name, metric in metrics.items():
        by_fold = np.stack([metric(weights, fold) for fold in range(subjects.n_folds)])
        values = {"folds": _mean(by_fold, axis=0)}
        values["pooled"] = values["folds"] if subjects.n_folds == 1 else metric(weights, None)
        scores[name] = {
            way: MetricScores(tuple(map(_estimate, of_aus.T)), _estimate(_mean(of_aus, axis=1)))
            for way, of_aus in values.items()
        }
    return scores
