"""Runs a step of the path in its own thread, ahead of the step that consumes its output; how many threads to use.

Decoding, landmarks, and the writing of crops mostly run without the interpreter's lock. On idle cores a clip therefore
takes little longer than its slowest step. If every core has a worker, threads only cost time (docs/performance.md).
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar, cast

Item = TypeVar("Item")

ITEMS_AHEAD = 8
"""Enough that neither side waits for the other's longest item; eight frames of 1920 x 1080 take 50 MB."""

_limit: int | None = None


def limit_threads(n_threads: int | None) -> int | None:
    """Let networks of this process use a number of threads, None for the default; return the limit before.

    >>> before = limit_threads(2)
    >>> count_threads(), limit_threads(before)
    (2, 2)
    """
    global _limit
    before, _limit = _limit, n_threads
    return before


def count_threads() -> int:
    """Return how many threads a network on the CPU may use: the limit, else PyTorch's setting, else one per core.

    PyTorch's setting counts where it is loaded. Results never depend on the number.
    """
    if _limit is not None:
        return _limit
    if torch := sys.modules.get("torch"):
        return int(torch.get_num_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "")  # as PyTorch does
    return int(wanted) if wanted.isdecimal() and int(wanted) else count_cores()


def count_cores() -> int:
    """Return the number of cores that this process may use.

    >>> count_cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_ahead(items: Iterable[Item], n_ahead: int) -> Generator[Item]:
    """Yield the items of an iterable in order, while a thread reads the next ``n_ahead`` of them.

    With 0, each item is read on request, without a thread. Only the thread reads the iterable, which is closed at the
    end if it is a generator; its errors follow the items before them. If this generator may not be read to its end,
    close it (``contextlib.closing``), which stops the thread and waits for it.

    >>> list(run_ahead("abc", 2))
    ['a', 'b', 'c']
    """
    if not n_ahead:
        yield from items
        return
    reading, end = iter(items), object()
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        waiting = deque(pool.submit(next, reading, end) for _ in range(n_ahead))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, reading, end))
            yield cast(Item, item)
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(reading, Generator):
            reading.close()


@contextmanager
def begun(call: Callable[[], Item], n_ahead: int) -> Iterator[Callable[[], Item]]:
    """Start a call in a thread and yield a function that waits for its result or error.

    With ``n_ahead`` 0 there is no thread: the function makes the call. A result that is never requested, for example
    because of an error elsewhere, is not waited for.
    """
    if not n_ahead:
        yield call
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        yield pool.submit(call).result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
