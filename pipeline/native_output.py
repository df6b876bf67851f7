"""Catches what C and C++ libraries write to standard error, past any logger."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.RLock()


@contextmanager
def caught_stderr() -> Iterator[list[str]]:
    """Catch what the block writes to file descriptor 2; other threads' words, too, so keep it short.

    Yields
    ------
    list of str
        Empty; holds the lines when the block has ended. If it raises, they go to standard error as they would have.
    """
    lines: list[str] = []
    with _LOCK, tempfile.TemporaryFile() as written:
        kept = os.dup(2)
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
