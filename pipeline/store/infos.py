"""Which clips a store file has, and the attributes of its parts, without reading arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tclr.pipeline.store.guard import count_rows, list_clips, open_clip
from tclr.schemas.errors import NewerFormatError, StoreError
from tclr.schemas.store import CHECKSUMS, ClipAttrs, RootAttrs, parse_clip_attrs, parse_root_attrs

REPAIR = "Run 'tclr inspect --verify' on the store, then 'tclr preprocess' again: it rebuilds what is damaged."
WHOLE_FILE = ""
"""Stands for the name of a damaged clip: the file's own attributes, or all of it."""


@dataclass(frozen=True)
class ClipInfo:
    """One clip of a store: where it is and what is known without reading its arrays."""

    dataset: str
    subject: str
    clip: str
    n_frames: int
    attrs: ClipAttrs = field(repr=False, hash=False, compare=False)
    root: RootAttrs = field(repr=False, hash=False, compare=False)
    landmarks_sha256: str = field(default="", repr=False, hash=False, compare=False)  # "" in files of tclr 0.1.0

    @property
    def name(self) -> str:
        """``subject/clip``, as messages show it."""
        return f"{self.subject}/{self.clip}"

    @property
    def has_frames(self) -> bool:
        """Whether its crops are stored, by its settings."""
        return self.root.align.frames


@contextmanager
def reading(path: Path, clip: str = "") -> Iterator[None]:
    """Turn the many errors that HDF5 raises for a damaged file into one that names the file, and the clip if given."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, RuntimeError, LookupError, ArithmeticError, AttributeError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        where = f"{path} clip {clip}" if clip else str(path)
        raise StoreError(f"Cannot read {where} as HDF5 of a store: {reason}. {REPAIR}") from error


def open_file(path: Path) -> h5py.File:
    """Open a store file for reading; raises ``StoreError`` if it is missing or not HDF5."""
    with reading(path):
        if not path.is_file():  # opening a named pipe would block
            raise FileNotFoundError("no such file" if not path.exists() else "it is no regular file")
        return h5py.File(path, "r")


def plain_attrs(node: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Return attributes as Python's own values, arrays excepted."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in node.attrs.items()}


def read_clip_attrs(group: h5py.Group) -> ClipAttrs:
    """Return the attributes of a clip; raises ``StoreError``, see ``parse_clip_attrs``."""
    where = f"{group.file.filename} clip {group.name.rpartition('/')[2]}"
    return parse_clip_attrs(plain_attrs(group), count_rows(group), where)


def scan_clips(path: Path) -> tuple[list[ClipInfo], dict[str, str]]:
    """List the clips of one subject or part file that can be read, sorted by name.

    Parameters
    ----------
    path : Path
        A file of a store.

    Returns
    -------
    infos : list of ClipInfo
        The clips.
    damage : dict of str to str
        Clips that cannot be read, with the reason; ``WHOLE_FILE`` if nothing of the file can.

    Raises
    ------
    NewerFormatError
        If a newer tclr wrote the file.

    Examples
    --------
    >>> scan_clips(Path("store/subjects/F001.h5"))
    ([ClipInfo(dataset='bp4d', subject='F001', clip='T1', n_frames=16)], {})
    """
    infos: list[ClipInfo] = []
    damage: dict[str, str] = {}
    try:
        with reading(path), open_file(path) as file:
            root = parse_root_attrs(plain_attrs(file), str(path))
            for clip in list_clips(file):
                try:
                    with reading(path, clip):
                        group = open_clip(file, clip)
                        attrs, sums = read_clip_attrs(group), json.loads(group.attrs.get(CHECKSUMS, "{}"))
                        about = (root.dataset, root.subject, clip, attrs.n_frames, attrs, root)
                        infos.append(ClipInfo(*about, str(sums.get("landmarks", ""))))
                except StoreError as error:
                    damage[clip] = str(error)
    except NewerFormatError:
        raise
    except StoreError as error:
        return [], {WHOLE_FILE: str(error)}
    return infos, damage


def read_clip_infos(path: Path) -> list[ClipInfo]:
    """List the clips of one subject or part file; raises ``StoreError`` if it or a clip of it cannot be read."""
    infos, damage = scan_clips(path)
    if damage:
        raise StoreError(next(iter(damage.values())))
    return infos


def hash_data(clips: Sequence[ClipInfo]) -> str:
    """Return the SHA-256 of what clips were made from: sources, lengths and settings.

    >>> with Store(Path("store")) as store:
    ...     hash_data(store.clips)
    'd4faebb0e4b65fe56c7aef543c00ea50c724ced8072201204cce5fd5162fe510'
    """
    facts = [
        (one.subject, one.clip, one.n_frames, one.attrs.source_sha256, one.root.detect_hash, one.root.align_hash)
        for one in clips
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def provenance(info: ClipInfo) -> dict[str, str]:
    """Return what a clip was made from.

    That is ``source``, ``source_sha256``, ``detector`` with its model files, ``tclr_version`` (empty for a clip of
    tclr 0.1.0), ``detect_hash`` and ``align_hash`` of the settings.
    """
    made = {name: getattr(info.attrs, name) for name in ("source", "source_sha256", "detector", "tclr_version")}
    return made | {name: getattr(info.root, name) for name in ("detect_hash", "align_hash")}
