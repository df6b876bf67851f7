"""Captures, or sifts, what C and C++ libraries write to standard error without a logger."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

LIBRARY_LOG = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:[\d.]+ +\d+ \S+:\d+\] |(INFO|WARNING|ERROR): \[\S+:\d+\] "
    rb"|INFO: \w+ TensorFlow Lite |WARNING: (All log messages|Logging) before "
)
"""Start of a line that Google's libraries log (absl, LiteRT). A fatal one, ``F``, says why a process ended."""
_END = b"\0"
_LOCK = threading.RLock()


def _scratch_file() -> IO[bytes]:
    """Return a file to read and write, in memory if possible: images can then be read on a full disk."""
    return os.fdopen(os.memfd_create("tclr"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def _duplicate_stderr() -> int | None:
    """Return a duplicate of standard error; None where it is closed, as in some daemons."""
    try:
        return os.dup(2)
    except OSError:
        return None


@contextmanager
def caught_stderr() -> Iterator[list[str]]:
    """Capture what the block writes to file descriptor 2, and what other threads write meanwhile; keep it short.

    Yields
    ------
    list of str
        Empty during the block, and filled after it. If the block raises, the lines go to standard error instead.
    """
    lines: list[str] = []
    with _LOCK, _scratch_file() as written:
        kept = _duplicate_stderr()
        if kept is None:
            yield lines
            return
        os.dup2(written.fileno(), 2)
        try:
            yield lines
        except BaseException:
            written.seek(0)
            os.write(kept, written.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        written.seek(0)
        lines += written.read().decode(errors="replace").splitlines()


def quiet_unless_verbose() -> AbstractContextManager[object]:
    """Hide what native code writes to standard error within a block, unless it fails or the log is shown."""
    return nullcontext() if logging.getLogger("tclr").isEnabledFor(logging.INFO) else caught_stderr()


@contextmanager
def sifted_stderr() -> Iterator[Path | None]:
    """Yield a named pipe for the standard error of other processes, see ``write_stderr_to``; None without such pipes.

    A thread passes its lines on to ``sys.stderr``, without those that ``LIBRARY_LOG`` matches. What a process wrote
    just before it crashed arrives, too.
    """
    if not hasattr(os, "mkfifo"):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tclr-") as folder:
        path = Path(folder) / "stderr"
        os.mkfifo(path, 0o600)
        pipe = os.open(path, os.O_RDWR)  # also for writing, so that it does not end with its first writer
        thread = threading.Thread(target=_pass_on, args=[pipe], daemon=True, name="stderr")
        thread.start()
        try:
            yield path
        finally:
            os.write(pipe, _END)
            thread.join()
            os.close(pipe)


def _pass_on(pipe: int) -> None:
    """Pass lines on until ``_END``, which may follow an unfinished line."""
    waiting = b""
    while not waiting.endswith(_END):
        *lines, waiting = (waiting + os.read(pipe, 2**16)).split(b"\n")
        _show([line + b"\n" for line in lines])
    _show([waiting.removesuffix(_END)])


def _show(lines: list[bytes]) -> None:
    text = b"".join(line for line in lines if not LIBRARY_LOG.match(line)).decode(errors="replace")
    if text and sys.stderr is not None:
        with suppress(OSError, ValueError):  # closed: the pipe must be emptied all the same
            sys.stderr.write(text)
            sys.stderr.flush()


def write_stderr_to(path: Path) -> None:
    """Let this process write its standard error to a named pipe; leave it as it is if nobody reads that."""
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    os.set_blocking(pipe, True)
    os.dup2(pipe, 2)
    os.close(pipe)
