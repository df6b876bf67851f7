import math

import numpy as np
import pytest
import torch

from tclr.pipeline.au.learning.training import intensity_loss, occurrence_loss, positive_weights

LOGITS = torch.tensor([[2.0, -3.0], [-6.0, 0.5], [0.3, 1.0]])
LABELS = torch.tensor([[1.0, 0.0], [0.0, math.nan], [math.nan, 1.0]])
WEIGHTS = torch.tensor([3.0, 0.5])


def by_hand(kind):
    total, known = 0.0, 0
    for row in range(3):
        for column in range(2):
            y, p = LABELS[row, column].item(), 1 / (1 + math.exp(-LOGITS[row, column].item()))
            if math.isnan(y):
                continue
            known += 1
            if kind == "asymmetric":
                q = max(p - 0.05, 0)
                total += -math.log(p) if y else -(q**4) * math.log(1 - q)
            else:
                weight = WEIGHTS[column].item() if kind == "weighted" else 1
                total += -weight * math.log(p) if y else -math.log(1 - p)
    return total / known


@pytest.mark.parametrize("kind", ["bce", "weighted", "asymmetric"])
def test_occurrence_loss_is_the_formula_over_known_labels(kind):
    assert occurrence_loss(LOGITS, LABELS, kind, WEIGHTS).item() == pytest.approx(by_hand(kind), rel=1e-5)


@pytest.mark.parametrize("kind", ["bce", "weighted", "asymmetric"])
def test_unknown_labels_move_nothing(kind):
    logits = LOGITS.clone().requires_grad_()
    occurrence_loss(logits, LABELS, kind, WEIGHTS).backward()
    still = logits.grad == 0
    expected = torch.isnan(LABELS)
    if kind == "asymmetric":
        expected = expected | ((LABELS == 0) & (torch.sigmoid(LOGITS) < 0.05))  # easy absent frames
    assert torch.equal(still, expected)
    nothing = torch.full((3, 2), math.nan)
    assert occurrence_loss(LOGITS, nothing, kind, WEIGHTS) == 0 and intensity_loss(LOGITS, nothing) == 0


def test_intensity_loss_is_the_mean_squared_error_of_what_is_known():
    assert intensity_loss(LOGITS, LABELS).item() == pytest.approx(np.nanmean((LOGITS - LABELS).numpy() ** 2), rel=1e-6)


def test_positive_weights_balance_classes_up_to_a_limit():
    labels = np.array([[1, 1, 0, -1]] + [[0, 1, 0, -1]] * 3 + [[-1, 0, 0, 1]], np.int8)
    np.testing.assert_allclose(positive_weights(labels), [3, 0.25, 5, 0.1])
    rare = np.zeros((200, 1), np.int8)
    rare[0] = 1
    assert positive_weights(rare) == 10
