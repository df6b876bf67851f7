"""How files appear: whole, in one step, with one clear error when they cannot."""

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
"""Space left free; chosen by us: more than what the workers of one machine write between two checks."""
MAX_JSON_DEPTH = 32
"""Levels of objects and lists; chosen by us: our own files have four."""
ABANDONED_S = 3600
"""A temporary file of another machine that nothing was written to for so long is taken for abandoned; chosen by us."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system and HDF5 say when a disk is full or read-only into one ``OutputError``."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC or "errno = 28" in str(error)
        reason = "no space is left on the device" if full else str(error).splitlines()[0]
        advice = "Free some space" if full else "Check the folder and its permissions"
        raise OutputError(f"Cannot write {path}: {reason}. {advice}, then run the same command again.") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and rename it on success, so nobody sees a half-written file."""
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
    """Delete temporary files that killed processes left behind: this machine's at once, others' after a while."""
    for path in folder.rglob(".*~*~*.tmp"):
        if _is_abandoned(path):
            remove_quietly(path)


def require_space(path: Path, n_bytes: int) -> None:
    """Check that a folder's disk has room before HDF5 writes to it.

    HDF5 cannot close a file on a full disk and may take the process with it, so it must never meet one.

    Raises
    ------
    OutputError
        If fewer than ``n_bytes`` and ``RESERVED_BYTES`` are free.
    """
    free = shutil.disk_usage(path.parent).free
    if free < n_bytes + RESERVED_BYTES:
        raise OutputError(
            f"Cannot write {path}: no space is left on the device ({free / 1e6:.0f} MB free, "
            f"{(n_bytes + RESERVED_BYTES) / 1e6:.0f} MB wanted). Free some space, then run the same command again."
        )


def set_aside(path: Path, folder: Path) -> Path:
    """Keep a file that is about to go in another folder of its disk, under its name, numbered if that is taken.

    Returns where it is kept.
    """
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
    """Delete a file if it is there and can be deleted: what went wrong before matters more than this."""
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
    """Return the object that a JSON text of ours holds.

    Raises
    ------
    ValueError
        If it is no JSON, no object, or nested deeper than anything that we write.
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
    """Return the object that a small JSON file holds.

    Raises
    ------
    StoreError
        If it cannot be read, or is no such object.
    """
    try:
        if not path.is_file():
            raise ValueError("no regular file" if path.exists() else "nothing")
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"Expected a JSON object as tclr writes it, but got {error} for {path}. Remove it.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dictionary as readable JSON, in one step."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
