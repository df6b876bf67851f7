"""Runs in this process: small ones by themselves, with the files of a run on a cluster."""

import cv2
import numpy as np
import pytest

from tclr.pipeline.preprocessing import preprocess, run, scheduling
from tclr.pipeline.preprocessing.run import SMALL_CLIP_FRAMES, SMALL_RUN_FRAMES, _is_small
from tclr.pipeline.preprocessing.scheduling import CLIPS_ON_GPU, clips_at_once
from tclr.pipeline.sources import Clip, FramesInMemory
from tclr.pipeline.store import Store
from tclr.pipeline.system import dispatching
from tclr.schemas.config import AlignConfig, DetectConfig, PreprocessConfig

SMALL = PreprocessConfig(align=AlignConfig(size=48))


@pytest.fixture(scope="module")
def source(tmp_path_factory, write_video, moving_portrait):
    folder = tmp_path_factory.mktemp("source")
    for name, n_frames in (("anna", 12), ("ben", 7)):
        write_video(folder / f"{name}.mp4", moving_portrait(n_frames))
    return folder


def contents(root):
    """Return attributes and checksums of arrays by clip, and the arrays themselves."""
    with Store(root) as store:
        fields = {info: [name for name in store.fields(info) if name != "frames"] for info in store.clips}
        read = {info: {name: store.read(info, name) for name in names} for info, names in fields.items()}
        facts = {
            info.name: (info.attrs, info.root.align, info.root.detect_hash, info.landmarks_sha256)
            for info in store.clips
        }
        return facts, read, {info: store.read_crops(info) for info in store.clips}


@pytest.fixture
def chosen(monkeypatch):
    """The numbers of workers that runs were given."""
    given = []

    def spy(workers, *rest):
        given.append(workers)
        return dispatching(0, *rest)

    monkeypatch.setattr("tclr.pipeline.preprocessing.scheduling.dispatching", spy)
    return given


def test_files_are_those_of_a_run_on_a_cluster(source, tmp_path):
    before, told = cv2.getNumThreads(), []
    here = preprocess(source, tmp_path / "here", SMALL, workers=0, tell=told.append)
    assert cv2.getNumThreads() == before and "Starting workers" not in told
    on_cluster = preprocess(source, tmp_path / "cluster", SMALL, workers=2)
    assert (here.n_frames, here.n_clips, here.failures) == (on_cluster.n_frames, 2, ())
    np.testing.assert_equal(contents(tmp_path / "here"), contents(tmp_path / "cluster"))


def test_files_are_the_same_if_a_process_works_on_two_clips_at_once(source, tmp_path, monkeypatch):
    preprocess(source, tmp_path / "here", SMALL, workers=0)
    monkeypatch.setattr(scheduling, "clips_at_once", lambda detect: 2)
    done = preprocess(source, tmp_path / "threads", SMALL, workers=1)
    assert done.n_clips == 2 and not done.failures
    np.testing.assert_equal(contents(tmp_path / "here"), contents(tmp_path / "threads"))


def test_clips_are_together_only_where_a_gpu_looks_at_them():
    assert clips_at_once(DetectConfig()) == clips_at_once(DetectConfig(detector="mediapipe", device="cuda")) == 1
    assert clips_at_once(DetectConfig(device="cuda")) == CLIPS_ON_GPU


def test_segments_are_joined_here_too(source, tmp_path):
    config = PreprocessConfig(DetectConfig(segment_s=0.1), AlignConfig(size=48))
    done = preprocess(source / "anna.mp4", tmp_path / "here", config, workers=0)
    assert done.n_frames == 12 and not done.failures and not (tmp_path / "here" / "parts").exists()


def test_a_clip_that_fails_is_reported_and_the_other_is_stored(tmp_path, write_video, moving_portrait):
    write_video(tmp_path / "in" / "good.mp4", moving_portrait(4))
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no video")
    seen = []
    done = preprocess(tmp_path / "in", tmp_path / "store", SMALL, workers=0, notify=lambda p: seen.append(p.n_frames))
    assert [failure.name for failure in done.failures] == ["bad/bad"] and done.n_clips == 1 and seen[-1] == 4


def test_by_default_a_small_run_stays_here_and_a_large_one_does_not(source, tmp_path, chosen, monkeypatch):
    preprocess(source, tmp_path / "small", SMALL)
    preprocess(source, tmp_path / "asked", SMALL, workers=3)
    monkeypatch.setattr(run, "SMALL_RUN_FRAMES", 18)
    preprocess(source, tmp_path / "large", SMALL)
    preprocess(source / "anna.mp4", tmp_path / "single", SMALL)
    monkeypatch.setattr(run, "SMALL_CLIP_FRAMES", 11)
    preprocess(source / "anna.mp4", tmp_path / "long", SMALL)
    assert chosen == [0, 3, None, 0, None]


@pytest.mark.parametrize(
    ("n_frames", "n_clips", "small"),
    [
        (SMALL_CLIP_FRAMES, 1, True),
        (SMALL_CLIP_FRAMES + 1, 1, False),
        (SMALL_RUN_FRAMES, 9, True),
        (SMALL_RUN_FRAMES + 1, 2, False),
        (0, 1, False),  # nobody knows
    ],
)
def test_what_is_small_goes_by_frames_and_clips(n_frames, n_clips, small):
    assert _is_small(n_frames, n_clips) == small


def test_frames_in_memory_are_a_clip_and_others_are_done_again(tmp_path, moving_portrait):
    images = tuple(moving_portrait(4))

    def clip_of(images, times_s=(0.0, 0.1, 0.2, 0.4)):
        return Clip("folder", "anna", "live", tmp_path / "live", "live", memory=FramesInMemory(images, times_s))

    store = tmp_path / "store"
    done = [
        preprocess(clip_of(given, *times), store, SMALL, workers=0)
        for given, times in ((images, ()), (images, ()), (images[::-1], ()), (images, [(0.0, 0.1, 0.2, 0.3)]))
    ]
    assert [one.n_frames for one in done] == [4, 0, 4, 4] and not any(one.failures for one in done)
    with Store(store) as opened:
        (info,) = opened.clips
        assert opened.read(info, "timestamp").tolist() == [0.0, 0.1, 0.2, 0.3]
        assert opened.read(info, "source_frame").tolist() == [0, 1, 2, 3]
        assert (info.name, info.attrs.width, info.attrs.height) == ("anna/live", *images[0].shape[1::-1])
        assert info.attrs.fps == pytest.approx(10) and np.isfinite(opened.read(info, "landmarks")).all()
