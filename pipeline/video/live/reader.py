"""Reads a source in a thread of its own, so that a slow reader gets the newest picture and never lags behind."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np

from tclr.pipeline.video.live.source import LiveSource
from tclr.schemas.errors import TclrError

CHECK_S = 0.1
"""How often a waiting thread looks whether it should end; signals are handled as often."""
LEAVE_S = 2.0
"""How long closing waits for the thread, which may be waiting for a stream."""


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """One picture of a source."""

    index: int
    """Number among all pictures of the source, from 0, dropped ones included; of numbered images that of the file."""
    timestamp_s: float
    """Seconds from the first picture: a file's own time, else when the picture came."""
    clock_s: float
    """When it came, in seconds since 1970."""
    came_s: float
    """When it came, or with ``every`` when it was taken, on the clock of ``time.monotonic``."""
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""


class LiveReader:
    """The frames of a source, the newest one each time that one is asked for; use it in a ``with`` statement.

    A picture that nobody asks for until the next one comes is dropped and counted. A file is played at its own pace,
    which begins when its first picture is taken. With ``every`` none is dropped and nothing waits for a clock.

    Parameters
    ----------
    source : LiveSource
        What to read.
    every : bool
        Whether to give every picture, as fast as they are asked for.

    Attributes
    ----------
    n_dropped : int
        How many pictures were dropped so far.
    error : TclrError or None
        Why the source ended, if not by itself.
    is_stopped : bool
        Whether ``stop`` ended it.

    Examples
    --------
    >>> from tclr.pipeline.video.live import find_source
    >>> with LiveReader(find_source("clips/2D+3D/F001/T1"), every=True) as reader:
    ...     frames = list(reader)
    >>> len(frames), frames[-1].index, round(frames[-1].timestamp_s, 2), reader.n_dropped
    (16, 981, 0.6, 0)
    """

    def __init__(self, source: LiveSource, every: bool = False) -> None:
        self.n_dropped = 0
        self.error: TclrError | None = None
        self.is_stopped = False
        self._source, self._every = source, every
        self._newest: LiveFrame | None = None
        self._changed = threading.Condition()
        self._is_over = self._is_closed = False
        self._defect: BaseException | None = None
        self._first_taken, self._taken_s = threading.Event(), 0.0
        self._thread = threading.Thread(target=self._read, name="tclr-live", daemon=True)

    def __enter__(self) -> LiveReader:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[LiveFrame]:
        while (frame := self._wait_for_one()) is not None:
            yield frame
        if self._defect is not None:
            raise self._defect

    def close(self) -> None:
        """Stop reading; a frame that waits is dropped without being counted. May be called at any time."""
        with self._changed:
            self._is_closed, self._newest = True, None
            self._changed.notify_all()
        self._first_taken.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(LEAVE_S)

    def stop(self) -> None:
        """Let the iteration end after the frame at hand; safe in a signal handler, since it waits for nothing."""
        self.is_stopped = self._is_closed = True

    def _wait_for_one(self) -> LiveFrame | None:
        with self._changed:
            while self._newest is None and not self._is_over and not self._is_closed:
                self._changed.wait(CHECK_S)
            frame, self._newest = None if self._is_closed else self._newest, None
            self._changed.notify_all()
        if frame is None:
            return None
        if not self._first_taken.is_set():
            self._taken_s = time.monotonic() - frame.timestamp_s
            self._first_taken.set()
        return replace(frame, came_s=time.monotonic()) if self._every else frame

    def _read(self) -> None:
        try:
            self._read_all()
        except TclrError as error:
            self.error = error
        except BaseException as error:  # a defect: it is raised where the frames are asked for
            self._defect = error
        finally:
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    def _read_all(self) -> None:
        began_s = 0.0
        seen = ((frame, frame.image) for frame in self._source.read() if frame.image is not None)
        for number, (frame, image) in enumerate(seen):
            is_timed, time_s = not math.isnan(frame.timestamp_s), frame.timestamp_s
            if is_timed and number and not self._every:
                began_s = self._wait_until(began_s, time_s, is_second=number == 1)
            came_s = time.monotonic()
            began_s = came_s - (time_s if is_timed else 0) if number == 0 else began_s
            time_s = time_s if is_timed else came_s - began_s
            if not self._offer(LiveFrame(frame.index, time_s, time.time(), came_s, image)):
                return

    def _wait_until(self, began_s: float, time_s: float, is_second: bool) -> float:
        """Wait until a file's picture is due, and return when the file began: when its first picture was taken."""
        if is_second:
            self._first_taken.wait()
            began_s = max(began_s, self._taken_s)
        while (left_s := began_s + time_s - time.monotonic()) > 0 and not self._is_closed:
            time.sleep(min(left_s, CHECK_S))
        return began_s

    def _offer(self, frame: LiveFrame) -> bool:
        """Make a frame the newest, in the place of one that nobody took; return whether to read on."""
        with self._changed:
            while self._every and self._newest is not None and not self._is_closed:
                self._changed.wait(CHECK_S)
            if self._newest is not None and not self._is_closed:
                self.n_dropped += 1
            self._newest = frame
            self._changed.notify_all()
            return not self._is_closed
