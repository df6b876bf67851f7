import logging
import os
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest

from tclr.pipeline.preprocessing.plan import ClipPlan, SubjectPlan
from tclr.pipeline.preprocessing.scheduling import ClipBuild, Progress, StoreBuild, SubjectBuild
from tclr.pipeline.preprocessing.tasks import ClipTask, Outcome
from tclr.pipeline.sources import Clip
from tclr.pipeline.system import cluster
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import ClusterError


class Opened:
    """A cluster or client that cannot be closed in time, as on a machine that is too busy."""

    def __init__(self, *args, **options):
        self.is_closed = False

    def close(self):
        self.is_closed = True
        raise TimeoutError


@pytest.mark.parametrize("scheduler", [None, "tcp://127.0.0.1:1"])
def test_work_that_is_done_does_not_fail_because_dask_cannot_close(monkeypatch, caplog, scheduler):
    monkeypatch.setattr(cluster, "LocalCluster", Opened)
    monkeypatch.setattr(cluster, "Client", Opened)
    with cluster.connect(1, scheduler) as client:
        assert not client.is_closed
    assert client.is_closed and "could not close" in caplog.text
    with pytest.raises(ZeroDivisionError):  # what went wrong before matters more
        with cluster.connect(1, scheduler):
            1 / 0  # noqa: B018


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_workers_log_what_their_client_logs(monkeypatch, level):
    plugins = []
    monkeypatch.setattr(Opened, "register_plugin", lambda self, plugin: plugins.append(plugin), raising=False)
    monkeypatch.setattr(cluster, "LocalCluster", Opened)
    monkeypatch.setattr(cluster, "Client", Opened)
    logger = logging.getLogger("tclr")
    logger.setLevel(level)
    with cluster.connect(1, None):
        pass
    assert len(plugins) == (level == "INFO")
    for plugin in plugins:
        logger.setLevel(logging.NOTSET)
        plugin.setup(None)
        assert logger.level == logging.INFO and len(logger.handlers) == 1


def test_workers_that_do_not_start_are_one_clear_error(monkeypatch):
    def refuse(**options):
        raise RuntimeError("Nanny failed to start")

    monkeypatch.setattr(cluster, "LocalCluster", refuse)
    with pytest.raises(ClusterError, match="start 3 Dask workers.*Nanny failed to start. Run the same command again"):
        with cluster.connect(3, None):
            pass


class Asked:
    """A client whose workers tell how many cores they may use."""

    def __init__(self, cores):
        self.cores = cores

    def run(self, ask, on_error):
        if self.cores is None:
            raise OSError("lost")
        return self.cores


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        ({"tcp://127.0.0.1:5": 2}, (1, 2)),
        ({"tcp://127.0.0.1:5": 8, "tcp://127.0.0.1:6": 8}, (2, 8)),
        ({"tcp://10.0.0.1:5": 8, "tcp://10.0.0.2:5": 4}, (2, 12)),
        ({}, (0, 0)),
        (None, (0, 0)),
    ],
)
def test_cores_are_counted_once_per_machine(monkeypatch, cores, expected):
    monkeypatch.setattr(cluster, "as_completed", list)
    assert cluster.Dispatcher(Asked(cores), str).count_cores() == expected


def test_workers_are_not_watched_many_times_a_second():
    watching = [name for name in cluster.LOCAL_DASK if "pre-spawn" not in name]
    with cluster.connect(1, None) as client:
        (settings,) = client.run(lambda: {name: dask.config.get(name) for name in watching}).values()
    assert settings == {name: cluster.LOCAL_DASK[name] for name in watching}


def test_workers_allocate_memory_as_the_system_does(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with cluster.connect(1, None) as client:
        (names,) = client.run(lambda: [name for name in os.environ if name.startswith("MALLOC_")]).values()
    assert names == []


def test_workers_have_one_thread_for_numbers_and_this_process_as_many_as_before(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with cluster.connect(1, None) as client:
        assert list(client.run(lambda: os.environ["OMP_NUM_THREADS"]).values()) == ["1"]
        assert dict(os.environ) == before


class Submitting:
    """A client that keeps what it is given to do, with workers on some cores, and says at once that all went well."""

    def __init__(self, n_workers, n_cores):
        self.cores = {f"tcp://127.0.0.1:{port}": n_cores for port in range(n_workers)}
        self.tasks = []

    def run(self, ask, on_error):
        return self.cores

    def submit(self, function, task, pure):
        self.tasks.append(task)
        done = {"result": lambda: Outcome(names=(task.clip.clip,)), "release": lambda: None}
        return SimpleNamespace(key=str(len(self.tasks)), **done)


class Build(StoreBuild):
    """A store of one subject with some clips, of which none is assembled."""

    def __init__(self, client, n_clips):
        super().__init__(Path("store"), "run", PreprocessConfig(), Progress(n_clips, 0), print)
        self.tasks = cluster.Dispatcher(client, lambda reason: Outcome(reason=reason))
        clips = [Clip("folder", "s", f"c{i}", Path(f"c{i}.mp4"), f"c{i}.mp4") for i in range(n_clips)]
        plan = SubjectPlan("s", Path("s.h5"), {clip.clip: ClipPlan(clip) for clip in clips})
        self.backlog = [ClipBuild(SubjectBuild(self, plan), clip) for clip in plan.todo]


@pytest.mark.parametrize(
    ("n_workers", "n_cores", "n_clips", "ahead"),
    [(1, 2, 3, True), (2, 2, 3, False), (8, 8, 9, False), (8, 8, 4, True), (8, 8, 5, False), (0, 0, 1, False)],
)
def test_clips_are_read_ahead_where_workers_leave_cores_idle(monkeypatch, n_workers, n_cores, n_clips, ahead):
    monkeypatch.setattr(cluster, "as_completed", Queue)
    client = Submitting(n_workers, n_cores)
    build = Build(client, n_clips)
    build.cores = build.tasks.count_cores()
    next(build.tasks.results(build.backlog, ClipBuild.begin))
    assert [task.n_ahead > 0 for task in client.tasks] == [ahead] * n_clips


class Queue(list):
    """Tasks that are through in their order, as ``as_completed`` without a cluster."""

    add = list.append


def test_results_come_with_their_jobs_until_the_backlog_and_what_follows_is_through(monkeypatch):
    monkeypatch.setattr(cluster, "as_completed", Queue)
    monkeypatch.setattr(cluster, "MOST_TASKS", 2)
    client = Submitting(1, 1)
    tasks = cluster.Dispatcher(client, str)
    clip = Clip("folder", "s", "c", Path("c.mp4"), "c.mp4")

    def begin(job):
        tasks.submit(job, print, ClipTask(clip, Path("store"), PreprocessConfig()))

    seen = []
    for job, outcome in tasks.results(range(5), begin):
        seen.append((job, len(client.tasks), tasks.n_open))
        assert outcome.names == ("c",)
        if job == 1:
            begin("follows")  # at once, before the backlog
    assert seen == [(0, 2, 4), (1, 3, 3), (2, 4, 3), ("follows", 5, 2), (3, 6, 1), (4, 6, 0)]
