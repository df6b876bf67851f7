import json

import cv2
import numpy as np
import pytest
import torch

from tclr.pipeline.pretraining.judging.distances import distance_curve, write_distances


def on_arc(squared):
    """Embeddings on a circle, (B, F, 2), at squared distances (B, F) from the anchor, at most 4."""
    angles = 2 * torch.arcsin(torch.as_tensor(np.asarray(squared, float)).sqrt() / 2)
    return torch.stack([angles.cos(), angles.sin()], dim=2)


def times(step_s, n_frames):
    return step_s * np.arange(n_frames)


def test_curve_has_a_point_per_time_with_its_quartiles():
    generator = np.random.default_rng(0)
    squared = np.cumsum(np.concatenate([np.zeros((200, 1)), generator.uniform(0, 0.2, (200, 3))], axis=1), axis=1)
    curve = distance_curve(on_arc(squared), torch.tensor([0, 0.04, 0.08, 0.12]).expand(200, 4))
    assert curve["seconds"] == pytest.approx([0.04, 0.08, 0.12]) and curve["n"] == [200] * 3
    np.testing.assert_allclose(curve["mean"], squared[:, 1:].mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(curve["q25"], np.quantile(squared[:, 1:], 0.25, axis=0), rtol=1e-3)
    np.testing.assert_allclose(curve["q75"], np.quantile(squared[:, 1:], 0.75, axis=0), rtol=1e-3)


@pytest.mark.parametrize("fast_rate", [30, 50, 60, 100])
def test_clips_of_two_frame_rates_give_one_curve(fast_rate):
    """People in fast clips move three times as far in a second: a curve of both rises by 2 a second, without teeth."""
    seconds = np.stack([times(1 / rate, 8) for rate in (25, fast_rate) for _ in range(20)])
    speed = np.repeat([1.0, 3.0], 20)[:, None]
    curve = distance_curve(on_arc(speed * seconds), torch.from_numpy(seconds))
    assert curve["n"] == [40] * 7 and curve["seconds"][-1] == pytest.approx(7 / fast_rate)
    np.testing.assert_allclose(curve["mean"], 2 * np.array(curve["seconds"]), rtol=1e-3)
    np.testing.assert_allclose(curve["q25"], 1 * np.array(curve["seconds"]), rtol=1e-3)


def test_a_few_short_tuples_do_not_shorten_the_curve():
    seconds = np.stack([times(0.04, 6)] * 19 + [times(0.01, 6)])
    curve = distance_curve(on_arc(seconds), torch.from_numpy(seconds))
    assert curve["seconds"][-1] == pytest.approx(0.2) and curve["n"][-1] == 19


def test_rounding_of_a_container_is_no_other_frame_rate():
    seconds = np.round(np.stack([times(1 / 30, 6), times(1 / 30, 6) + 0.0006]), 3)
    seconds[:, 0] = 0
    assert len(distance_curve(on_arc(seconds), torch.from_numpy(seconds))["seconds"]) == 5


def test_times_before_the_anchor_count_by_their_distance():
    seconds = times(0.04, 4)
    curve = distance_curve(on_arc([seconds, seconds]), torch.from_numpy(np.stack([seconds, -seconds])))
    assert curve["seconds"] == pytest.approx([0.04, 0.08, 0.12])


def test_distances_are_drawn_and_written(tmp_path):
    seconds = torch.tensor([0, 0.04, 0.08]).expand(50, 3)
    squared = np.random.default_rng(0).uniform(0, 2, (2, 50, 3)) * (0, 1, 1)
    curves = {
        name: distance_curve(on_arc(own), seconds) for name, own in zip(("trained", "before"), squared, strict=True)
    }
    write_distances(tmp_path, curves)
    assert json.loads((tmp_path / "distance.json").read_text()) == curves
    assert cv2.imread(str(tmp_path / "distance.png")).std() > 5
