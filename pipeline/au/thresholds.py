"""Thresholds of AUs: the probability from which an AU counts as present, chosen on subjects of the training side.

Predictions on which a threshold is chosen are out of fold: each comes from a model that has not seen the person.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import precision_recall_curve

from tclr.schemas.action_units import PRESENT

DEFAULT_THRESHOLD = 0.5
"""Used where there are no out-of-fold predictions to choose one on."""


def choose_threshold(probability: np.ndarray, label: np.ndarray) -> float:
    """Return the threshold of the highest F1 (present is ``probability >= threshold``); 0.5 without a positive.

    Parameters
    ----------
    probability : ndarray
        (n,) float, 0..1.
    label : ndarray
        (n,) 0 or 1.
    """
    if not (label == PRESENT).any():
        return DEFAULT_THRESHOLD
    precision, recall, thresholds = precision_recall_curve(label, probability)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[int(np.argmax(f1[:-1]))])


def cross_threshold(probability: np.ndarray, label: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return (n,) 0/1 decisions, each with the threshold chosen on the other folds only."""
    decision = np.zeros(len(label), np.int8)
    for fold in np.unique(folds):
        inside = folds == fold
        decision[inside] = probability[inside] >= choose_threshold(probability[~inside], label[~inside])
    return decision
