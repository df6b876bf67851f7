"""Where the work is done: processes of this machine, or a Dask cluster that sees the same files."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, Worker, WorkerPlugin

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
