"""When actions happen, how far they go, and on which side."""

from __future__ import annotations

import numpy as np
import pytest

from tclr.pipeline.tools.people.actions import AUS, EMOTIONS, SYMMETRIC, plan_actions, resolve_conflicts


def plan_many(count=60, frames=75):
    return np.stack([plan_actions(frames, turn=turn, rng=np.random.default_rng(turn)) for turn in range(count)])


def test_plan_actions_is_within_range_and_repeats():
    plans = plan_many(8)
    assert plans.shape == (8, 75, len(AUS), 2)
    assert plans.min() >= 0 and plans.max() <= 1
    np.testing.assert_array_equal(plans, plan_many(8))


def test_every_action_occurs_and_none_all_the_time():
    share = (plan_many(120) >= 0.4).any(3).mean((0, 1))
    assert (share > 0.01).all() and (share < 0.5).all()


def test_most_actions_are_nearly_symmetric_and_some_one_sided():
    plans = plan_many(120)
    left, right = plans[..., 0], plans[..., 1]
    active = np.maximum(left, right) > 0.4
    apart = np.abs(left - right)[active]
    assert np.median(apart) < 0.15 and (apart > 0.35).mean() > 0.02
    columns = [AUS.index(au) for au in SYMMETRIC]
    np.testing.assert_allclose(left[..., columns], right[..., columns], atol=1e-6)


def test_actions_begin_and_end_smoothly():
    slow = [column for column, au in enumerate(AUS) if au not in (43, 18, 20, 22, 24, 25, 26, 28, 10)]
    steps = np.abs(np.diff(plan_many(30), axis=1))[:, :, slow]
    assert np.quantile(steps[steps > 0], 0.99) < 0.5


@pytest.mark.parametrize(("weak", "strong"), [(5, 43), (12, 15), (28, 26)])
def test_resolve_conflicts_keeps_the_stronger_of_two_that_undo_each_other(weak, strong):
    intensities = np.zeros((1, len(AUS), 2), np.float32)
    intensities[0, AUS.index(weak)], intensities[0, AUS.index(strong)] = 0.5, 0.9
    solved = resolve_conflicts(intensities)
    assert solved[0, AUS.index(strong)] == pytest.approx(0.9)
    assert (solved[0, AUS.index(weak)] == 0).all()


def test_emotions_are_of_labelled_actions():
    assert {au for event in EMOTIONS for au in event} <= set(AUS)
