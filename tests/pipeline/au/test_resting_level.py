"""A person's resting level, and the predictions that it moves."""

import numpy as np
import pytest

from tclr.pipeline.au import Prediction, RestingLevel, centre, resting_level
from tclr.pipeline.au.postprocess import common_level, quietest, to_logit


def prediction(probability, intensity):
    return Prediction(np.asarray(probability, np.float32), np.asarray(intensity, np.float32))


def test_resting_level_is_the_median_of_logits_and_intensities():
    p = [[0.1, 0.9], [0.5, 0.8], [0.6, np.nan]]
    level = resting_level(prediction(p, [[1, 0], [2, 0], [5, np.nan]]), share=1.0)
    np.testing.assert_allclose(level.logit, [0, np.median(np.log([9, 4]))], atol=1e-6)
    np.testing.assert_allclose(level.intensity, [2, 0])


def test_a_long_smile_is_not_taken_for_rest():
    rng = np.random.default_rng(0)
    smiling = np.arange(200) >= 40  # four fifths of the recording
    p = np.column_stack([np.where(smiling, 0.9, 0.2), np.full(200, 0.4)]) + rng.normal(0, 0.01, (200, 2))
    frames = prediction(p, 5 * p)
    assert (~smiling[quietest(frames)]).all() and len(quietest(frames)) == 20
    assert resting_level(frames).intensity[0] == pytest.approx(1, abs=0.2)
    assert resting_level(frames, share=1.0).intensity[0] == pytest.approx(4.5, abs=0.2)


def test_common_level_counts_each_person_once():
    p = np.concatenate([np.full((100, 1), 0.9), np.full((1, 1), 0.5), np.full((1, 1), 0.2)])
    subjects = np.array(["a"] * 100 + ["b", "c"])
    level = common_level(prediction(p, p), subjects)
    np.testing.assert_allclose([level.logit[0], level.intensity[0]], [0, 0.5], atol=1e-6)


def test_centred_predictions_have_the_common_median_and_keep_their_order():
    rng = np.random.default_rng(0)
    own = prediction(rng.random((101, 3)) * 0.5, 1 + 2 * rng.random((101, 3)))
    common = RestingLevel(np.array([-2, 0.5, 1], np.float32), np.array([0.5, 1.5, 2], np.float32))
    moved = centre(own, resting_level(own, 1.0), common)
    np.testing.assert_allclose(np.median(to_logit(moved.probability), axis=0), common.logit, atol=1e-4)
    np.testing.assert_allclose(np.median(moved.intensity, axis=0), common.intensity, atol=1e-5)
    np.testing.assert_array_equal(moved.probability.argsort(axis=0), own.probability.argsort(axis=0))


def test_unknown_levels_move_nothing_and_intensities_stay_in_range():
    own = prediction([[0.0, 1.0]], [[0.2, 4.9]])
    moved = centre(own, RestingLevel(*np.full((2, 2), np.nan)), RestingLevel(*np.ones((2, 2))))
    assert moved.probability[0] == pytest.approx([0, 1], abs=1e-5) and moved.intensity[0] == pytest.approx([0.2, 4.9])
    far = centre(own, RestingLevel(*np.zeros((2, 2))), RestingLevel(np.zeros(2), np.array([-3, 3])))
    assert far.intensity.tolist() == [[0, 5]]
