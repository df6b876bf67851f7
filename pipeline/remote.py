"""Between a task on a Dask worker and the run that waits for it: progress, a lost worker, a lost scheduler."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, TypeVar

from distributed import Client, Future, get_worker
from distributed.comm import CommClosedError

from tclr.schemas.errors import ClusterError

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
