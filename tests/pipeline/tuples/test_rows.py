import numpy as np
import pytest

from tclr.pipeline.tuples.rows import (
    ClipTimes,
    Spacing,
    draw_rows,
    find_anchors,
    find_runs,
    fixed_rows,
    follows_on,
    nearest_rows,
    tuple_offsets,
)
from tclr.schemas.config import PretrainConfig

IN_SECONDS = {"spacing_min_s": 0.04, "spacing_max_s": 0.5}


def clip(timestamp, breaks=()):
    """A clip whose runs end before the rows ``breaks``."""
    edges = [0, *breaks, len(timestamp)]
    return ClipTimes(np.asarray(timestamp, float), np.stack([edges[:-1], edges[1:]], axis=1))


def settings(**changes):
    return PretrainConfig(**{"recipe": "paper", "n_following": 4, **changes})


def draws(n, seed=0):
    return np.random.default_rng(seed).random((n, 3))


def test_tuple_offsets_are_anchor_sibling_and_the_following():
    np.testing.assert_array_equal(tuple_offsets(1, 10), np.arange(12))
    np.testing.assert_array_equal(tuple_offsets(3, 3), [0, 1, 4, 7, 10])
    np.testing.assert_allclose(tuple_offsets(0.2, 2, 0.04), [0, 0.04, 0.24, 0.44])


def slow_anchors(follows, face, span):
    return [
        row
        for row in range(len(face) - span)
        if all(face[row : row + span + 1]) and all(follows[row + 1 : row + span + 1])
    ]


def test_find_anchors_equals_a_slow_search_and_never_bridges_a_gap():
    rng = np.random.default_rng(0)
    for _ in range(50):
        number = np.flatnonzero(rng.random(60) < 0.95) + 10
        face = rng.random(len(number)) < 0.93
        follows = follows_on(number / 25, np.zeros(len(number)))
        np.testing.assert_array_equal(follows[1:], np.diff(number) == 1)
        runs = find_runs(follows, face)
        for span in (1, 3, 9):
            expected = slow_anchors(follows, face, span)
            assert find_anchors(np.arange(len(number)), runs, span, 2).tolist() == expected
            assert find_anchors(number / 25, runs, span / 25, 2).tolist() == expected


def test_resampled_clips_count_as_whole():
    assert follows_on(np.arange(20) * 2 / 25, np.zeros(20))[1:].all()  # every second frame of 25/s
    for n in (0, 1):
        assert follows_on(np.zeros(n), np.zeros(n)).tolist() == [False] * n


def test_runs_end_at_cuts_gaps_and_frames_without_a_face():
    track, face = np.repeat([0, 1], 10), np.ones(20, bool)
    follows = follows_on(np.arange(20) / 25, track)
    assert find_runs(follows, face).tolist() == [[0, 10], [10, 20]]
    face[[4, 19]] = False
    assert find_runs(follows, face).tolist() == [[0, 4], [5, 10], [10, 19]]
    assert find_runs(follows, np.zeros(20, bool)).shape == (0, 2)


def test_frames_are_the_papers_unless_seconds_are_asked_for():
    for draw in draws(20):
        rows = draw_rows(clip(np.arange(40) / 30), settings(spacing=3), draw)
        np.testing.assert_array_equal(rows - rows[0], [0, 1, 4, 7, 10, 13])


def test_a_spacing_of_whole_frames_in_seconds_gives_the_papers_rows_at_25_frames_a_second():
    times, config = clip(np.arange(100) / 25), settings(spacing_min_s=0.12, spacing_max_s=0.12)
    for draw in draws(20):
        np.testing.assert_array_equal(draw_rows(times, config, draw), draw_rows(times, settings(spacing=3), draw))


@pytest.mark.parametrize("variable", [False, True])
def test_tuples_span_the_same_seconds_at_any_rate(variable):
    """Of 20, 25 and 30 frames/s, or of frames of uneven length, each frame lies within half a step of its place."""
    rng, config = np.random.default_rng(0), settings(spacing_min_s=0.1, spacing_max_s=0.5)
    for fps in (20, 25, 30):
        steps = (rng.uniform(0.8, 1.2, 15 * fps) if variable else np.ones(15 * fps)) / fps
        times = clip(np.cumsum(steps))
        for draw in draws(20):
            rows = draw_rows(times, config, draw)
            seconds = times.timestamp[rows] - times.timestamp[rows[0]]
            expected = tuple_offsets(0.1 * 5 ** draw[0], 4, 0.04)
            assert np.abs(seconds - expected)[2:].max() <= steps.max() / 2 + 1e-9
            assert 0 < seconds[1] <= max(0.04 + steps.max() / 2, steps.max())


def test_spacing_is_drawn_log_uniformly():
    config, times = settings(spacing_min_s=0.04, spacing_max_s=1.0), clip(np.arange(3000) / 250)
    spans = [np.ptp(times.timestamp[draw_rows(times, config, draw)]) for draw in draws(400)]
    logs = (np.log((np.array(spans) - 0.04) / 4) - np.log(0.04)) / np.log(25)  # 0 to 1
    assert np.abs(np.sort(logs) - (np.arange(400) + 0.5) / 400).max() < 0.1


def test_a_short_clip_takes_the_largest_spacing_that_fits_and_no_run_is_left():
    config = settings(**IN_SECONDS)
    times = clip(np.arange(40) / 25, breaks=(22,))  # the longest run lasts 0.84 s, so spacings to 0.2 s fit
    spans = []
    for draw in draws(200):
        rows = draw_rows(times, config, draw)
        assert (np.diff(rows) > 0).all() and (rows.max() < 22 or rows.min() >= 22)
        spans.append(rows[-1] - rows[0])
    assert max(spans) == 21 and min(spans) == 5
    assert np.mean([rows == 21 for rows in spans]) > 0.3  # of log-uniform draws from 0.04 to 0.5, 36% are above 0.2


def test_a_slow_clip_gives_rows_that_differ():
    rows = draw_rows(clip(np.arange(20) / 10), settings(spacing_min_s=0.04, spacing_max_s=0.04), draws(1)[0])
    np.testing.assert_array_equal(np.diff(rows), 1)


def test_nearest_rows_differ_and_stay_in_the_run_at_its_end():
    clock = np.arange(10.0)
    assert nearest_rows(clock, 0, 6, np.array([0, 1, 2.4, 3.6, 5])).tolist() == [0, 1, 2, 4, 5]
    assert nearest_rows(clock, 0, 6, np.array([0, 1, 4.8, 5, 5.2])).tolist() == [0, 1, 3, 4, 5]
    assert nearest_rows(clock, 2, 9, np.array([0, 0.1, 0.2, 0.3, 3])).tolist() == [2, 3, 4, 5, 6]


def test_spacing_tells_what_fits():
    spacing, runs = Spacing(0.1, 0.5, in_seconds=True), np.array([[0, 12]])
    assert spacing.fits(np.arange(12) / 25, runs, 4)  # 0.44 s, exactly
    assert not spacing.fits(np.arange(12) / 26, runs, 4)
    assert not spacing.fits(np.arange(12.0), np.array([[0, 5], [5, 10]]), 4)  # long enough, but of five frames
    assert not spacing.fits(np.arange(12.0), np.zeros((0, 2), int), 4)
    assert Spacing(2, 2, in_seconds=False).fits(np.arange(10.0), np.array([[0, 10]]), 4)
    assert not Spacing(2, 2, in_seconds=False).fits(np.arange(10.0), np.array([[0, 9]]), 4)


def test_half_of_the_tuples_run_back_in_time():
    config, times = settings(**IN_SECONDS, direction="both"), clip(np.arange(60) / 25, breaks=(20,))
    backwards = 0
    for draw in draws(300):
        rows = draw_rows(times, config, draw)
        steps = np.diff(rows)
        assert (steps < 0).all() or (steps > 0).all()
        assert abs(steps[0]) == 1 and (rows.max() < 20 or rows.min() >= 20)
        backwards += steps[0] < 0
    assert 120 < backwards < 180
    assert all(np.diff(draw_rows(times, settings(**IN_SECONDS), draw)).min() > 0 for draw in draws(50))


def test_every_anchor_can_be_drawn_in_both_directions():
    config, times = settings(spacing=2, direction="both"), clip(np.arange(14) / 25)
    seen = {(rows[0], np.sign(rows[1] - rows[0])) for rows in (draw_rows(times, config, draw) for draw in draws(400))}
    assert seen == {(row, 1) for row in range(5)} | {(row, -1) for row in range(9, 14)}


def test_fixed_rows_spread_over_the_clip_at_the_middle_of_the_spacings():
    spacing, times = Spacing(0.04, 0.36, in_seconds=True), clip(np.arange(100) / 25, breaks=(90,))
    rows = fixed_rows(times, spacing, 4, 8)
    assert rows.shape == (8, 6) and rows[0, 0] == 0 and rows[-1, -1] == 89
    np.testing.assert_array_equal(np.diff(rows, axis=1), np.tile([1, 3, 3, 3, 3], (8, 1)))  # 0.12 s
    assert len(np.unique(np.diff(rows[:, 0]).clip(10, 11))) <= 2 and np.ptp(np.diff(rows[:, 0])) <= 1
    assert len(fixed_rows(clip(np.arange(15) / 25), spacing, 4, 8)) == 2
    short = fixed_rows(clip(np.arange(8) / 25), spacing, 4, 8)  # has the largest spacing that fits
    np.testing.assert_array_equal(short[:, -1], [7])
