"""AU45: closures of the eyes that last no longer than a blink."""

import numpy as np
import pytest

from tclr.pipeline.au.blinks import LONGEST_S, add_blinks, is_blink
from tclr.pipeline.au.readout import Prediction


def closures(pattern):
    return np.array([letter == "x" for letter in pattern])


def test_short_closures_are_blinks_and_long_ones_are_not():
    closed = closures("..xxx....xxxxxxxxxxxxxxxx..x")
    blink = is_blink(closed, np.arange(len(closed)) / 25)
    assert blink.tolist() == closures("..xxx......................x").tolist()


@pytest.mark.parametrize("fps", [10, 25, 100])
def test_duration_is_in_seconds_whatever_the_frame_rate(fps):
    for seconds, expected in ((LONGEST_S - 0.1, True), (LONGEST_S + 0.1, False)):
        closed = np.zeros(2 * fps, bool)
        closed[5 : 5 + round(seconds * fps)] = True
        assert is_blink(closed, np.arange(len(closed)) / fps)[5] == expected


def test_au45_is_au43_but_nought_while_the_eyes_stay_closed():
    closed = closures(".x." + 20 * "x" + ".")
    probability = np.where(closed, 0.9, 0.1).astype(np.float32)
    predicted = Prediction(probability[:, None], 5 * probability[:, None], np.full((len(closed), 2, 1), 2, np.float32))
    added = add_blinks(predicted, 0, 0.5, np.arange(len(closed)) / 25)
    np.testing.assert_array_equal(added.probability[:, 0], probability)
    assert added.probability[:3, 1].tolist() == probability[:3].tolist() and (added.probability[3:-1, 1] == 0).all()
    assert added.intensity[1, 1] == pytest.approx(4.5) and (added.sides[3:-1, :, 1] == 0).all()


def test_blinks_of_stills_are_unknown_and_gaps_stay_unknown():
    predicted = Prediction(np.array([[0.9], [np.nan]], np.float32), np.array([[4.0], [np.nan]], np.float32))
    assert np.isnan(add_blinks(predicted, 0, 0.5, None).probability[:, 1]).all()
    added = add_blinks(predicted, 0, 0.5, np.array([0.0, 0.04]))
    assert added.probability[0, 1] == pytest.approx(0.9) and np.isnan(added.probability[1, 1])
