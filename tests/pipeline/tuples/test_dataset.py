import pickle
import shutil

import numpy as np
import pytest
import torch

from tclr.pipeline.encoder import N_DRAWS
from tclr.pipeline.store import Store
from tclr.pipeline.tuples import Spacing, TupleDataset, clips, index_clips
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import InputError, StoreError

CONFIG = PretrainConfig(recipe="paper", spacing=2, n_following=4)
IN_SECONDS = {"spacing_min_s": 0.08, "spacing_max_s": 0.16}


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    return make_store(tmp_path_factory.mktemp("tuples") / "store", no_face=(20,))


def dataset(store, *, anchors_per_clip=5, targets=None, fixed_spacing=None, **changes):
    config = CONFIG.model_copy(update=changes)
    options = {"anchors_per_clip": anchors_per_clip, "read_targets": targets, "fixed_spacing": fixed_spacing}
    return TupleDataset(store, ["F001", "F002"], config, **options)


def all_rows(tuples, epoch):
    return [(clip, rows.tolist()) for clip, rows in (tuples.rows(epoch, index) for index in range(len(tuples)))]


def test_batches_hold_the_frames_of_their_rows_and_their_distance_in_time(store):
    tuples = dataset(store, direction="both", **IN_SECONDS)
    batch = tuples.read(3, range(10))
    assert len(tuples) == 10 and len(batch) == 10 and batch.targets.shape == (10, 6, 0)
    with Store(store) as opened:
        for index, (clip, rows) in enumerate(all_rows(tuples, 3)):
            assert 20 not in range(min(rows), max(rows) + 1)
            expected = opened.read_crops(tuples.clips[clip])[rows]
            np.testing.assert_array_equal(batch.frames[index].numpy(), expected)
            seconds = (np.array(rows) - rows[0]) / 25
            np.testing.assert_allclose(batch.seconds[index], seconds, atol=1e-6)
    assert {tuple(np.sign(np.diff(rows))) for _, rows in all_rows(tuples, 3)} == {(1,) * 5, (-1,) * 5}


def test_each_clip_is_drawn_as_often_as_any_in_an_order_of_its_own(store):
    clips = [clip for clip, _ in all_rows(dataset(store, anchors_per_clip=20), 0)]
    assert clips.count(0) == clips.count(1) == 20 and clips != sorted(clips)


def test_tuples_are_drawn_anew_each_epoch_and_follow_from_seed_epoch_and_index(store):
    first, second = dataset(store), dataset(store)
    start = all_rows(first, 0)
    assert all_rows(first, 3) != start
    assert [second.rows(3, index)[1].tolist() for index in (7, 2)] == [all_rows(first, 3)[i][1] for i in (7, 2)]
    assert all_rows(dataset(store, seed=1), 0) != start
    assert all_rows(pickle.loads(pickle.dumps(first)), 0) == start


def test_draws_are_uniform_and_follow_from_seed_epoch_and_index_alone(store):
    tuples = dataset(store, anchors_per_clip=20)
    draws = tuples.read(1, range(40)).draws
    assert draws.shape == (40, 6, N_DRAWS) and draws.dtype == torch.float32 and 0 <= draws.min() <= draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.02 and abs(draws.std() - 12**-0.5) < 0.02
    assert len(torch.unique(draws[:, :, 0])) == 240
    assert torch.equal(tuples.read(1, [17, 3]).draws, draws[[17, 3]])
    other_rows = dataset(store, anchors_per_clip=20, spacing=1)
    assert torch.equal(other_rows.read(1, range(40)).draws, draws)
    for other in (tuples.read(2, range(40)), dataset(store, anchors_per_clip=20, seed=1).read(1, range(40))):
        assert not (other.draws == draws).any(dim=2).all(dim=1).any()


def test_fixed_tuples_are_the_same_in_every_epoch_and_under_settings_of_training(store):
    tuples = dataset(store, anchors_per_clip=0)
    first, later = tuples.read(0, range(len(tuples))), tuples.read(5, range(len(tuples)))
    assert all(torch.equal(a, b) for a, b in zip(first.tensors, later.tensors, strict=True))
    assert len({rows[0] for _, rows in all_rows(tuples, 0)}) > 3
    other = dataset(store, anchors_per_clip=0, direction="both", match="pose", seed=3)
    assert all_rows(other, 0) == all_rows(tuples, 0)


def test_fixed_spacing_holds_whatever_the_settings(store):
    spacing = Spacing(0, 0.12, in_seconds=True)
    wanted = [dataset(store, anchors_per_clip=0, fixed_spacing=spacing, **changes) for changes in ({}, IN_SECONDS)]
    assert all_rows(wanted[0], 0) == all_rows(wanted[1], 0)
    np.testing.assert_array_equal(np.diff(wanted[0].rows(0, 0)[1]), [1, 3, 3, 3, 3])
    too_long = dataset(store, anchors_per_clip=0, fixed_spacing=Spacing(0, 9.0, in_seconds=True))
    assert all(rows[-1] - rows[0] in (18, 19) for _, rows in all_rows(too_long, 0))


def test_targets_are_those_of_the_rows_and_are_asked_for_once_a_clip(store):
    asked = []

    def targets(opened, info):
        asked.append(info.name)
        numbers = opened.read(info, "source_frame").astype(np.float32)
        return np.stack([numbers, np.full_like(numbers, np.nan)], axis=1)

    tuples = dataset(store, targets=targets)
    assert tuples.n_targets == 2
    asked.clear()
    batch = tuples.read(0, range(10))
    expected = np.array([rows for _, rows in all_rows(tuples, 0)]) + 100
    np.testing.assert_array_equal(batch.targets[..., 0].numpy(), expected)
    assert batch.targets.dtype == torch.float32 and batch.targets[..., 1].isnan().all()
    assert sorted(asked) == ["F001/T1", "F002/T1"]


def test_targets_of_another_shape_are_an_error_that_names_the_clip(store):
    tuples = dataset(store, targets=lambda opened, info: np.zeros((40, 1 + (info.subject == "F002")), np.float32))
    with pytest.raises(StoreError, match=r"shape \(40, 1\) as for the first clip, but got \(40, 2\) for clip F002/T1"):
        tuples.read(0, range(10))


def test_a_process_forgets_the_clips_that_it_used_long_ago(store, monkeypatch):
    monkeypatch.setattr(clips, "CACHED_CLIPS", 1)
    tuples = dataset(store)
    expected = dataset(store).read(0, range(10))
    assert torch.equal(tuples.read(0, range(10)).frames, expected.frames) and len(tuples._reader._kept) == 1


def test_clips_that_are_too_short_say_how_long_they_are(store):
    with pytest.raises(InputError, match="42 frames with a face in a row, but the longest run .* has 20. Lower --spac"):
        dataset(store, spacing=10)
    match = "6 frames with a face in a row that last 2.04 s, but .* has 20 frames or 0.76 s. Lower --spacing-min-s"
    with pytest.raises(InputError, match=match):
        dataset(store, spacing_min_s=0.5, spacing_max_s=0.6)


def test_index_clips_leaves_out_what_is_too_short(tmp_path, store, make_store):
    shutil.copytree(store, tmp_path / "store")
    short = make_store(tmp_path / "short", n_subjects=1, n_frames=9)
    shutil.copy(short / "subjects/F001.h5", tmp_path / "store/subjects/F001.h5")
    with Store(tmp_path / "store") as opened:
        names = [info.name for info in index_clips(opened, opened.subjects, CONFIG)]
        assert names == ["F002/T1", "F003/T1"]
        shorter = CONFIG.model_copy(update={"spacing_min_s": 0.06, "spacing_max_s": 2.0})
        assert len(index_clips(opened, opened.subjects, shorter)) == 3
