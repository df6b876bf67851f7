"""Brightness and contrast of a face: those of its oval, whatever is around it."""

import numpy as np
import pytest

from tclr.pipeline.faces import measure_light, readable_share
from tclr.schemas.features import LEAST_CONTRAST


def halves(low, high, side=96):
    """A grey crop, dark on the left, bright on the right."""
    crop = np.full((side, side, 3), low, np.uint8)
    crop[:, side // 2 :] = high
    return crop


def test_light_of_two_halves_is_their_mean_and_half_their_difference():
    assert measure_light(halves(51, 153)) == pytest.approx((0.4, 0.2), abs=0.005)


@pytest.mark.parametrize("side", [32, 64, 100, 224])
def test_the_background_and_the_size_do_not_matter(side):
    crop = halves(51, 153, side)
    edge = side // 10
    crop[:edge], crop[:, :edge], crop[:, -edge:] = 255, 0, 255
    assert measure_light(crop) == pytest.approx((0.4, 0.2), abs=0.01)


def test_noise_is_no_contrast():
    noise = np.random.default_rng(0).normal(100, 20, (128, 128, 1)).clip(0, 255).astype(np.uint8)
    assert measure_light(noise.repeat(3, axis=2))[1] < 0.3 * 20 / 255


def test_readable_share_is_1_above_the_bound_and_falls_to_0():
    step = LEAST_CONTRAST * 255
    assert readable_share(halves(80, 80 + 3 * step)) == 1.0
    assert readable_share(halves(80, 80 + round(step))) == pytest.approx(0.5, abs=0.1)
    assert readable_share(halves(80, 80)) == pytest.approx(0, abs=1e-5)
