"""Where the work is done: processes of this machine, or a Dask cluster that sees the same files."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import dask
from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, Worker, WorkerPlugin, get_worker
from distributed.comm import CommClosedError

from tclr.schemas.errors import ClusterError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5
MOST_TASKS = 4096
"""Tasks that Dask knows of at a time: it takes 15 kB for each, which would be 16 GB for VoxCeleb2's clips
(docs/scaling.md). Enough for a thousand workers to have something to do while others are handed in."""
LOCAL_DASK = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "30s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
"""Settings of local clusters. Dask would watch itself 50 to 100 times a second, a twentieth of a core in every process;
and have workers give memory back to the system after every picture, a quarter of a core (docs/performance.md)."""
C = TypeVar("C", Client, LocalCluster)


def count_cores(client: Client) -> tuple[int, int]:
    """Return how many workers a cluster has now, and how many cores they may use; 0 of both if it does not say."""
    try:
        cores = client.run(_own_cores, on_error="ignore")
    except (OSError, TimeoutError) as error:  # what a lost scheduler means is told by who waits for results
        logger.warning("Dask could not tell the workers' cores: %s", error)
        return 0, 0
    hosts = {urlsplit(address).hostname: n_cores for address, n_cores in cores.items()}
    return len(cores), sum(hosts.values())


def _own_cores() -> int:
    return int(CPU_COUNT)


class _LogsInWorkers(WorkerPlugin):
    """Has the workers log what this process logs, to the standard error that they share."""

    def setup(self, worker: Worker) -> None:
        """Set up the logger of a worker's process."""
        own = logging.getLogger("tclr")
        own.setLevel(logging.INFO)
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        own.addHandler(handler)


@contextmanager
def _same_environment() -> Iterator[None]:
    """Take back the variables that Dask sets here for its workers: PyTorch would keep this process to one thread."""
    before = set(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before:
            del os.environ[name]


@contextmanager
def _closing(opened: C) -> Iterator[C]:
    """Close at the end; the work is done by then, so what goes wrong with that is no failure of it."""
    try:
        yield opened
    finally:
        try:
            opened.close()
        except (OSError, TimeoutError, RuntimeError) as error:
            logger.warning("Dask could not close %s: %s", type(opened).__name__, error)


@contextmanager
def connect(workers: int | None, scheduler: str | None) -> Iterator[Client]:
    """Start a local Dask cluster of processes, or join a running one.

    Parameters
    ----------
    workers : int or None
        Processes of the local cluster; ``None`` is one a core.
    scheduler : str or None
        Address of a running scheduler, as ``tcp://host:8786``.

    Raises
    ------
    ClusterError
        If the scheduler does not answer, or no local cluster can be started.
    """
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"No Dask scheduler answers at {scheduler!r} ({type(error).__name__}). "
                "Start one with 'dask scheduler', or leave out --scheduler."
            ) from error
        with _closing(client):
            yield client
        return
    n_workers = workers or CPU_COUNT
    try:
        with dask.config.set(LOCAL_DASK), _same_environment():
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,  # what is lost with a worker is told by who waits for it
            )
    except (OSError, TimeoutError, RuntimeError) as error:
        raise ClusterError(
            f"Expected to start {n_workers} Dask workers on this machine, but got {type(error).__name__}: {error}. "
            "Run the same command again, with fewer --workers if the machine is busy."
        ) from error
    with _closing(cluster):
        with _closing(Client(cluster)) as client:
            if logging.getLogger("tclr").isEnabledFor(logging.INFO):
                client.register_plugin(_LogsInWorkers())
            yield client


T = TypeVar("T")

PROGRESS_TOPIC = "tclr-progress"
REPORT_EVERY_S = 0.5
"""Least time between two progress messages of a task; chosen by us: messages stay far below the work."""


def make_reporter(key: str) -> Callable[[int, int], None]:
    """Return a function that tells the client how many frames of a task, of how many, are done; for use in the task."""
    worker = get_worker()
    last_s = time.monotonic()

    def report(n_frames: int, n_expected: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= REPORT_EVERY_S:
            last_s = time.monotonic()
            share = min(n_frames / n_expected, 1.0) if n_expected else 0.0
            worker.log_event(PROGRESS_TOPIC, {"key": key, "n_frames": n_frames, "share": share})

    return report


@contextmanager
def following(client: Client, on_message: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Hand over what tasks report, ``key``, ``n_frames`` and ``share``, while the block waits for them.

    Messages of other runs on the same cluster come, too; ``on_message`` is called from another thread.

    Raises
    ------
    ClusterError
        If the scheduler is lost meanwhile.
    """
    try:
        client.subscribe_topic(PROGRESS_TOPIC, lambda event: on_message(event[1]))
        yield
        client.unsubscribe_topic(PROGRESS_TOPIC)
    except (CancelledError, CommClosedError) as error:
        raise ClusterError(
            f"The Dask scheduler was lost ({type(error).__name__}). What is done is kept: start it if need be, "
            "then run the same command again."
        ) from error


def result_of(future: Future, lost: Callable[[str], T]) -> T:
    """Return what a task returned, or ``lost(reason)`` if its worker died; tasks catch errors of their own."""
    try:
        return future.result()
    except CancelledError:
        raise
    except Exception as error:
        return lost(f"its Dask worker was lost ({type(error).__name__}; out of memory?)")
