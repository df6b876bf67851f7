"""Runs a step of the path in a thread of its own, ahead of the step that takes what it gives.

Decoding, landmarks, and cutting, compressing and writing of crops each leave the interpreter's lock alone most of the
time, so that a clip takes little longer than the slowest of them where a core has nothing else to do. Where every core
has a worker, threads would only be in one another's way (docs/performance.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar, cast

Item = TypeVar("Item")

ITEMS_AHEAD = 8
"""Chosen by us: enough that neither side waits for the other's longest item; eight frames of 1920 x 1080 are 50 MB."""


def run_ahead(items: Iterable[Item], n_ahead: int) -> Generator[Item]:
    """Yield what an iterable gives, in order, while a thread reads the next ``n_ahead`` items.

    With 0, each item is read when it is asked for, without a thread. The iterable is read in the thread alone, and
    closed at the end if it is a generator; what it raises comes after the items before. Close this generator
    (``contextlib.closing``) where it may not be read to its end: that stops and awaits the thread.
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
    """Begin a call in a thread, and give what waits for its result, or for its error.

    With ``n_ahead`` 0 it is not begun before it is waited for, and there is no thread. Nobody waits for a call whose
    result is not asked for, because of an error elsewhere, say.
    """
    if not n_ahead:
        yield call
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        yield pool.submit(call).result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
