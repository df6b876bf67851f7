"""Files that appear whole, in one step, with one clear error if they cannot be written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tclr.schemas.errors import OutputError, StoreError

RESERVED_BYTES = 64 * 2**20
"""Space left free: more than the workers of one machine write between two checks."""
MAX_JSON_DEPTH = 32
"""Most levels of objects and lists; files of tclr have four."""
ABANDONED_S = 3600
"""A temporary file of another machine counts as abandoned if it was not written to for this long."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the operating system and HDF5, such as a full disk, into one ``OutputError`` for ``path``."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC or "errno = 28" in str(error)
        reason = "no space is left on the device" if full else str(error).splitlines()[0]
        advice = "Free some space" if full else "Check the folder and its permissions"
        raise OutputError(f"Cannot write {path}: {reason}. {advice}, then run the same command again.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it on success, so that no half-written file is visible."""
    temporary = path.with_name(f".{socket.gethostname()}~{os.getpid()}~{uuid.uuid4().hex[:12]}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        remove_quietly(temporary)


def _is_abandoned(path: Path) -> bool:
    host, process = path.name[1:].split("~")[:2]
    if host == socket.gethostname():
        return not process.isdigit() or not psutil.pid_exists(int(process))
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_S
    except OSError:
        return False


def remove_abandoned(folder: Path) -> None:
    """Delete the temporary files of killed processes: this machine's at once, others' after ``ABANDONED_S``."""
    for path in folder.rglob(".*~*~*.tmp"):
        if _is_abandoned(path):
            remove_quietly(path)


def require_space(path: Path, n_bytes: int) -> None:
    """Check that the disk has room before HDF5 writes to it.

    HDF5 cannot close a file on a full disk, and may end the process.

    Raises
    ------
    OutputError
        If fewer than ``n_bytes`` and ``RESERVED_BYTES`` are free.
    """
    free = shutil.disk_usage(path.parent).free
    if free < n_bytes + RESERVED_BYTES:
        raise OutputError(
            f"Cannot write {path}: no space is left on the device ({free / 1e6:.0f} MB free, "
            f"{(n_bytes + RESERVED_BYTES) / 1e6:.0f} MB needed). Free some space, then run the same command again."
        )


def set_aside(path: Path, folder: Path) -> Path:
    """Keep a copy of a file in another folder of its disk and return its path, with a number if the name is taken."""
    with writing(folder):
        folder.mkdir(exist_ok=True)
        names = (path.name, *(f"{path.stem}~{number}{path.suffix}" for number in range(1, 10**6)))
        kept = next(place for place in map(folder.joinpath, names) if not place.exists())
        try:
            os.link(path, kept)
        except OSError:  # a file system without hard links
            shutil.copy2(path, kept)
    return kept


def remove_quietly(path: Path) -> None:
    """Delete a file if possible; ignore errors, so that they do not hide an earlier one."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _children(node: Any) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []


def real_path(path: Path) -> Path:
    """Return an absolute path without links; ``Path.resolve`` fails on loops of links."""
    return Path(os.path.realpath(path))


def parse_json(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object that a text holds.

    Raises
    ------
    ValueError
        If it is no JSON object, or has more than ``MAX_JSON_DEPTH`` levels.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("too many levels") from error
    level = [content]
    for _ in range(MAX_JSON_DEPTH):
        level = [child for node in level for child in _children(node)]
    if level or not isinstance(content, dict):
        raise ValueError(f"{type(content).__name__}, or more than {MAX_JSON_DEPTH} levels")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Return the object of a small JSON file.

    Raises
    ------
    StoreError
        If it cannot be read or holds no JSON object.
    """
    try:
        if not path.is_file():
            raise ValueError("no regular file" if path.exists() else "nothing")
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"Expected a JSON object as tclr writes it, but got {error} for {path}. Remove it.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary as readable JSON, in one step."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
