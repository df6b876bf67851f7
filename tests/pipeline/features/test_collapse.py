"""Embeddings that are nearly one point are named, as pretraining names them."""

import numpy as np
import pytest

from tclr.pipeline.features import collapse_warnings, measure_spread


def test_spread_is_that_of_random_directions_and_of_one_point():
    points = np.random.default_rng(0).normal(size=(4000, 64))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert measure_spread(points) == pytest.approx(1, abs=0.01)
    assert measure_spread(np.ones((9, 64))) == 0 == measure_spread(np.zeros((0, 0)))


@pytest.mark.parametrize(("n", "scale", "told"), [(250, 0.049, True), (249, 0.049, False), (250, 0.051, False)])
def test_collapse_is_said_below_a_spread_and_from_ten_seconds_on(n, scale, told):
    points = np.random.default_rng(1).normal(size=(n, 8))
    points *= scale / measure_spread(points)
    assert bool(collapse_warnings(points + 3)) == told
    assert not told or f"their spread is {scale}" in collapse_warnings(points)[0]
