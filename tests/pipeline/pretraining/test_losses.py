import numpy as np
import pytest
import torch

from tclr.pipeline.pretraining import ranked_pairs
from tclr.pipeline.pretraining.losses import aggregate_ranking_loss, anchor_distances


def slow_loss(embeddings, margin):
    """The paper's definition, term by term."""
    total = embeddings.new_zeros(())
    for frames in embeddings:
        anchor = frames[0]
        for nearer, farther in zip(frames[1:-1], frames[2:], strict=True):
            term = ((nearer - anchor) ** 2).sum() - ((farther - anchor) ** 2).sum() + margin
            if term > 0:
                total = total + term
    return total / len(embeddings)


@pytest.mark.parametrize("margin", [0.0, 0.03, 0.5])
def test_aggregate_ranking_loss_equals_a_slow_loop_in_value_and_gradient(margin):
    torch.manual_seed(0)
    values = torch.nn.functional.normalize(torch.randn(5, 12, 16, dtype=torch.float64), dim=2)
    fast, slow = (values.clone().requires_grad_() for _ in range(2))
    loss, expected = aggregate_ranking_loss(fast, margin), slow_loss(slow, margin)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(fast.grad, slow.grad)


def line(positions):
    return torch.tensor(positions, dtype=torch.float64)[None, :, None]


def test_aggregate_ranking_loss_of_known_positions():
    assert aggregate_ranking_loss(line([0, 1, 2, 3]), 0.5).item() == 0  # in order by more than the margin
    # distances 9, 4, 1: two pairs out of order by 5 and 3, each plus the margin
    assert aggregate_ranking_loss(line([0, 3, 2, 1]), 0.5).item() == pytest.approx(5 + 3 + 2 * 0.5)


def test_collapsed_embeddings_cost_the_margin_of_every_pair():
    assert aggregate_ranking_loss(torch.ones(3, 12, 8), 0.03).item() == pytest.approx(10 * 0.03)


def test_ranked_pairs_counts_ties_as_wrong():
    np.testing.assert_array_equal(ranked_pairs(line([0, 1, 2, 2, 1]))[0], [True, False, False])
    np.testing.assert_array_equal(anchor_distances(line([1, 0, 3]))[0], [1, 4])
