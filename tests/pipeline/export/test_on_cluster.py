"""The exporter on Dask: the same files as in one process, whatever dies; failures, GPUs, progress."""

import shutil
import threading
import time
from contextlib import contextmanager

import dask
import h5py
import pandas as pd
import psutil
import pytest
import torch
from click.testing import CliRunner
from distributed import Scheduler, SpecCluster, Worker, get_worker

from tclr.cli.main import cli
from tclr.pipeline.au import fit_au
from tclr.pipeline.encoder import EncoderInfo, TorchEncoder, build_encoder, save_encoder
from tclr.pipeline.export import embed
from tclr.pipeline.export import on_cluster as embed_cluster
from tclr.pipeline.system import cluster as remote
from tclr.pipeline.system import count_threads, lock_folder
from tclr.schemas.config import EmbedConfig, FitAuConfig
from tclr.schemas.errors import ClusterError, OutputError, StoreError

pytestmark = pytest.mark.usefixtures("one_thread")
INFO = EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=1.0, arch="mobilenet_v2")
ALL = ["F001/T1", "F001/T2", "F002/T1", "F002/T2"]


@pytest.fixture(scope="module")
def encoder():
    return TorchEncoder(build_encoder(8, 0, "mobilenet_v2"), INFO)


@pytest.fixture(scope="module")
def store(make_store, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"), n_subjects=2, n_clips=2, n_frames=20, no_face=(0, 7))


@pytest.fixture(scope="module")
def head_file(store, encoder, tmp_path_factory):
    return fit_au(store, encoder, tmp_path_factory.mktemp("head") / "au.safetensors", FitAuConfig(folds=2)).path


@pytest.fixture(scope="module")
def expected(store, encoder, head_file, tmp_path_factory):
    """Every file's bytes, as one process makes them."""
    features = tmp_path_factory.mktemp("features")
    embed(store, features, encoder, EmbedConfig(), au_model=head_file)
    return contents(features)


@pytest.fixture
def copy(store, tmp_path):
    return shutil.copytree(store, tmp_path / "store")


def contents(features):
    """Return every file, hidden ones too, by its place."""
    files = (path for path in features.rglob("*") if path.is_file())
    return {str(path.relative_to(features)): path.read_bytes() for path in files}


@contextmanager
def cluster(*workers):
    """Start a Dask cluster in this process; each worker as its options say. Yields it."""
    options = {"dashboard_address": ":0", "protocol": "inproc", "port": 0}
    specs = {number: {"cls": Worker, "options": {"nthreads": 1, **own}} for number, own in enumerate(workers)}
    scheduler = {"cls": Scheduler, "options": {**options, "dashboard": False}}
    with SpecCluster(workers=specs, scheduler=scheduler, silence_logs=50) as started:
        yield started


def damage_frames(store, subject, clip):
    with h5py.File(store / "subjects" / f"{subject}.h5", "r+") as file:
        file[f"clips/{clip}/frames"].id.write_direct_chunk((0, 0, 0, 0), b"no frames")


# ---- the same files


@pytest.mark.slow
def test_processes_of_which_one_is_killed_make_the_same_files(store, encoder, head_file, expected, tmp_path):
    killed = []

    def notify(progress):
        if progress.n_frames and not killed:
            running = [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
            workers = [p for p in running if "spawn_main" in " ".join(p.cmdline())]
            killed.append(max(workers, key=lambda process: process.pid))
            killed[0].kill()

    result = embed(store, tmp_path, encoder, EmbedConfig(batch_size=5), au_model=head_file, workers=2, notify=notify)
    assert killed and not result.failures and (result.n_rows, result.n_clips, result.n_skipped) == (80, 4, 0)
    assert contents(tmp_path) == expected


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_running_cluster_makes_the_same_files_and_loads_the_encoder_once(
    store, encoder, head_file, expected, tmp_path, monkeypatch, n_threads
):
    loaded = []
    embed_cluster._loaded.clear()
    build = embed_cluster.open_encoder
    monkeypatch.setattr(embed_cluster, "open_encoder", lambda *given: loaded.append(given[1]) or build(*given))
    with cluster({"nthreads": n_threads}) as started:
        address = started.scheduler_address
        result = embed(store, tmp_path, encoder, EmbedConfig(), au_model=head_file, scheduler=address)
        assert contents(tmp_path) == expected and not result.failures
        assert loaded == [encoder.info]
        (tmp_path / "subject=F002" / "T1.parquet").unlink()
        assert embed(store, tmp_path, encoder, EmbedConfig(), au_model=head_file, scheduler=address).n_skipped == 3
    assert contents(tmp_path) == expected and len(loaded) == 1


def test_dask_knows_of_few_tasks_at_a_time(store, encoder, head_file, expected, tmp_path, monkeypatch, submitted):
    monkeypatch.setattr(remote, "MOST_TASKS", 2)
    with cluster({"nthreads": 2}) as started:
        address = started.scheduler_address
        embed(store, tmp_path / "features", encoder, EmbedConfig(), au_model=head_file, scheduler=address)
    assert [name for name, _ in submitted] == ["_same", *["export_task"] * 4]
    assert max(n_waiting for _, n_waiting in submitted) == 1 and contents(tmp_path / "features") == expected


def test_no_encoder_is_sent_where_none_is_needed(store, tmp_path):
    config = EmbedConfig(embedding="none")
    embed(store, tmp_path / "here", None, config, au_model="blendshapes")
    with cluster({}) as started:
        embed(store, tmp_path / "there", None, config, au_model="blendshapes", scheduler=started.scheduler_address)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_another_encoder_than_the_runs_is_refused(store, encoder, tmp_path, monkeypatch):
    other = TorchEncoder(build_encoder(8, 1, "mobilenet_v2"), INFO).weights()
    monkeypatch.setattr(embed_cluster, "_share", lambda job, encoder: embed_cluster.SharedExport(job, other))
    embed_cluster._loaded.clear()
    with cluster({}) as started:
        result = embed(store, tmp_path, encoder, EmbedConfig(), scheduler=started.scheduler_address)
    assert len(result.failures) == 4 and "Expected the encoder of this run" in result.failures[0].reason
    assert contents(tmp_path) == {}


def test_local_processes_share_the_cores_as_threads_of_networks(store, encoder, tmp_path, monkeypatch):
    seen = []
    export = embed_cluster.export_clip
    monkeypatch.setattr(embed_cluster, "CPU_COUNT", 7)
    monkeypatch.setattr(embed_cluster, "export_clip", lambda *a: seen.append(count_threads()) or export(*a))
    connect = remote.connect
    with cluster({}) as started:
        monkeypatch.setattr(remote, "connect", lambda workers, *_: connect(None, started.scheduler_address))
        embed(store, tmp_path, encoder, EmbedConfig(embedding="none"), workers=2)
    assert seen == [3] * 4


def test_a_worker_that_joins_when_the_first_has_died_gets_the_encoder(store, encoder, head_file, expected, tmp_path):
    late = []

    def replace_worker(progress):
        if progress.n_frames and not late:
            late.append(started.sync(Worker, started.scheduler_address, nthreads=1, name="late"))
            started.sync(started.workers[0].close, executor_wait=False)
            embed_cluster._loaded.clear()  # as in a process of its own

    with cluster({}) as started:
        address = started.scheduler_address
        result = embed(
            store, tmp_path, encoder, EmbedConfig(), au_model=head_file, scheduler=address, notify=replace_worker
        )
        assert [worker.name for worker in started.scheduler.workers.values()] == ["late"]
        started.sync(late[0].close)
    assert not result.failures and contents(tmp_path) == expected


# ---- interruptions and failures


@pytest.mark.parametrize("where", ["here", "cluster"])
def test_an_interrupted_run_goes_on_and_makes_nothing_again(store, encoder, head_file, expected, tmp_path, where):
    def interrupt(progress):
        if progress.n_frames > 40:
            raise KeyboardInterrupt

    with cluster({}) as started:
        options = {"au_model": head_file, "scheduler": started.scheduler_address if where == "cluster" else None}
        with pytest.raises(KeyboardInterrupt):
            embed(store, tmp_path, encoder, EmbedConfig(), **options, notify=interrupt)
        before = {path: path.stat().st_ino for path in tmp_path.rglob("*.parquet")}
        result = embed(store, tmp_path, encoder, EmbedConfig(), **options)
    assert len(before) >= 2 and all(path.stat().st_ino == inode for path, inode in before.items())
    # a worker may still end what it was at
    assert len(before) <= result.n_skipped <= len(before) + (where == "cluster") and contents(tmp_path) == expected


def test_a_lost_scheduler_is_one_clear_error_and_the_next_run_completes(store, encoder, head_file, expected, tmp_path):
    quick = dask.config.set({"distributed.comm.timeouts.connect": "1s"})  # closing looks for the scheduler
    with quick, cluster({}) as started:

        def lose(progress):
            if progress.n_frames == 20:
                started.sync(started.scheduler.close)

        with pytest.raises(ClusterError, match="The Dask scheduler was lost"):
            embed(
                store,
                tmp_path,
                encoder,
                EmbedConfig(),
                au_model=head_file,
                scheduler=started.scheduler_address,
                notify=lose,
            )
    embed(store, tmp_path, encoder, EmbedConfig(), au_model=head_file)
    assert contents(tmp_path) == expected


@pytest.mark.parametrize("where", ["here", "cluster"])
def test_a_damaged_clip_is_reported_and_the_others_go_on(copy, store, encoder, head_file, expected, tmp_path, where):
    features = tmp_path / "features"
    damage_frames(copy, "F001", "T2")
    with cluster({}) as started:
        options = {"au_model": head_file, "scheduler": started.scheduler_address if where == "cluster" else None}
        result = embed(copy, features, encoder, EmbedConfig(), **options)
    assert [failure.name for failure in result.failures] == ["F001/T2"]
    assert "Cannot read" in result.failures[0].reason and "preprocess" in result.failures[0].reason
    assert (result.n_rows, result.n_clips, result.n_skipped) == (60, 3, 0)
    assert contents(features) == {name: data for name, data in expected.items() if name != "subject=F001/T2.parquet"}
    shutil.copytree(store, copy, dirs_exist_ok=True)
    assert embed(copy, features, encoder, EmbedConfig(), au_model=head_file).n_skipped == 3
    assert contents(features) == expected


def test_what_cannot_even_be_opened_is_reported_and_its_former_files_do_not_stop_the_run(copy, encoder, tmp_path):
    features = tmp_path / "features"
    embed(copy, features, encoder, EmbedConfig())
    before = contents(features)
    (copy / "subjects" / "F002.h5").write_bytes(b"no HDF5")
    with h5py.File(copy / "subjects" / "F001.h5", "r+") as file:
        del file["clips/T2/au"].attrs["names"]
    result = embed(copy, features, encoder, EmbedConfig())
    assert [failure.name for failure in result.failures] == ["F002", "F001/T2"] and contents(features) == before
    assert (result.n_rows, result.n_clips, result.n_skipped) == (20, 1, 1)
    with h5py.File(copy / "subjects" / "F001.h5", "r+") as file:
        del file["clips/T1/status"], file["clips/T1"].attrs["n_frames"]
    with pytest.raises(StoreError, match="Expected 'status', but found none in .*F001"):
        embed(copy, features, encoder, EmbedConfig())


def test_memory_that_is_out_fails_one_clip(store, encoder, tmp_path, monkeypatch):
    errors = iter(
        [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory: x")]
    )
    run = TorchEncoder.embed_all

    def refuse(self, batches):
        if error := next(errors, None):
            raise error
        return run(self, batches)

    monkeypatch.setattr(TorchEncoder, "embed_all", refuse)
    result = embed(store, tmp_path, encoder, EmbedConfig())
    assert [failure.name for failure in result.failures] == ALL[:3] and result.n_clips == 1
    assert all("out of memory" in failure.reason and "--batch-size" in failure.reason for failure in result.failures)


def test_a_failed_clips_file_of_an_earlier_run_is_named(copy, encoder, tmp_path):
    features = tmp_path / "features"
    embed(copy, features, encoder, EmbedConfig(columns="pitch"))
    damage_frames(copy, "F001", "T2")
    result = embed(copy, features, encoder, EmbedConfig(), replace=True)
    assert result.failures[0].reason.endswith("T2.parquet is of an earlier run.")


def test_a_second_run_on_the_features_is_refused_and_pandas_does_not_see_the_lock(store, encoder, tmp_path):
    embed(store, tmp_path, encoder, EmbedConfig())
    with lock_folder(tmp_path), pytest.raises(OutputError, match="Expected no other run on"):
        embed(store, tmp_path, encoder, EmbedConfig())
    with lock_folder(tmp_path):
        foreign = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".parquet"]
        assert len(foreign) == 2 and not any(path.stat().st_size for path in foreign)  # polars passes over empty files
        assert len(pd.read_parquet(tmp_path)) == 80
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".parquet"}


def test_a_worker_that_outlives_its_run_writes_nothing(store, encoder, tmp_path):
    def take_over(progress):
        if (tmp_path / "subject=F001" / "T1.parquet").exists():
            for mark in tmp_path.glob("*.run"):
                mark.unlink()

    with pytest.raises(OutputError, match="another run has started since"):
        embed(store, tmp_path, encoder, EmbedConfig(), notify=take_over)
    assert list(contents(tmp_path)) == ["subject=F001/T1.parquet"]


@pytest.mark.parametrize("on_cluster", [False, True])
def test_command_tells_failures_and_its_status_is_1(copy, encoder, tmp_path, on_cluster):
    save_encoder(tmp_path / "encoder.safetensors", encoder.model, INFO)
    damage_frames(copy, "F002", "T1")
    with cluster({}) as started:
        arguments = ["embed", copy, tmp_path / "features", "--encoder", tmp_path / "encoder.safetensors"]
        arguments += ["--scheduler", started.scheduler_address] if on_cluster else []
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 1 and "failed: F002/T1: Cannot read" in result.stderr
    assert "60 rows, 3 clips" in result.stdout and "1 failed" in result.stdout


# ---- GPUs and progress


@pytest.fixture
def record(monkeypatch):
    """Return a list of (worker's name, start, end) of each clip's export, which takes 50 ms at least."""
    calls = []
    export = embed_cluster.export_clip

    def slow(*arguments):
        start = time.monotonic()
        time.sleep(0.2)
        outcome = export(*arguments)
        calls.append((get_worker().name, start, time.monotonic()))
        return outcome

    monkeypatch.setattr(embed_cluster, "export_clip", slow)
    return calls


def overlaps(calls):
    """Return the workers that did two clips at once."""
    ordered = sorted(calls)
    return {a[0] for a, b in zip(ordered, ordered[1:], strict=False) if a[0] == b[0] and b[1] < a[2]}


def test_one_clip_at_a_time_on_workers_with_a_gpu_and_none_elsewhere(make_store, tmp_path, record):
    store, config = make_store(tmp_path / "store", n_clips=4, n_frames=2), EmbedConfig(embedding="none")
    gpu = {"nthreads": 2, "resources": {"GPU": 1}}
    with cluster({"nthreads": 2}, gpu, gpu) as started:
        embed(store, tmp_path / "gpus", None, config, au_model="blendshapes", scheduler=started.scheduler_address)
    assert {name for name, _, _ in record} == {1, 2} and len(record) == 12 and overlaps(record) == set()
    record.clear()
    with cluster({"nthreads": 2}) as started:  # no resource: both threads are used
        embed(store, tmp_path / "none", None, config, au_model="blendshapes", scheduler=started.scheduler_address)
    assert overlaps(record) == {0}


def test_progress_counts_frames_within_a_clip_and_failures(copy, encoder, tmp_path, monkeypatch):
    damage_frames(copy, "F001", "T1")
    embed(copy, tmp_path / "features", encoder, EmbedConfig())
    shutil.rmtree(tmp_path / "features" / "subject=F002")
    told, seen, calls = threading.Event(), [], []
    run = TorchEncoder._run_padded

    def wait(self, frames):
        calls.append(len(frames))
        if len(calls) > 1:
            assert told.wait(10)
        return run(self, frames)

    def notify(progress):
        seen.append((progress.n_frames, progress.n_frames_total, len(progress.failures)))
        if progress.n_frames % 20:
            told.set()

    monkeypatch.setattr(remote, "REPORT_EVERY_S", 0)
    monkeypatch.setattr("tclr.pipeline.encoder.torch_encoder.cpu_step", lambda size: 8)
    monkeypatch.setattr(TorchEncoder, "_run_padded", wait)
    with cluster({}) as started:
        address = started.scheduler_address
        embed(copy, tmp_path / "features", encoder, EmbedConfig(batch_size=8), scheduler=address, notify=notify)
    assert seen[0] == (20, 80, 0) and seen[-1] == (80, 80, 1)
    assert any(n_frames % 20 for n_frames, _, _ in seen)
