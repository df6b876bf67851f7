"""Optimizer and learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from tclr.schemas.config import PretrainConfig


def make_optimizer(model: nn.Module, config: PretrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer of all parameters.

    AdamW decays only weights of two or more dimensions, thus neither norms nor biases. SGD decays all, as in the
    paper's trainer.
    """
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
    parameters = list(model.parameters())
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def learning_rate(step: int, steps_per_epoch: int, config: PretrainConfig) -> float:
    """Return the learning rate of a step, counted from 0 over the run. It has no state, so resuming is exact.

    It rises linearly during warm-up. Then it is constant, or falls along half a cosine to 0 at the end of the last
    epoch. Source of the cosine: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts.

    >>> config = PretrainConfig(epochs=2, learning_rate=1.0, warmup_epochs=1.0)
    >>> [round(learning_rate(step, 4, config), 2) for step in range(8)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step + 1 < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "constant":
        return config.learning_rate
    share = (step - warmup) / max(config.epochs * steps_per_epoch - warmup, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
