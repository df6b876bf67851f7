"""How files appear: whole, in one step, with one clear error when they cannot."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tclr.schemas.errors import OutputError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system and HDF5 say when a disk is full or read-only into one clear error."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC or "errno = 28" in str(error)
        reason = "no space is left on the device" if full else str(error).splitlines()[0]
        advice = "Free some space" if full else "Check the folder and its permissions"
        raise OutputError(f"Cannot write {path}: {reason}. {advice}, then run the same command again.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and rename it on success, so nobody sees a half-written file.

    Raises
    ------
    OutputError
        If the folder cannot be written or is full.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        remove_quietly(temporary)


def remove_quietly(path: Path) -> None:
    """Delete a file if it is there and can be deleted: what went wrong before matters more than this."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary as readable JSON, in one step."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
