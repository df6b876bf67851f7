"""Captures what C and C++ libraries write to standard error without a logger."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

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
