import logging
import os
import time

import dask
import pytest
from distributed import LocalCluster

from tclr.pipeline.system import cluster
from tclr.schemas.errors import ClusterError


class Opened:
    """A cluster or client that cannot be closed in time, as on a machine that is too busy."""

    def __init__(self, *args, **options):
        self.is_closed = False

    def close(self):
        self.is_closed = True
        raise TimeoutError

    def register_plugin(self, plugin):
        pass


@pytest.mark.parametrize("scheduler", [None, "tcp://127.0.0.1:1"])
def test_an_error_of_dask_while_closing_does_not_fail_the_work(monkeypatch, caplog, scheduler):
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
    monkeypatch.setattr(Opened, "register_plugin", lambda self, plugin: plugins.append(plugin))
    monkeypatch.setattr(cluster, "LocalCluster", Opened)
    monkeypatch.setattr(cluster, "Client", Opened)
    logger = logging.getLogger("tclr")
    logger.setLevel(level)
    with cluster.connect(1, None):
        pass
    assert [type(plugin) for plugin in plugins] == [cluster._LogsInWorkers if level == "INFO" else cluster._SiftsStderr]
    for plugin in plugins if level == "INFO" else []:
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
    """A client whose workers return how many cores they may use."""

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


@pytest.fixture
def here():
    """Address of a Dask cluster of one thread of this process."""
    options = {"threads_per_worker": 1, "processes": False, "dashboard_address": None, "protocol": "tcp"}
    with LocalCluster(n_workers=1, silence_logs=logging.CRITICAL, **options) as started:
        yield started.scheduler_address


def test_results_come_with_their_jobs_until_backlog_and_follow_up_tasks_are_done(here, monkeypatch):
    monkeypatch.setattr(cluster, "MOST_TASKS", 2)
    began, seen = [], []
    with cluster.on_cluster(None, here, str, print) as tasks:

        def begin(job):
            began.append(job)
            tasks.submit(job, str.upper, job)

        for job, result in tasks.results("abcde", begin):
            seen.append((job, result, "".join(began), tasks.n_open))
            if job == "b":
                begin("follows")  # at once, before the backlog
    assert [result for _, result, _, _ in seen] == [job.upper() for job, _, _, _ in seen]
    assert [(job, others, n_open) for job, _, others, n_open in seen] == [
        ("a", "ab", 4),
        ("b", "abc", 3),
        ("c", "abcfollows", 3),
        ("follows", "abcfollowsd", 2),
        ("d", "abcfollowsde", 1),
        ("e", "abcfollowsde", 0),
    ]


def report_twice(word):
    report = cluster.make_reporter()
    for n_frames in (3, 6):
        report(n_frames, 12)
    return word


def test_reports_reach_their_job_and_those_of_another_run_are_ignored(here, monkeypatch):
    monkeypatch.setattr(cluster, "REPORT_EVERY_S", 0)
    heard, others = [], []
    with (
        cluster.on_cluster(None, here, str, lambda *report: others.append(report)),
        cluster.on_cluster(None, here, str, lambda *report: heard.append(report)) as tasks,
    ):
        # a job stays open until its result is taken, so both reports are heard before
        tasks.submit("job", report_twice, "word")
        deadline = time.monotonic() + 30
        while len(heard) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(tasks.results((), print)) == [("job", "word")]
    assert heard == [("job", 3, 0.25), ("job", 6, 0.5)] and not others


def test_remaining_tasks_are_cancelled_when_the_block_ends_with_an_error(here, tmp_path):
    with pytest.raises(ZeroDivisionError):
        with cluster.on_cluster(None, here, str, print) as tasks:
            for number in range(400):  # more than a busy machine does before it hears of the error
                tasks.submit(number, slow_touch, tmp_path / str(number))
            next(tasks.results((), print))
            1 / 0  # noqa: B018
    time.sleep(1)  # what was running then ends
    n_done = len(list(tmp_path.iterdir()))
    time.sleep(0.5)
    assert 1 <= len(list(tmp_path.iterdir())) == n_done < 400


def slow_touch(path):
    time.sleep(0.05)
    path.touch()


def test_a_lost_worker_is_a_result_with_the_reason():
    with cluster.on_cluster(1, None, lambda reason: f"lost: {reason}", print) as tasks:
        tasks.submit("job", os._exit, 1)
        assert list(tasks.results((), print)) == [
            ("job", "lost: its Dask worker was lost (KilledWorker; out of memory?)")
        ]
