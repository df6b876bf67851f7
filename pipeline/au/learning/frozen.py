"""Heads on fixed inputs: linear (a logistic and a ridge regression per AU), and a network with one hidden layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor, nn

from tclr.pipeline.au.labelled import LabelledFrames
from tclr.pipeline.au.learning.training import HeadLoss, batches, positive_weights, train
from tclr.pipeline.au.readout import Hidden, Readout, column_scale
from tclr.pipeline.store import hold_out
from tclr.schemas.action_units import PRESENT
from tclr.schemas.config import FitAuConfig


def _fit(model: Any, x: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Fit a linear model on standardised columns; return its weight (D,) and bias for the raw ones."""
    mean, std = column_scale(x)
    model.fit((x - mean) / std, y, sample_weight=sample_weight)
    weight = np.ravel(model.coef_) / std
    return weight, float(np.ravel(model.intercept_)[0] - weight @ mean)


def fit_linear(frames: LabelledFrames, config: FitAuConfig) -> Readout:
    """Fit each AU on the frames where it is known.

    The logistic regression minimises ``mean loss + l2 / 2 |w|^2`` and the ridge regression ``mean squared error / 2 +
    l2 / 2 |w|^2``, so that the penalty does not fade as frames are added. With the loss ``weighted``, present frames
    are weighted by ``positive_weights``.

    Returns
    -------
    Readout
        NaN for an AU that is never present or never absent, and for the intensity of one whose intensity is unknown or
        always the same.
    """
    n_aus, dim = len(frames.names), frames.inputs.shape[1]
    present_weight = positive_weights(frames.labels) if config.loss == "weighted" else np.ones(n_aus)
    weight, intensity_weight = (np.full((n_aus, dim), np.nan) for _ in range(2))
    bias, intensity_bias = (np.full(n_aus, np.nan) for _ in range(2))
    for column, name in enumerate(frames.names):
        if frames.occurrence_known[column]:
            x, y = frames.known(name)
            each = np.where(y == PRESENT, present_weight[column], 1.0)
            occurrence = LogisticRegression(C=1 / (config.l2 * each.sum()), max_iter=1000)
            weight[column], bias[column] = _fit(occurrence, x, y, each)
        if frames.intensity_known[column]:
            known = np.isfinite(frames.intensities[:, column])
            x, y = frames.inputs[known], frames.intensities[known, column]
            intensity_weight[column], intensity_bias[column] = _fit(Ridge(alpha=config.l2 * len(y)), x, y)
    return Readout(
        weight.astype(np.float32),
        bias.astype(np.float32),
        intensity_weight.astype(np.float32),
        intensity_bias.astype(np.float32),
    )


def _fit_epochs(
    frames: LabelledFrames, held_out: LabelledFrames | None, n_epochs: int, config: FitAuConfig
) -> tuple[Readout, int]:
    mean, std = column_scale(frames.inputs)
    x = torch.from_numpy((frames.inputs - mean) / std)
    loss = HeadLoss.of(frames, config.loss)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        hidden = nn.Linear(x.shape[1], config.hidden_dim)
        outputs = nn.Linear(config.hidden_dim, 2 * len(frames.names))
        model = nn.Sequential(hidden, nn.ReLU(), nn.Dropout(config.dropout), outputs)
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        generator = torch.Generator().manual_seed(config.seed)

        def losses() -> Iterator[Tensor]:
            for index in batches(len(x), config.batch_size, generator):
                yield loss(model(x[index]), index)

        held_out_loss = None
        if held_out is not None:
            held_x = torch.from_numpy((held_out.inputs - mean) / std)
            held_loss = HeadLoss.of(held_out, config.loss, loss.positive_weight)
            everything = torch.arange(len(held_x))

            def held_out_loss() -> float:
                return held_loss(model(held_x), everything).item()

        best_epoch = train(model, optimizer, n_epochs, losses, held_out_loss)
    (weight, intensity_weight), (bias, intensity_bias) = (
        np.split(value.detach().numpy(), 2) for value in (outputs.weight, outputs.bias)
    )
    layer = Hidden(mean, std, hidden.weight.detach().numpy(), hidden.bias.detach().numpy())
    readout = Readout(weight, bias, intensity_weight, intensity_bias, layer)
    return readout.without(~frames.occurrence_known, ~frames.intensity_known), best_epoch


def fit_mlp(frames: LabelledFrames, config: FitAuConfig) -> Readout:
    """Fit the network on standardised inputs by AdamW, in two rounds.

    The first holds some subjects out and finds the number of epochs with the lowest loss on them; the second trains on
    all subjects for that many. The same frames and settings give the same weights.

    Returns
    -------
    Readout
        NaN for AUs that could not be learnt.
    """
    held_out = hold_out(frames.subjects, config.folds, config.seed)
    n_epochs = config.epochs
    if held_out.any():
        n_epochs = _fit_epochs(frames.take(~held_out), frames.take(held_out), n_epochs, config)[1]
    return _fit_epochs(frames, None, n_epochs, config)[0]
