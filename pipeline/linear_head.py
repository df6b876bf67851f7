"""The linear head: one logistic regression an AU for its occurrence, one ridge regression for its intensity."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge

from tclr.pipeline.au_losses import positive_weights
from tclr.pipeline.labelled import LabelledFrames
from tclr.pipeline.readout import Readout, column_scale
from tclr.schemas.action_units import PRESENT
from tclr.schemas.config import FitAuConfig


def _fit(model: Any, x: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Return weight (D,) and bias of a linear model on standardised columns, in terms of the raw ones."""
    mean, std = column_scale(x)
    model.fit((x - mean) / std, y, sample_weight=sample_weight)
    weight = np.ravel(model.coef_) / std
    return weight, float(np.ravel(model.intercept_)[0] - weight @ mean)


def fit_linear(frames: LabelledFrames, config: FitAuConfig) -> Readout:
    """Fit each AU on the frames where it is known.

    The logistic regression minimises ``mean loss + l2 / 2 |w|^2`` and the ridge regression ``mean squared error / 2 +
    l2 / 2 |w|^2``, so that the penalty does not fade as frames are added. With the loss ``weighted``, present frames
    weigh as ``positive_weights`` says.

    Returns
    -------
    Readout
        NaN for an AU that is never present or never absent, and for the intensity of one whose intensity is unknown or
        always the same.
    """
    n_aus, dim = len(frames.names), frames.embeddings.shape[1]
    weighted = config.loss == "weighted"
    present_weight = positive_weights(frames.labels) if weighted else np.ones(n_aus)
    weight, bias = np.full((n_aus, dim), np.nan), np.full(n_aus, np.nan)
    intensity_weight, intensity_bias = weight.copy(), bias.copy()
    for column, name in enumerate(frames.names):
        if frames.occurrence_known[column]:
            x, y = frames.known(name)
            each = np.where(y == PRESENT, present_weight[column], 1.0)
            occurrence = LogisticRegression(C=1 / (config.l2 * each.sum()), max_iter=1000)
            weight[column], bias[column] = _fit(occurrence, x, y, each)
        if frames.intensity_known[column]:
            intensity = frames.intensities[:, column]
            known = np.isfinite(intensity)
            ridge = Ridge(alpha=config.l2 * known.sum())
            fitted = _fit(ridge, frames.embeddings[known], intensity[known])
            intensity_weight[column], intensity_bias[column] = fitted
    return Readout(
        weight.astype(np.float32),
        bias.astype(np.float32),
        intensity_weight.astype(np.float32),
        intensity_bias.astype(np.float32),
    )
