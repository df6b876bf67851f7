import multiprocessing
import os
import shutil
import threading

import h5py
import numpy as np
import pytest
import torch

from tclr.pipeline.tuples import TupleDataset, load_batches
from tclr.pipeline.tuples.loader import BATCHES_AHEAD
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import StoreError, TclrError

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = PretrainConfig(recipe="paper", n_following=4, spacing_min_s=0.04, spacing_max_s=0.2, direction="both")
BATCHES = [[0, 1, 2, 3], [4, 5, 6, 7], [8], [11, 10, 9]]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    return make_store(tmp_path_factory.mktemp("loader") / "store")


def dataset(store, targets=None):
    return TupleDataset(store, ["F001", "F002", "F003"], CONFIG, anchors_per_clip=4, read_targets=targets)


def frame_numbers(opened, info):
    return opened.read(info, "source_frame").astype(np.float32)[:, None]


def process_number(opened, info):
    return np.full((info.n_frames, 1), os.getpid(), np.float32)


def load(tuples, num_workers=0, batches=BATCHES):
    return list(load_batches(tuples, batches, num_workers=num_workers, device=CPU))


def test_batches_are_the_same_whatever_reads_them_and_come_in_order(store):
    expected = [dataset(store, frame_numbers).read(2, indices) for indices in BATCHES]
    for num_workers in (0, 1, 2):
        tuples = dataset(store, frame_numbers)
        tuples.epoch = 2
        batches = load(tuples, num_workers)
        assert [len(batch) for batch in batches] == [4, 4, 1, 3]
        for batch, wanted in zip(batches, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(batch.tensors, wanted.tensors, strict=True))


def test_tuples_do_not_depend_on_the_batch_they_are_in(store):
    tuples = dataset(store)
    whole = tuples.read(0, range(12))
    parts = load(tuples, batches=[[i] for i in range(12)])
    for place, tensor in enumerate(whole.tensors):
        assert torch.equal(torch.cat([part.tensors[place] for part in parts]), tensor)


def test_loader_processes_stay_and_read_the_epoch_that_is_asked_for(store):
    tuples = dataset(store, process_number)
    processes = []
    for epoch in (0, 1):
        tuples.epoch = epoch
        batches = load(tuples, 2)
        processes.append({int(number) for batch in batches for number in batch.targets.flatten()})
        assert torch.equal(batches[1].frames, dataset(store).read(epoch, BATCHES[1]).frames)
    assert processes[0] == processes[1] and len(processes[0]) == 2 and os.getpid() not in processes[0]


@pytest.mark.parametrize("told", [True, False])
def test_loader_processes_end_when_they_are_told_or_with_their_dataset(store, told):
    tuples = dataset(store)
    load(tuples, 2)
    processes = multiprocessing.active_children()
    assert len(processes) == 2 and all(process.is_alive() for process in processes)
    if told:
        tuples.stop_workers()
    else:
        del tuples
    assert not any(process.is_alive() for process in processes)


def test_an_epoch_that_was_left_early_leaves_nothing_to_the_next(store):
    for num_workers in (0, 2):
        tuples = dataset(store)
        batches = load_batches(tuples, BATCHES, num_workers=num_workers, device=CPU)
        next(batches)
        batches.close()
        tuples.epoch = 1
        (batch,) = load(tuples, num_workers, BATCHES[3:])
        assert torch.equal(batch.frames, dataset(store).read(1, BATCHES[3]).frames)


def test_the_epoch_is_the_one_at_the_call(store):
    tuples = dataset(store)
    batches = load_batches(tuples, BATCHES[:1], num_workers=0, device=CPU)
    tuples.epoch = 7
    assert torch.equal(next(batches).frames, dataset(store).read(0, BATCHES[0]).frames)


def test_batches_are_read_while_the_caller_works(store):
    tuples, read, enough = dataset(store), [], threading.Event()
    plain = tuples.read

    def watched(*args):
        read.append(threading.current_thread())
        if len(read) == 1 + BATCHES_AHEAD:
            enough.set()
        return plain(*args)

    tuples.read = watched
    batches = load_batches(tuples, [[0]] * 9, num_workers=0, device=CPU)
    next(batches)
    assert enough.wait(30)
    assert len(read) <= 2 + BATCHES_AHEAD and threading.current_thread() not in read
    batches.close()


def test_no_batches_give_none(store):
    assert load(dataset(store), 0, []) == load(dataset(store), 1, []) == []


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_arrives_as_it_was_raised_in_one_line(tmp_path, store, num_workers):
    shutil.copytree(store, tmp_path / "store")
    tuples = dataset(tmp_path / "store")
    path = tmp_path / "store/subjects/F002.h5"
    with h5py.File(path, "r+") as file:
        frames = file["clips/T1/frames"].id
        for row in range(0, 40, 8):
            frames.write_direct_chunk((row, 0, 0, 0), b"damaged")
    with pytest.raises(StoreError, match=f"^Cannot read {path} .*compressed by zstd.*again") as caught:
        load(tuples, num_workers)
    assert "\n" not in str(caught.value) and type(caught.value) is StoreError


def test_a_loader_process_that_ends_is_one_clear_error(store):
    here = os.getpid()

    def end(opened, info):
        if os.getpid() != here:
            os._exit(3)
        return np.zeros((info.n_frames, 1), np.float32)

    tuples = dataset(store, end)
    with pytest.raises(TclrError, match="One of 1 loader processes ended: .*use --num-workers 0") as caught:
        load(tuples, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_on_a_gpu_are_the_same(store, num_workers):
    tuples = dataset(store, frame_numbers)
    batches = list(load_batches(tuples, BATCHES, num_workers=num_workers, device=torch.device("cuda")))
    for batch, indices in zip(batches, BATCHES, strict=True):
        assert batch.frames.is_cuda
        wanted = tuples.read(0, indices)
        assert all(torch.equal(a.cpu(), b) for a, b in zip(batch.tensors, wanted.tensors, strict=True))
