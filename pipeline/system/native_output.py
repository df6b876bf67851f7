"""Catches what C and C++ libraries write to standard error, past any logger."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

_LOCK = threading.RLock()


def _scratch_file() -> IO[bytes]:
    """Return a file to read and write, in memory where the system can: a full disk keeps no image from being read."""
    return os.fdopen(os.memfd_create("tclr"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def _duplicate_stderr() -> int | None:
    """Return a second descriptor of standard error; None where it is closed, as for some daemons."""
    try:
        return os.dup(2)
    except OSError:
        return None


@contextmanager
def caught_stderr() -> Iterator[list[str]]:
    """Catch what the block writes to file descriptor 2; other threads' words, too, so keep it short.

    Yields
    ------
    list of str
        Empty; holds the lines when the block has ended. If it raises, they go to standard error as they would have.
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
