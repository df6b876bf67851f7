"""Staged Dask jobs: the same store whatever the workers and interruptions; what fails does not stop the rest."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from tclr.pipeline.preprocessing import preprocess
from tclr.pipeline.store import Store, find_damage
from tclr.pipeline.system import cluster
from tclr.schemas.config import AlignConfig, DetectConfig, PreprocessConfig
from tclr.schemas.errors import ClusterError, InputError, OutputError, StoreError

SMALL = PreprocessConfig(align=AlignConfig(size=48))


def arrays(root):
    """All arrays of a store by subject, clip and name."""
    with Store(root) as store:
        return {
            (info.subject, info.clip, name): store.read_crops(info) if name == "frames" else store.read(info, name)
            for info in store.clips
            for name in store.fields(info)
        }


def assert_equal_stores(first, second):
    left, right = arrays(first), arrays(second)
    assert left.keys() == right.keys() and left
    for key, values in left.items():
        np.testing.assert_array_equal(values, right[key], err_msg=str(key))


@pytest.fixture(scope="module")
def source(tmp_path_factory, moving_portrait, write_video):
    """Two subjects, three good clips, and a file that is no video."""
    root = tmp_path_factory.mktemp("source")
    images = moving_portrait(60)
    write_video(root / "anna" / "one.mp4", images[:40])
    write_video(root / "anna" / "two.mp4", images[20:60])
    write_video(root / "ben" / "one.mp4", images)
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory, source):
    """The store that two workers made of the source in one go."""
    root = tmp_path_factory.mktemp("stores") / "two-workers"
    result = preprocess(source, root, SMALL, workers=2)
    assert (result.n_subjects, result.n_clips, result.n_frames, result.failures) == (2, 3, 140, ())
    return root


def test_one_and_two_workers_give_equal_arrays(tmp_path, source, store):
    preprocess(source, tmp_path / "store", SMALL, workers=1)
    assert_equal_stores(tmp_path / "store", store)


def test_dask_knows_of_few_tasks_at_a_time(tmp_path, source, store, monkeypatch, submitted):
    monkeypatch.setattr(cluster, "MOST_TASKS", 1)
    preprocess(source, tmp_path / "store", SMALL, workers=1)
    assert [name for name, _ in submitted] == [
        "extract_task",
        "extract_task",
        "assemble_task",
        "extract_task",
        "assemble_task",
    ]
    assert not any(n_waiting for _, n_waiting in submitted)
    assert_equal_stores(tmp_path / "store", store)


def test_store_is_sound_and_indexed(store):
    assert not any(report.damage or report.n_unsealed for report in find_damage(store))
    manifest = pd.read_parquet(store / "manifest.parquet")
    assert list(zip(manifest["subject"], manifest["clip"], manifest["n_frames"], strict=True)) == [
        ("anna", "one", 40), ("anna", "two", 40), ("ben", "one", 60),
    ]  # fmt: skip
    assert (manifest["state"] == "done").all() and (manifest["share_ok"] == 1).all()
    assert not (store / "parts").exists()


def test_second_run_does_nothing_again(source, store):
    before = {path: path.stat().st_mtime_ns for path in (store / "subjects").iterdir()}
    result = preprocess(source, store, SMALL, workers=1)
    assert result.n_skipped == 3 and result.n_frames == 0
    assert {path: path.stat().st_mtime_ns for path in (store / "subjects").iterdir()} == before


def test_changed_source_and_changed_settings_are_done_again(tmp_path, moving_portrait, write_video):
    images = moving_portrait(12)
    write_video(tmp_path / "in" / "a.mp4", images[:8])
    write_video(tmp_path / "in" / "b.mp4", images[:8])
    preprocess(tmp_path / "in", tmp_path / "store", SMALL, workers=1)
    write_video(tmp_path / "in" / "b.mp4", images)
    result = preprocess(tmp_path / "in", tmp_path / "store", SMALL, workers=1)
    assert (result.n_skipped, result.n_frames) == (1, 12)
    result = preprocess(tmp_path / "in", tmp_path / "store", PreprocessConfig(align=AlignConfig(size=64)), workers=1)
    assert (result.n_skipped, result.n_frames) == (0, 20)
    with Store(tmp_path / "store") as store:
        assert store.crop_size() == 64


def test_failed_clips_are_reported_and_the_others_are_stored(tmp_path, moving_portrait, write_video):
    write_video(tmp_path / "in" / "anna" / "good.mp4", moving_portrait(8))
    (tmp_path / "in" / "anna" / "bad.mp4").write_text("no video")
    result = preprocess(tmp_path / "in", tmp_path / "store", SMALL, workers=1)
    ((name, reason),) = [(failure.name, failure.reason) for failure in result.failures]
    assert name == "anna/bad" and "cannot decode" in reason and "bad.mp4" in reason
    with Store(tmp_path / "store") as store:
        assert [info.name for info in store.clips] == ["anna/good"]
    manifest = pd.read_parquet(tmp_path / "store" / "manifest.parquet").set_index("clip")
    assert manifest.loc["bad", "state"] == "failed" and "cannot decode" in manifest.loc["bad", "reason"]


def test_store_of_another_source_and_other_settings_is_not_mixed(tmp_path, store, moving_portrait, write_video):
    write_video(tmp_path / "in" / "cleo.mp4", moving_portrait(4))
    with pytest.raises(OutputError, match="holds anna/one from another source"):
        preprocess(tmp_path / "in", store, PreprocessConfig(align=AlignConfig(size=96)))


def test_refused_run_leaves_the_record_of_the_last_one(tmp_path, store, moving_portrait, write_video):
    before = (store / "run.json").read_text()
    write_video(tmp_path / "in" / "cleo.mp4", moving_portrait(4))
    with pytest.raises(OutputError):
        preprocess(tmp_path / "in", store, PreprocessConfig(align=AlignConfig(size=96)))
    assert (store / "run.json").read_text() == before


def test_temporary_files_of_killed_runs_go_and_those_of_living_ones_stay(tmp_path, moving_portrait, write_video):
    import socket

    write_video(tmp_path / "in" / "a.mp4", moving_portrait(3))
    folder = tmp_path / "store" / "parts" / "a"
    folder.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive = (folder / f".{socket.gethostname()}~{pid}~x.tmp" for pid in (ended.pid, os.getpid()))
    for path in (dead, alive):
        path.write_text("x")
    preprocess(tmp_path / "in", tmp_path / "store", SMALL, workers=1)
    assert alive.exists() and not dead.exists()


def test_newer_store_is_left_alone(tmp_path, source):
    import h5py

    root = tmp_path / "store"
    (root / "subjects").mkdir(parents=True)
    with h5py.File(root / "subjects" / "anna.h5", "w") as file:
        file.attrs.update({"format": "tclr-store", "format_version": 99})
    with pytest.raises(StoreError, match="format 2 or older, but got 99"):
        preprocess(source, root, SMALL)


def test_unwritable_output_is_told_before_any_work(tmp_path, source):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Cannot write"):
        preprocess(source, tmp_path / "file" / "store", SMALL)


def test_unreachable_scheduler_is_one_clear_error(tmp_path, source):
    with pytest.raises(ClusterError, match="No Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        preprocess(source, tmp_path / "store", SMALL, scheduler="tcp://127.0.0.1:9")


def test_joins_a_running_scheduler(tmp_path, source, store):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        preprocess(source, tmp_path / "store", SMALL, scheduler=cluster.scheduler_address)
    assert_equal_stores(tmp_path / "store", store)


def test_kill_9_and_resume_give_the_same_arrays(tmp_path, source, store):
    root = tmp_path / "store"
    command = [sys.executable, "-m", "tclr.cli.main", "preprocess", str(source), str(root), "--size", "48"]
    process = subprocess.Popen([*command, "--workers", "1"], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(root.glob("parts/*/*.h5")) and not list(root.glob("subjects/*.h5")):
        assert time.monotonic() < deadline and process.poll() is None, "finished before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    result = preprocess(source, root, PreprocessConfig(DetectConfig(), AlignConfig(size=48)), workers=2)
    assert result.n_clips == 3 and result.n_skipped >= 1
    assert_equal_stores(root, store)
    assert not list(root.rglob("*.tmp"))


def test_changed_alignment_settings_give_the_store_of_a_new_run(tmp_path, source, store):
    import shutil

    root = tmp_path / "store"
    shutil.copytree(store, root)
    config = PreprocessConfig(align=AlignConfig(size=64, margin=1.2))
    result = preprocess(source, root, config, workers=1)
    assert (result.n_skipped, result.n_frames, result.failures) == (0, 140, ())
    preprocess(source, tmp_path / "whole", config, workers=1)
    assert_equal_stores(root, tmp_path / "whole")


def test_clip_that_now_fails_keeps_its_old_version_under_the_same_settings(tmp_path, moving_portrait, write_video):
    for name in ("good", "bad"):
        write_video(tmp_path / "in" / "anna" / f"{name}.mp4", moving_portrait(6))
    root = tmp_path / "store"
    preprocess(tmp_path / "in", root, SMALL, workers=1)
    (tmp_path / "in" / "anna" / "bad.mp4").write_text("broken")
    before = (root / "subjects" / "anna.h5").stat().st_ino
    result = preprocess(tmp_path / "in", root, SMALL, workers=1)
    assert [failure.name for failure in result.failures] == ["anna/bad"] and result.n_clips == 2
    assert (root / "subjects" / "anna.h5").stat().st_ino == before  # nothing new: not written again
    manifest = pd.read_parquet(root / "manifest.parquet").set_index("clip")
    assert list(manifest.index) == ["bad", "good"] and "cannot decode" in manifest.loc["bad", "reason"]


def test_subject_that_fails_under_new_settings_is_put_aside(tmp_path, moving_portrait, write_video):
    for name in ("a", "b"):
        write_video(tmp_path / "in" / f"{name}.mp4", moving_portrait(6))
    root = tmp_path / "store"
    preprocess(tmp_path / "in", root, SMALL, workers=1)
    (tmp_path / "in" / "b.mp4").write_text("broken")
    preprocess(tmp_path / "in", root, PreprocessConfig(align=AlignConfig(size=64)), workers=1)
    with Store(root) as store:
        assert store.subjects == ["a"] and store.crop_size() == 64
    assert (root / "old" / "b.h5").is_file()


def test_unreadable_file_of_a_stored_clip_does_not_stop_the_others(tmp_path, moving_portrait, write_video):
    import cv2

    folder = tmp_path / "in" / "anna" / "seq"
    folder.mkdir(parents=True)
    for number, image in enumerate(moving_portrait(3)):
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
    preprocess(tmp_path / "in", tmp_path / "store", SMALL, workers=1)
    (folder / "1.png").unlink()
    (folder / "1.png").symlink_to(tmp_path / "gone.png")
    write_video(tmp_path / "in" / "ben.mp4", moving_portrait(4))
    result = preprocess(tmp_path / "in", tmp_path / "store", SMALL, workers=1)
    assert [failure.name for failure in result.failures] == ["anna/seq"]
    with Store(tmp_path / "store") as store:
        assert store.subjects == ["anna", "ben"]


def test_changed_span_and_resampling_reach_the_store_and_its_tuples(tmp_path, moving_portrait, write_video):
    from tclr.pipeline.tuples import index_clips
    from tclr.schemas.config import PretrainConfig

    write_video(tmp_path / "in" / "v.mp4", moving_portrait(60))
    table = tmp_path / "in" / "clips.csv"
    config = PreprocessConfig(DetectConfig(fps=12.5), AlignConfig(size=48))
    for start_s, first in ((0, 0), (0.8, 20)):
        table.write_text(f"path,subject,clip,start_s,end_s\nv.mp4,a,x,{start_s},{start_s + 1.2}\n")
        preprocess(tmp_path / "in", tmp_path / "store", config, workers=1)
        with Store(tmp_path / "store") as store:
            (info,) = store.clips
            numbers = store.read(info, "source_frame")
            assert numbers[0] == first and 14 <= len(numbers) <= 16
            whole, longer = (PretrainConfig(recipe="paper", n_following=len(numbers) - 2 + more) for more in (0, 1))
            assert index_clips(store, ["a"], whole) == [info]
            with pytest.raises(InputError, match=f"the longest run of a in .* has {len(numbers)}"):
                index_clips(store, ["a"], longer)
