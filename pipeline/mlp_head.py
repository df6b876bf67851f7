"""The MLP head: one hidden layer on the frozen embedding, all AUs at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from tclr.pipeline.head_training import HeadLoss, batches, train
from tclr.pipeline.labelled import LabelledFrames
from tclr.pipeline.readout import Hidden, Readout, column_scale
from tclr.pipeline.thresholds import hold_out
from tclr.schemas.config import FitAuConfig


def _fit_epochs(
    frames: LabelledFrames, held_out: LabelledFrames | None, n_epochs: int, config: FitAuConfig
) -> tuple[Readout, int]:
    mean, std = column_scale(frames.embeddings)
    x = torch.from_numpy((frames.embeddings - mean) / std)
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
            held_x = torch.from_numpy((held_out.embeddings - mean) / std)
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
    """Fit the MLP on standardised embeddings, by AdamW, in two rounds.

    The first holds some of the subjects out and finds after how many epochs the loss on them is lowest, the second
    trains on all subjects for that many. The same frames and settings give the same weights.

    Returns
    -------
    Readout
        NaN for what could not be learnt.
    """
    held_out = hold_out(frames.subjects, config.folds, config.seed)
    n_epochs = config.epochs
    if held_out.any():
        n_epochs = _fit_epochs(frames.take(~held_out), frames.take(held_out), n_epochs, config)[1]
    return _fit_epochs(frames, None, n_epochs, config)[0]
