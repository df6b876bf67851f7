"""Thresholds of AUs: the probability from which an AU counts as present, chosen on subjects of the training side.

Thresholds are chosen on out-of-fold predictions: each comes from a model that has not seen the person.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import precision_recall_curve

from tclr.schemas.action_units import PRESENT

DEFAULT_THRESHOLD = 0.5
"""Used without out-of-fold predictions to choose one on."""


def choose_threshold(probability: np.ndarray, label: np.ndarray) -> float:
    """Return the threshold of the highest F1 of (n,) probabilities with (n,) labels of 0 and 1; 0.5 without a 1.

    An AU is present where ``probability >= threshold``.
    """
    if not (label == PRESENT).any():
        return DEFAULT_THRESHOLD
    precision, recall, thresholds = precision_recall_curve(label, probability)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[int(np.argmax(f1[:-1]))])


def quiet_threshold(probability: np.ndarray, neutral: np.ndarray, share: float) -> float:
    """Return the lowest threshold at which at most a share, 0..1, of the neutral frames counts as present.

    ``probability`` and ``neutral`` (bool) are (n,). Without neutral frames it is 0: nothing is known.

    >>> quiet_threshold(np.array([0.1, 0.2, 0.3, 0.9]), np.array([True, True, True, False]), 0.34)
    0.3
    """
    ranked = np.sort(probability[neutral])[::-1]
    n_allowed = int(share * len(ranked))
    if n_allowed >= len(ranked):
        return 0.0
    higher = ranked[ranked > ranked[n_allowed]]
    return float(higher[-1]) if len(higher) else float(np.nextafter(ranked[n_allowed], np.inf))


def cross_threshold(probability: np.ndarray, label: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return (n,) 0/1 decisions, each with the threshold chosen on the other folds only."""
    decision = np.zeros(len(label), np.int8)
    for fold in np.unique(folds):
        inside = folds == fold
        decision[inside] = probability[inside] >= choose_threshold(probability[~inside], label[~inside])
    return decision
