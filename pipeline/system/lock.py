"""One run a folder, a store or features: a lock that ends with the process that holds it."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from tclr.pipeline.system.files import writing
from tclr.schemas.errors import OutputError

logger = logging.getLogger(__name__)

NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
"""What a file system says that knows no locks."""


def _lock_path(folder: Path) -> Path:
    return folder / ".lock"


def _read(folder: Path) -> dict[str, str]:
    try:
        return {str(key): str(value) for key, value in json.loads(_lock_path(folder).read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _take(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            logger.warning("The file system of %s knows no locks: see that no other run writes there.", folder)
            return
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        holder = _read(folder)
        who = ", ".join(f"{name} {holder.get(name, 'unknown')}" for name in ("host", "process", "since"))
        raise OutputError(
            f"Expected no other run on {folder}, but one is writing it ({who}). Wait for it to end, then run again."
        ) from error


@contextmanager
def lock_folder(folder: Path) -> Iterator[str]:
    """Hold a folder for one run; yields the run's name.

    The operating system gives the lock (``flock``) back when the process ends, however it ends. Over NFS it holds
    between machines if the server keeps locks, as is the default since NFS 4.

    Raises
    ------
    OutputError
        If another run holds it, or the folder cannot be written.
    """
    path, run = _lock_path(folder), uuid.uuid4().hex
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        with writing(path):
            _take(file, folder)
            since = datetime.now().astimezone().isoformat(timespec="seconds")
            file.truncate(0)
            file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": since, "run": run}))
            file.flush()
        yield run


def check_run(folder: Path, run: str) -> None:
    """Check that a run still holds its folder: a worker may outlive it.

    Raises
    ------
    OutputError
        If another run has begun since.
    """
    if (holder := _read(folder).get("run")) != run:
        raise OutputError(
            f"Expected {folder} to be held by the run of this worker, but another one ({holder}) has begun since. "
            "Nothing was written."
        )
