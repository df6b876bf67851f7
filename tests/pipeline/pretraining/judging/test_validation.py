import math

import pytest
import torch

from tclr.pipeline.pretraining.judging.validation import effective_rank, held_out_metrics, spread


def unit(n_tuples, n_frames, dim, seed=0):
    x = torch.randn(n_tuples, n_frames, dim, generator=torch.Generator().manual_seed(seed))
    return x / x.norm(dim=2, keepdim=True)


def on_arc(angles):
    """Embeddings on a circle, (B, F, 2), at angles in radians from the anchor."""
    angles = torch.tensor(angles, dtype=torch.float32)
    return torch.stack([angles.cos(), angles.sin()], dim=2)


def test_spread_is_one_for_random_directions_and_none_for_one_point():
    assert spread(unit(400, 5, 64)) == pytest.approx(1, abs=0.01)
    assert spread(unit(1, 1, 64).expand(40, 5, 64)) == pytest.approx(0, abs=1e-5)


def test_effective_rank_counts_the_dimensions_that_are_used():
    x = torch.zeros(500, 4, 16)
    x[..., :3] = torch.randn(500, 4, 3, generator=torch.Generator().manual_seed(0))
    assert effective_rank(x) == pytest.approx(3, abs=0.05)
    x[..., 1:3] = 0
    assert effective_rank(x) == pytest.approx(1, abs=1e-3)
    # singular values 2 and 1: exp of the entropy of (2/3, 1/3)
    two = torch.tensor([[2.0, 0], [-2, 0], [0, 1], [0, -1]])[:, None]
    assert effective_rank(two) == pytest.approx(math.exp(-(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3)))


def test_accuracy_is_told_by_pair_and_by_seconds_of_the_farther_frame():
    embeddings = on_arc([[0, 0.1, 0.2, 0.15], [0, 0.2, 0.1, 0.3]])  # pairs in order: yes no; no yes
    seconds = torch.tensor([[0, 0.04, 0.08, 0.12], [0, 0.4, 0.8, 1.2]])
    seen = held_out_metrics(embeddings, seconds)
    assert seen["val_accuracy"] == 0.5 and seen["val_accuracy_by_pair"] == [0.5, 0.5]
    assert seen["val_accuracy_by_seconds"] == {"0.05-0.1": 1.0, "0.1-0.2": 0.0, "0.5-1": 0.0, "1-2": 1.0}
    assert set(seen) >= {"embedding_std", "effective_rank"}
