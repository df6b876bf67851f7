"""What the clips of a store file are, without reading their arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from tclr.pipeline.store.attributes import read_clip_attrs, read_root_attrs
from tclr.pipeline.store.guard import list_clips, open_clip
from tclr.schemas.errors import NewerFormatError, StoreError
from tclr.schemas.store import ClipAttrs, RootAttrs

REPAIR = "Run 'tclr inspect --verify' on the store, then 'tclr preprocess' again: it rebuilds what is damaged."
WHOLE_FILE = ""
"""Where the name of a damaged clip is expected: the file's own attributes, or all of it."""


@dataclass(frozen=True)
class ClipInfo:
    """One clip of a store: where it is and what is known without reading its arrays."""

    dataset: str
    subject: str
    clip: str
    n_frames: int
    attrs: ClipAttrs = field(repr=False, hash=False, compare=False)
    root: RootAttrs = field(repr=False, hash=False, compare=False)

    @property
    def name(self) -> str:
        """``subject/clip``, as messages show it."""
        return f"{self.subject}/{self.clip}"

    @property
    def has_frames(self) -> bool:
        """Whether crops are stored of it, by its settings."""
        return self.root.align.frames


@contextmanager
def reading(path: Path, clip: str = "") -> Iterator[None]:
    """Turn the many errors that HDF5 has for a damaged file into one, which names the clip if it is given."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, RuntimeError, LookupError, ArithmeticError, AttributeError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        where = f"{path} clip {clip}" if clip else str(path)
        raise StoreError(f"Cannot read {where} as HDF5 of a store: {reason}. {REPAIR}") from error


def open_file(path: Path) -> h5py.File:
    """Open a store file to read it.

    Raises
    ------
    StoreError
        If it is missing or no HDF5.
    """
    with reading(path):
        if not path.is_file():  # a named pipe would keep us waiting
            raise FileNotFoundError("no such file" if not path.exists() else "it is no regular file")
        return h5py.File(path, "r")


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
        By name, why others cannot be read; by ``WHOLE_FILE``, why nothing of the file can.

    Raises
    ------
    NewerFormatError
        If a newer tclr wrote the file.
    """
    infos: list[ClipInfo] = []
    damage: dict[str, str] = {}
    try:
        with reading(path), open_file(path) as file:
            root = read_root_attrs(file)
            for clip in list_clips(file):
                try:
                    with reading(path, clip):
                        attrs = read_clip_attrs(open_clip(file, clip))
                        infos.append(ClipInfo(root.dataset, root.subject, clip, attrs.n_frames, attrs, root))
                except StoreError as error:
                    damage[clip] = str(error)
    except NewerFormatError:
        raise
    except StoreError as error:
        return [], {WHOLE_FILE: str(error)}
    return infos, damage


def read_clip_infos(path: Path) -> list[ClipInfo]:
    """List the clips of one subject or part file, sorted by name.

    Raises
    ------
    StoreError
        If the file is not a complete tclr store file of a format known here, or one of its clips is damaged.
    """
    infos, damage = scan_clips(path)
    if damage:
        raise StoreError(next(iter(damage.values())))
    return infos


def hash_data(clips: Sequence[ClipInfo]) -> str:
    """Return the SHA-256 of what the clips of a store are made from: sources, lengths and settings."""
    facts = [
        (one.subject, one.clip, one.n_frames, one.attrs.source_sha256, one.root.detect_hash, one.root.align_hash)
        for one in clips
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def provenance(info: ClipInfo) -> dict[str, str]:
    """Return what made the rows of a clip: source, settings, code and model.

    Returns
    -------
    dict of str to str
        ``source`` and its ``source_sha256``, ``detect_hash`` and ``align_hash`` of the settings, ``tclr_version`` of
        the code (empty for a clip of tclr 0.1.0 or before), and ``detector``, which names the model files.
    """
    made = {name: getattr(info.attrs, name) for name in ("source", "source_sha256", "detector", "tclr_version")}
    return made | {name: getattr(info.root, name) for name in ("detect_hash", "align_hash")}
