import numpy as np
import pytest

from tclr.pipeline.au import smooth


def slow(values, timestamps, smooth_s):
    out = np.full_like(values, np.nan)
    for i in range(len(values)):
        for column in range(values.shape[1]):
            if np.isnan(values[i, column]):
                continue
            total = weight = 0.0
            for j in range(len(values)):
                distance = abs(timestamps[j] - timestamps[i]) / smooth_s
                if distance <= 3 and not np.isnan(values[j, column]):
                    total += np.exp(-0.5 * distance**2) * values[j, column]
                    weight += np.exp(-0.5 * distance**2)
            out[i, column] = total / weight
    return out


@pytest.mark.parametrize("smooth_s", [0.02, 0.1, 10.0])
def test_smooth_is_the_weighted_mean_in_time_of_what_is_known(smooth_s):
    rng = np.random.default_rng(0)
    timestamps = np.cumsum(rng.choice([0.02, 0.04, 0.5], 60))  # a variable rate
    values = rng.random((60, 3)).astype(np.float32)
    values[rng.random((60, 3)) < 0.2] = np.nan
    values[20:25] = np.nan  # no face
    out = smooth(values, timestamps, smooth_s)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, slow(values, timestamps, smooth_s), atol=1e-6)


def test_gaps_are_neither_filled_nor_taken_for_zeros():
    values = np.full((30, 1), 0.8, np.float32)
    values[10:13] = np.nan
    out = smooth(values, np.arange(30) / 25, 0.1)
    assert np.isnan(out[10:13]).all()
    np.testing.assert_allclose(np.delete(out, [10, 11, 12]), 0.8, atol=1e-6)


def test_smooth_does_not_shift_a_peak_and_zero_leaves_everything():
    values = np.exp(-(((np.arange(50) - 25) / 4) ** 2))[:, None]
    out = smooth(values, np.arange(50) / 25, 0.1)
    assert out.argmax() == 25 and out.max() < values.max()
    assert smooth(values, np.arange(50) / 25, 0) is values
    assert smooth(values[:0], np.zeros(0), 0.1).shape == (0, 1)
