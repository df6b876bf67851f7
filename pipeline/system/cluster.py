"""Where the work is done: processes of this machine, or a Dask cluster that sees the same files."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import dask
from dask.system import CPU_COUNT
from dask.typing import Key
from distributed import Client, Future, LocalCluster, Worker, WorkerPlugin, as_completed, get_worker, wait
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
PROGRESS_TOPIC = "tclr-progress"
REPORT_EVERY_S = 0.5
"""Least time between two progress messages of a task; chosen by us: messages stay far below the work."""
LARGEST_SHARED = "1GB"
"""Up to this size Dask does not warn of a value that is shared; chosen by us: the largest encoder has 100 MB."""
C = TypeVar("C", Client, LocalCluster)
Job = TypeVar("Job")
Result = TypeVar("Result")
Item = TypeVar("Item")


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
    """Start a local Dask cluster of as many processes as ``workers``, by default one per core, or join a running one.

    ``scheduler`` is the address of the latter, as ``tcp://host:8786``.

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


def make_reporter() -> Callable[[int, int], None]:
    """Return a function for use in a task: it reports how many frames, of how many, are done."""
    worker = get_worker()
    key = worker.get_current_task()
    last_s = time.monotonic()

    def report(n_frames: int, n_expected: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= REPORT_EVERY_S:
            last_s = time.monotonic()
            share = min(n_frames / n_expected, 1.0) if n_expected else 0.0
            worker.log_event(PROGRESS_TOPIC, {"key": key, "n_frames": n_frames, "share": share})

    return report


class Dispatcher(Generic[Job, Result]):
    """Hands tasks to a cluster and gives what comes of each, with the job that it was for; see ``dispatching``."""

    def __init__(self, client: Client, lost: Callable[[str], Result]) -> None:
        self._client = client
        self._lost = lost
        self._queue = as_completed()
        self._backlog: deque[Any] = deque()
        self.jobs: dict[Key, Job] = {}  # of tasks that Dask knows of, by its key

    @property
    def n_open(self) -> int:
        """How many tasks are not through, those of the backlog included."""
        return len(self.jobs) + len(self._backlog)

    def count_cores(self) -> tuple[int, int]:
        """Return how many workers there are now, and how many cores they may use; 0 of both if they do not say."""
        try:
            cores = self._client.run(_own_cores, on_error="ignore")
        except (OSError, TimeoutError) as error:  # who waits for results reports a lost scheduler
            logger.warning("Dask could not tell the workers' cores: %s", error)
            return 0, 0
        hosts = {urlsplit(address).hostname: n_cores for address, n_cores in cores.items()}
        return len(cores), sum(hosts.values())

    def share(self, value: object) -> Future:
        """Send a value once, and wait until a worker has it.

        Tasks that are given what this returns get the value. Dask sends it again if the worker that has it dies.
        """
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": LARGEST_SHARED}):
            shared = self._client.submit(_same, value, pure=False)
        wait(shared)
        return shared

    def offers(self, resource: str) -> bool:
        """Return whether some worker that has joined offers a resource of Dask's."""
        try:
            workers = self._client.scheduler_info()["workers"].values()
        except OSError as error:
            raise CommClosedError(str(error)) from error
        return any(worker["resources"].get(resource, 0) >= 1 for worker in workers)

    def submit(self, job: Job, work: Callable[..., Result], *arguments: Any, **options: Any) -> None:
        """Hand in a task at once; ``options`` are Dask's, as ``priority`` and ``resources``."""
        future = self._client.submit(work, *arguments, pure=False, **options)
        self.jobs[future.key] = job
        self._queue.add(future)

    def results(self, backlog: Iterable[Item], begin: Callable[[Item], None]) -> Iterator[tuple[Job, Result]]:
        """Yield each job with what came of its task, in any order, until nothing is left.

        ``begin`` submits an item of the backlog. It is called in their order, while Dask knows of fewer than
        ``MOST_TASKS`` tasks.
        """
        self._backlog.extend(backlog)
        self._hand_in(begin)
        for future in self._queue:
            yield self.jobs.pop(future.key), self._result_of(future)
            self._hand_in(begin)

    def _hand_in(self, begin: Callable[[Any], None]) -> None:
        while self._backlog and len(self.jobs) < MOST_TASKS:
            begin(self._backlog.popleft())

    def _result_of(self, future: Future) -> Result:
        try:
            result: Result = future.result()
        except CancelledError:
            raise
        except Exception as error:
            result = self._lost(f"its Dask worker was lost ({type(error).__name__}; out of memory?)")
        future.release()
        return result


def _same(value: object) -> object:
    return value


@contextmanager
def dispatching(
    workers: int | None,
    scheduler: str | None,
    lost: Callable[[str], Result],
    on_progress: Callable[[Job, int, float], None],
) -> Iterator[Dispatcher[Job, Result]]:
    """Connect to a cluster (``connect``) for the time of the block; Dask cancels tasks that are left at its end.

    Tasks catch errors of their own: only where a worker died, ``lost`` makes their result of the reason. What tasks
    report is given to ``on_progress`` in another thread: the job, how many frames are done and which share, 0 to 1.

    Raises
    ------
    ClusterError
        If no scheduler answers, or it is lost meanwhile.
    """
    with connect(workers, scheduler) as client:
        dispatcher: Dispatcher[Job, Result] = Dispatcher(client, lost)

        def hear(event: tuple[float, dict[str, Any]]) -> None:
            key, n_frames, share = (event[1][name] for name in ("key", "n_frames", "share"))
            if (job := dispatcher.jobs.get(key)) is not None:  # else it is of another run on the same cluster
                on_progress(job, n_frames, share)

        try:
            client.subscribe_topic(PROGRESS_TOPIC, hear)
            yield dispatcher
            client.unsubscribe_topic(PROGRESS_TOPIC)
        except (CancelledError, CommClosedError) as error:
            raise ClusterError(
                f"The Dask scheduler was lost ({type(error).__name__}). What is done is kept: start it if need be, "
                "then run the same command again."
            ) from error
