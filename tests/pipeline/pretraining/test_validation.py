import json
import math

import cv2
import numpy as np
import pytest
import torch

from tclr.pipeline.pretraining.validation import (
    distance_curve,
    effective_rank,
    held_out_metrics,
    spread,
    write_distances,
)


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


def test_distance_curve_has_a_point_a_time_with_its_quartiles():
    generator = np.random.default_rng(0)
    angles = np.cumsum(np.concatenate([np.zeros((200, 1)), generator.uniform(0, 0.2, (200, 3))], axis=1), axis=1)
    embeddings, seconds = on_arc(angles), torch.tensor([0, 0.04, 0.08, 0.12]).expand(200, 4)
    curve = distance_curve(embeddings, seconds)
    distances = (2 * np.sin(angles / 2)) ** 2  # of the chord
    assert curve["seconds"] == pytest.approx([0.04, 0.08, 0.12]) and curve["n"] == [200] * 3
    np.testing.assert_allclose(curve["mean"], distances[:, 1:].mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(curve["q25"], np.quantile(distances[:, 1:], 0.25, axis=0), rtol=1e-3)
    np.testing.assert_allclose(curve["q75"], np.quantile(distances[:, 1:], 0.75, axis=0), rtol=1e-3)


def test_distance_curve_of_many_times_has_bins_of_equal_size():
    seconds = torch.rand(300, 9, generator=torch.Generator().manual_seed(0)).sort(dim=1).values
    curve = distance_curve(unit(300, 9, 8), seconds)
    assert len(curve["seconds"]) == 24 and curve["seconds"] == sorted(curve["seconds"])
    assert sum(curve["n"]) == 300 * 8 and max(curve["n"]) - min(curve["n"]) <= 2


def test_distances_are_drawn_and_written(tmp_path):
    seconds = torch.tensor([0, 0.04, 0.08]).expand(50, 3)
    curves = {"trained": distance_curve(unit(50, 3, 8), seconds), "before": distance_curve(unit(50, 3, 8, 1), seconds)}
    write_distances(tmp_path, curves)
    assert json.loads((tmp_path / "distance.json").read_text()) == curves
    assert cv2.imread(str(tmp_path / "distance.png")).std() > 5
