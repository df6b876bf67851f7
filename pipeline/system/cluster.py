"""Dask: worker processes of this machine, or a cluster with access to the same files."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import dask
from dask.system import CPU_COUNT
from dask.typing import Key
from distributed import Client, Future, LocalCluster, Worker, WorkerPlugin, as_completed, get_worker, wait
from distributed.comm import CommClosedError

from tclr.pipeline.system.native_output import sifted_stderr, write_stderr_to
from tclr.schemas.errors import ClusterError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5
MOST_TASKS = 4096
"""Tasks submitted to Dask at a time. Dask needs 15 kB per task, or 16 GB for all clips of VoxCeleb2 (docs/scaling.md).
This many keep a thousand workers busy while more are submitted."""
LOCAL_DASK = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.tick.limit": "30s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
"""Settings of local clusters. By default, Dask monitors itself 50 to 100 times per second, a twentieth of a core in
every process. It also makes workers return memory to the system after every picture, a quarter of a core
(docs/performance.md)."""
PROGRESS_TOPIC = "tclr-progress"
REPORT_EVERY_S = 0.5
"""Least time between two progress messages of a task, which keeps their cost far below that of the work."""
LARGEST_SHARED = "1GB"
"""Size of a shared value above which Dask warns; the largest encoder has 100 MB."""
C = TypeVar("C", Client, LocalCluster)
Job = TypeVar("Job")
Result = TypeVar("Result")
Item = TypeVar("Item")


def _own_cores() -> int:
    return int(CPU_COUNT)


class _LogsInWorkers(WorkerPlugin):
    """Makes workers log what this process logs, to the shared standard error."""

    def setup(self, worker: Worker) -> None:
        """Set up the logger of a worker's process."""
        own = logging.getLogger("tclr")
        own.setLevel(logging.INFO)
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        own.addHandler(handler)


class _SiftsStderr(WorkerPlugin):
    """Makes a worker write its standard error to a pipe, which leaves out what libraries log; see ``sifted_stderr``."""

    def __init__(self, pipe: Path) -> None:
        self._pipe = pipe

    def setup(self, worker: Worker) -> None:
        """Redirect the standard error of a worker's process, also of one that replaces a lost worker."""
        write_stderr_to(self._pipe)


@contextmanager
def _same_environment() -> Iterator[None]:
    """Remove variables that Dask sets here for its workers: they would limit PyTorch in this process to one thread."""
    before = set(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before:
            del os.environ[name]


@contextmanager
def _closing(opened: C) -> Iterator[C]:
    """Close at the end; an error then is only logged, because the work is done."""
    try:
        yield opened
    finally:
        try:
            opened.close()
        except (OSError, TimeoutError, RuntimeError) as error:
            logger.warning("Dask could not close %s: %s", type(opened).__name__, error)


def _join(scheduler: str) -> Client:
    try:
        return Client(scheduler, timeout=CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"No Dask scheduler answers at {scheduler!r} ({type(error).__name__}). "
            "Start one with 'dask scheduler', or leave out --scheduler."
        ) from error


def _start_workers(n_workers: int, threads: int) -> LocalCluster:
    try:
        with dask.config.set(LOCAL_DASK), _same_environment():
            return LocalCluster(
                n_workers=n_workers,
                threads_per_worker=threads,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,  # the process that waits for a result reports a lost worker
            )
    except (OSError, TimeoutError, RuntimeError) as error:
        raise ClusterError(
            f"Cannot start {n_workers} Dask workers on this machine: {type(error).__name__}: {str(error).rstrip('.')}. "
            "Run the same command again, with fewer --workers if the machine is busy. A script of yours that asks for "
            "workers must do its work under 'if __name__ == \"__main__\":'."
        ) from error


@contextmanager
def connect(workers: int | None, scheduler: str | None, threads: int = 1) -> Iterator[Client]:
    """Start a local Dask cluster of ``workers`` processes, by default one per core, or join a running cluster.

    A process that is started runs ``threads`` tasks at once. ``scheduler`` is the address of a running cluster, such as
    ``tcp://host:8786``.

    Raises
    ------
    ClusterError
        If the scheduler does not answer, or the local cluster cannot be started.
    """
    if scheduler is not None:
        with _closing(_join(scheduler)) as client:
            yield client
        return
    with (
        sifted_stderr() as pipe,
        _closing(_start_workers(workers or CPU_COUNT, threads)) as cluster,
        _closing(Client(cluster)) as client,
    ):
        if logging.getLogger("tclr").isEnabledFor(logging.INFO):
            client.register_plugin(_LogsInWorkers())
        elif pipe is not None:
            client.register_plugin(_SiftsStderr(pipe))
        yield client


def make_reporter() -> Callable[[int, int], None]:
    """Return a function that reports from within a task: the number of frames done, and the number expected."""
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
    """Submits tasks to a cluster and yields each result with its job; see ``on_cluster``."""

    def __init__(self, client: Client, lost: Callable[[str], Result]) -> None:
        self._client = client
        self._lost = lost
        self._queue = as_completed()
        self._backlog: deque[Any] = deque()
        self.jobs: dict[Key, Job] = {}  # of submitted tasks, by Dask's key

    @property
    def n_open(self) -> int:
        """Number of unfinished tasks, including the backlog."""
        return len(self.jobs) + len(self._backlog)

    def count_cores(self) -> tuple[int, int]:
        """Return the current numbers of workers and of cores that they may use; (0, 0) if unknown."""
        try:
            cores = self._client.run(_own_cores, on_error="ignore")
        except (OSError, TimeoutError) as error:  # a lost scheduler is reported where results are awaited
            logger.warning("Dask could not count the workers' cores: %s", error)
            return 0, 0
        hosts = {urlsplit(address).hostname: n_cores for address, n_cores in cores.items()}
        return len(cores), sum(hosts.values())

    def share(self, value: object) -> Future:
        """Send a value once, wait until a worker has it, and return a future.

        A task that gets the future as an argument receives the value. Dask sends it again if the worker dies.
        """
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": LARGEST_SHARED}):
            shared = self._client.submit(_same, value, pure=False)
        wait(shared)
        return shared

    def offers(self, resource: str) -> bool:
        """Return whether any current worker offers a Dask resource."""
        try:
            workers = self._client.scheduler_info()["workers"].values()
        except OSError as error:
            raise CommClosedError(str(error)) from error
        return any(worker["resources"].get(resource, 0) >= 1 for worker in workers)

    def submit(self, job: Job, work: Callable[..., Result], *arguments: Any, **options: Any) -> None:
        """Submit a task; ``options`` are Dask's, such as ``priority`` and ``resources``."""
        future = self._client.submit(work, *arguments, pure=False, **options)
        self.jobs[future.key] = job
        self._queue.add(future)

    def results(self, backlog: Iterable[Item], begin: Callable[[Item], None]) -> Iterator[tuple[Job, Result]]:
        """Yield each job with the result of its task, in order of completion, until no task is left.

        ``begin`` submits the tasks of one item of the backlog. It is called in the order of the items, whenever fewer
        than ``MOST_TASKS`` tasks are with Dask.
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
def on_cluster(
    workers: int | None,
    scheduler: str | None,
    lost: Callable[[str], Result],
    on_progress: Callable[[Job, int, float], None],
    threads: int = 1,
) -> Iterator[Dispatcher[Job, Result]]:
    """Connect to a cluster within the block (see ``connect``); Dask cancels tasks that are left at its end.

    Tasks catch their own errors. If a worker died, ``lost`` turns the reason into the task's result. Reports of tasks
    go to ``on_progress`` in another thread: the job, the number of frames done, and their share, 0 to 1.

    Raises
    ------
    ClusterError
        If no scheduler answers, or it is lost within the block.
    """
    with connect(workers, scheduler, threads) as client:
        dispatcher: Dispatcher[Job, Result] = Dispatcher(client, lost)

        def hear(event: tuple[float, dict[str, Any]]) -> None:
            key, n_frames, share = (event[1][name] for name in ("key", "n_frames", "share"))
            if (job := dispatcher.jobs.get(key)) is not None:  # None: a task of another run on the same cluster
                on_progress(job, n_frames, share)

        try:
            client.subscribe_topic(PROGRESS_TOPIC, hear)
            yield dispatcher
            client.unsubscribe_topic(PROGRESS_TOPIC)
        except (CancelledError, CommClosedError) as error:
            raise ClusterError(
                f"The Dask scheduler was lost ({type(error).__name__}). Finished work is kept. Restart the scheduler "
                "if necessary, then run the same command again."
            ) from error
