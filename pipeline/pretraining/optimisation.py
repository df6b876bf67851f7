"""How weights move: optimizer and learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from tclr.schemas.config import PretrainConfig


def make_optimizer(model: nn.Module, config: PretrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer of all parameters.

    AdamW decays only weights of two or more dimensions, not those of norms nor biases; SGD all, as the paper's trainer
    would.
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
    """Return the learning rate of a step, counted from 0 over the run: by its number alone, so that resuming is exact.

    It rises linearly in the warm-up, then is constant, or half a cosine down to 0 after the last epoch. Source of the
    cosine: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step + 1 < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "constant":
        return config.learning_rate
    share = (step - warmup) / max(config.epochs * steps_per_epoch - warmup, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
