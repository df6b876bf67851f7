"""One run at a time per folder, a store or features: a lock that ends with the process that holds it."""

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
"""Errors of file systems without locks."""


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
            logger.warning("The file system of %s supports no locks: make sure that no other run writes there.", folder)
            return
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        holder = _read(folder)
        who = ", ".join(f"{name} {holder.get(name, 'unknown')}" for name in ("host", "process", "since"))
        raise OutputError(
            f"Expected no other run on {folder}, but one is writing to it ({who}). Wait for it to end, then run again."
        ) from error


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
    """Check that no other run has locked the folder since: a worker may outlive its run.

    Raises
    ------
    OutputError
        If another run has started since.
    """
    if (holder := _read(folder).get("run")) != run:
        raise OutputError(
            f"Expected the run of this worker to hold {folder}, but another run ({holder}) has started since. "
            "Nothing was written."
        )
