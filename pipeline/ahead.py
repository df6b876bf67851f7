"""Runs a step of the path in a thread of its own, a few items ahead of the step that takes them.

Decoding, landmarks, and cutting, compressing and writing of crops each leave the interpreter's lock alone most of the
time, so that a clip takes little longer than the slowest of them where a core has nothing else to do. Where every core
has a worker, threads would only be in one another's way (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from functools import partial
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import NoReturn, TypeVar

Item = TypeVar("Item")

ITEMS_AHEAD = 8
"""Chosen by us: enough that neither side waits for the other's longest item; eight frames of 1920 x 1080 are 50 MB."""


def run_ahead(items: Iterable[Item], n_ahead: int = ITEMS_AHEAD) -> Generator[Item]:
    """Yield what an iterable gives, in order, while a thread goes on with the items behind.

    Close it (``contextlib.closing``) where it may not be read to its end: that stops and awaits the thread.

    Parameters
    ----------
    items : iterable
        Read in the thread alone; if it is a generator, it is closed there.
    n_ahead : int
        How many items may be ready and not taken yet; 0 reads each when it is asked for, without a thread.

    Yields
    ------
    object
        The items.

    Raises
    ------
    BaseException
        What the iterable raised, after the items before.
    """
    if not n_ahead:
        yield from items
        return
    ready: SimpleQueue[Callable[[], Item]] = SimpleQueue()
    room = Semaphore(n_ahead)
    is_wanted = True

    def read() -> None:
        reading = iter(items)
        try:
            for item in reading:
                ready.put(partial(_give, item))
                room.acquire()
                if not is_wanted:
                    break
            if isinstance(reading, Generator):
                reading.close()
            raise _End
        except BaseException as error:
            ready.put(partial(_raise, error))

    thread = Thread(target=read, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = ready.get()()
            except _End:
                return
            room.release()
            yield item
    finally:
        is_wanted = False
        room.release()
        thread.join()


def _give(item: Item) -> Item:
    return item


def _raise(error: BaseException) -> NoReturn:
    raise error


class _End(Exception):
    """No further item comes."""
