"""Where tasks run: in this process, one after the other, or on a cluster. Only the latter imports Dask.

Both have the interface ``Tasks``, and the same tasks give the same files. In this process there is nothing to start,
and a plain script needs no ``if __name__ == "__main__"``; a crash of a task, though, is a crash of the process.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, Protocol, TypeVar

from tclr.pipeline.system.threads import count_cores

REPORT_EVERY_S = 0.1
"""Least time between two progress messages of a task of this process."""
Job = TypeVar("Job")
Result = TypeVar("Result")
Item = TypeVar("Item")
Report = Callable[[int, int], None]
_reporter: ContextVar[Report | None] = ContextVar("reporter", default=None)


class Tasks(Protocol[Job, Result]):
    """What runs tasks; ``cluster.Dispatcher`` describes each member."""

    @property
    def n_open(self) -> int:
        """Number of unfinished tasks."""
        ...

    def count_cores(self) -> tuple[int, int]:
        """Return the numbers of workers and of cores."""
        ...

    def submit(self, job: Job, work: Callable[..., Result], *arguments: Any, priority: int = 0) -> None:
        """Submit a task."""
        ...

    def results(self, backlog: Iterable[Item], begin: Callable[[Item], None]) -> Iterator[tuple[Job, Result]]:
        """Yield each job with its result."""
        ...


class HereTasks(Generic[Job, Result]):
    """Runs tasks in this process, in the thread that asks for results: of those submitted, the most urgent first.

    >>> tasks = HereTasks(print)
    >>> list(tasks.results("ab", lambda item: tasks.submit(item, str.upper, item)))
    [('a', 'A'), ('b', 'B')]
    """

    def __init__(self, on_progress: Callable[[Job, int, float], None]) -> None:
        self._on_progress = on_progress
        self._submitted: list[tuple[int, int, Job, Callable[..., Result], tuple[Any, ...]]] = []
        self._backlog: deque[Any] = deque()
        self._n_submitted = 0
        self._n_running = 0

    @property
    def n_open(self) -> int:
        """Number of unfinished tasks, including the backlog."""
        return len(self._submitted) + len(self._backlog) + self._n_running

    def count_cores(self) -> tuple[int, int]:
        """Return one worker, and the cores that this process may use."""
        return 1, count_cores()

    def submit(self, job: Job, work: Callable[..., Result], *arguments: Any, priority: int = 0) -> None:
        """Submit a task; of equal ``priority`` the first comes first."""
        self._n_submitted += 1
        heapq.heappush(self._submitted, (-priority, self._n_submitted, job, work, arguments))

    def results(self, backlog: Iterable[Item], begin: Callable[[Item], None]) -> Iterator[tuple[Job, Result]]:
        """Yield each job with the result of its task until none is left; begin an item when no task waits."""
        self._backlog.extend(backlog)
        while self.n_open:
            if not self._submitted:
                begin(self._backlog.popleft())
                continue
            _, _, job, work, arguments = heapq.heappop(self._submitted)
            self._n_running = 1
            result = self._run(job, work, arguments)
            self._n_running = 0
            yield job, result

    def _run(self, job: Job, work: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        last_s = time.monotonic()

        def report(n_frames: int, n_expected: int) -> None:
            nonlocal last_s
            if time.monotonic() - last_s >= REPORT_EVERY_S:
                last_s = time.monotonic()
                self._on_progress(job, n_frames, min(n_frames / n_expected, 1.0) if n_expected else 0.0)

        token = _reporter.set(report)
        try:
            return work(*arguments)
        finally:
            _reporter.reset(token)


def make_reporter() -> Report:
    """Return a function that reports from within a task: the number of frames done, and the number expected."""
    here = _reporter.get()
    if here is not None:
        return here
    from tclr.pipeline.system import cluster

    return cluster.make_reporter()


@contextmanager
def dispatching(
    workers: int | None,
    scheduler: str | None,
    lost: Callable[[str], Result],
    on_progress: Callable[[Job, int, float], None],
    threads: int = 1,
) -> Iterator[Tasks[Job, Result]]:
    """Run tasks within the block: in this process if ``workers`` is 0, else on a cluster, see ``cluster.on_cluster``.

    Each worker that is started runs ``threads`` tasks at once.

    Raises
    ------
    ClusterError
        If no scheduler answers, or it is lost within the block.
    """
    if workers == 0 and scheduler is None:
        yield HereTasks(on_progress)
        return
    from tclr.pipeline.system import cluster

    with cluster.on_cluster(workers, scheduler, lost, on_progress, threads) as tasks:
        yield tasks
