import numpy as np
import pytest
import torch

from tclr.pipeline.store import Store
from tclr.pipeline.tuples import TupleDataset, find_anchors, follows_on, longest_run, split_subjects, tuple_offsets
from tclr.schemas.errors import InputError


def test_tuple_offsets_are_anchor_sibling_and_the_following():
    np.testing.assert_array_equal(tuple_offsets(1, 10), np.arange(12))
    np.testing.assert_array_equal(tuple_offsets(3, 3), [0, 1, 4, 7, 10])


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
        for span in (1, 3, 9):
            assert find_anchors(follows, face, span).tolist() == slow_anchors(follows, face, span)


def test_resampled_clips_count_as_whole():
    assert follows_on(np.arange(20) * 2 / 25, np.zeros(20))[1:].all()  # every second frame of 25/s
    assert len(find_anchors(follows_on(np.arange(20) / 12.5, np.zeros(20)), np.ones(20, bool), 11)) == 9
    for n in (0, 1):
        assert follows_on(np.zeros(n), np.zeros(n)).tolist() == [False] * n


def test_tuples_do_not_bridge_a_cut():
    track = np.repeat([0, 1], 10)
    follows = follows_on(np.arange(20) / 25, track)
    assert np.flatnonzero(~follows).tolist() == [0, 10]
    assert find_anchors(follows, np.ones(20, bool), 7).tolist() == [0, 1, 2, 10, 11, 12]


def test_longest_run_counts_frames_in_a_row():
    assert longest_run(follows_on(np.array([1, 2, 3, 5, 6]), np.zeros(5)), np.ones(5, bool)) == 3
    assert longest_run(follows_on(np.arange(4), np.zeros(4)), np.array([1, 0, 1, 1], bool)) == 2


def test_split_subjects_keeps_sides_apart_and_follows_the_seed():
    names = [f"S{i}" for i in range(10)]
    train, val = split_subjects(names, 0.3, seed=1)
    assert len(val) == 3 and sorted(train + val) == names
    assert split_subjects(names[::-1], 0.3, seed=1) == (train, val)
    assert split_subjects(names, 0.3, seed=2) != (train, val)
    assert split_subjects(["a"], 0.5, 0) == (["a"], []) and split_subjects(["a", "b"], 0.01, 0)[1] != []
    assert split_subjects(names, 0, 0) == (names, [])


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    return make_store(tmp_path_factory.mktemp("tuples") / "store", no_face=(20,))


def dataset(store, **changes):
    options = {"spacing": 2, "n_following": 4, "anchors_per_clip": 5, "seed": 0} | changes
    return TupleDataset(store, ["F001", "F002"], **options)


def test_tuples_hold_the_right_frames(store):
    tuples = dataset(store)
    assert len(tuples) == 10
    with Store(store) as opened:
        for index in range(len(tuples)):
            clip, row = tuples.tuples[index]
            info = tuples.clips[clip].info
            rows = row + np.array([0, 1, 3, 5, 7, 9])
            assert 20 not in range(row, row + 10)
            expected = np.stack([opened.read_frames(info, r, r + 1)[0] for r in rows])
            np.testing.assert_array_equal(tuples[index].numpy(), expected)


def test_anchors_are_drawn_anew_each_epoch_and_follow_from_seed_and_epoch(store):
    first, second = dataset(store), dataset(store)
    start = list(first.tuples)
    first.set_epoch(3)
    assert first.tuples != start
    second.set_epoch(3)
    assert first.tuples == second.tuples
    assert dataset(store, seed=1).tuples != start


def test_loader_processes_do_not_change_the_tuples(store):
    batches = [
        torch.cat(list(torch.utils.data.DataLoader(dataset(store), 4, num_workers=workers))) for workers in (0, 2)
    ]
    assert torch.equal(*batches)


def test_fixed_anchors_stay_the_same(store):
    tuples = dataset(store, anchors_per_clip=0)
    start = list(tuples.tuples)
    tuples.set_epoch(5)
    assert tuples.tuples == start and len({row for _, row in start}) > 3


def test_clips_that_are_too_short_say_how_long_they_are(store):
    with pytest.raises(InputError, match="42 frames with a face in a row, but the longest run .* has 20. Lower"):
        dataset(store, spacing=10)
