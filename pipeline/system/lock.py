"""One run at a time per folder, a store or features: a lock that ends with the process that holds it.

A run holds ``.lock``, which is empty, and beside it an empty file whose name says who holds it. Both go when the run
ends. A run that is killed leaves them; the next one takes them over. They are empty because readers of a folder of
Parquet pass over empty files: polars refuses any other that is not Parquet, whatever its name.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from tclr.pipeline.system.files import remove_quietly, writing
from tclr.schemas.errors import OutputError

logger = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""Errors of file systems without locks."""


def _lock_path(folder: Path) -> Path:
    return folder / ".lock"


def _marks(folder: Path) -> list[Path]:
    """Return the files that name a run of this folder: ``.<host>~<process>~<since>~<run>.run``."""
    return sorted(folder.glob(".*~*~*~*.run"))


def _new_mark(folder: Path, run: str) -> Path:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return folder / f".{socket.gethostname()}~{os.getpid()}~{since}~{run}.run"


def _take(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            logger.warning("The file system of %s supports no locks: make sure that no other run writes there.", folder)
            return
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        holders = [mark.name[1:].split("~")[:3] for mark in _marks(folder)] or [["unknown"] * 3]
        who = ", ".join(f"{name} {value}" for name, value in zip(("host", "process", "since"), holders[0], strict=True))
        raise OutputError(
            f"Expected no other run on {folder}, but one is writing to it ({who}). Wait for it to end, then run again."
        ) from error


def _is_at(file: IO[str], path: Path) -> bool:
    """Return whether an open file is still the one at its path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _open_locked(folder: Path) -> IO[str]:
    """Return the locked file; raise ``OutputError`` if another run has it.

    A run that ends deletes its file while it still holds it. Whoever had opened that file before holds a lock on
    nothing, and tries again.
    """
    while True:
        file = _lock_path(folder).open("a")
        try:
            _take(file, folder)
            if _is_at(file, _lock_path(folder)):
                file.truncate(0)  # tclr 0.1.0 wrote into it
                return file
        except BaseException:
            file.close()
            raise
        file.close()


@contextmanager
def lock_folder(folder: Path) -> Iterator[str]:
    """Lock a folder for one run within the block, and yield the run's random name.

    The operating system releases the lock (``flock``) when the process ends, for whatever reason. Over NFS the lock
    also excludes other machines if the server supports locks, as is the default since NFS 4.

    Raises
    ------
    OutputError
        If another run holds the lock, or the folder cannot be written.
    """
    run = uuid.uuid4().hex
    mark = _new_mark(folder, run)
    with writing(_lock_path(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        file = _open_locked(folder)
    with file:
        try:
            for left in _marks(folder):
                remove_quietly(left)
            with writing(mark):
                mark.touch()
            yield run
        finally:
            remove_quietly(mark)
            remove_quietly(_lock_path(folder))


def check_run(folder: Path, run: str) -> None:
    """Check that a run still holds the folder: a worker may outlive its run.

    Raises
    ------
    OutputError
        If it has ended, or another run has started since.
    """
    if not any(mark.name.endswith(f"~{run}.run") for mark in _marks(folder)):
        raise OutputError(
            f"Expected the run of this worker to hold {folder}, but it has ended, or another run has started since. "
            "Nothing was written."
        )
