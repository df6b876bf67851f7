"""How an action divides between the sides of a face."""

import numpy as np

from tclr.pipeline.au.sides import divide


def test_the_mean_over_both_sides_is_the_whole_and_the_side_that_shows_more_has_more():
    intensity = np.array([[0.0, 1.0, 2.0]])
    sides = divide(intensity, np.array([[5.0, 0.5, -0.5]]))
    np.testing.assert_allclose(sides.mean(axis=1), intensity, atol=1e-6)
    assert sides[0, :, 0].tolist() == [0, 0]
    assert sides[0, 0, 1] > sides[0, 1, 1] and sides[0, 0, 2] < sides[0, 1, 2]


def test_intensities_stay_in_range_and_unknown_stays_unknown():
    sides = divide(np.array([[4.0, np.nan]]), np.array([[9.0, 1.0]]))
    assert sides[0, :, 0].tolist() == [5, 3] and np.isnan(sides[0, :, 1]).all()
