import math

import pytest
import torch
from torch import nn

from tclr.pipeline.pretraining.optimisation import learning_rate, make_optimizer
from tclr.schemas.config import PretrainConfig


def rates(n_steps, **settings):
    config = PretrainConfig(**{"recipe": "paper", "learning_rate": 0.1, **settings})
    return [learning_rate(step, 10, config) for step in range(n_steps)]


def test_constant_rate_is_the_default():
    assert rates(30, epochs=3) == [0.1] * 30


def test_warm_up_rises_in_equal_steps_to_the_full_rate():
    assert rates(30, epochs=3, warmup_epochs=0.5) == pytest.approx([0.02, 0.04, 0.06, 0.08] + [0.1] * 26)


def test_cosine_falls_from_the_full_rate_after_the_warm_up_to_nearly_none():
    values = rates(40, epochs=4, schedule="cosine", warmup_epochs=1)
    assert values[9] == pytest.approx(0.1) and values[10] == pytest.approx(0.1)
    assert values[25] == pytest.approx(0.05)  # half way between step 10 and step 40
    assert values[39] == pytest.approx(0.05 * (1 + math.cos(math.pi * 29 / 30)))
    assert all(later < earlier for earlier, later in zip(values[10:], values[11:], strict=False))


def test_adamw_decays_weights_but_neither_norms_nor_biases():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = make_optimizer(model, PretrainConfig(optimizer="adamw", learning_rate=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in model.named_parameters():
        share = 0.95 if name in ("0.weight", "3.weight") else 1  # 1 - rate x decay, as there is no gradient
        torch.testing.assert_close(value.detach(), before[name] * share)


def test_sgd_decays_everything_as_torch_does():
    groups = make_optimizer(nn.BatchNorm2d(4), PretrainConfig(recipe="paper", weight_decay=0.5)).param_groups
    assert len(groups) == 1 and groups[0]["weight_decay"] == 0.5 and groups[0]["momentum"] == 0.9
