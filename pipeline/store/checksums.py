"""SHA-256 of what a file holds, kept in its attributes, so that a flipped byte is found and its clip named.

HDF5 has checksums of its own for the structure of a file, none for strings in attributes and values of variable length,
and a filter for chunks (Fletcher-32) that would be computed at each read. Ours are over the chunks as they are
stored, so they cost neither decoding nor anything when training reads, and copying keeps them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import h5py
import numpy as np

from tclr.schemas.store import CHECKSUMS, ROOT_CHECKSUM

ATTRIBUTES = "attributes"
"""Key of the clip's own attributes among its checksums; no dataset has this name."""


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _attrs_text(attrs: Mapping[str, Any], without: Collection[str] = ()) -> str:
    return json.dumps({name: _plain(attrs[name]) for name in attrs if name not in without}, sort_keys=True)


def _dataset_sha256(dataset: h5py.Dataset) -> str:
    """Return the SHA-256 of a dataset: shape, type, attributes, and its chunks as stored, or values of any length."""
    digest = hashlib.sha256(f"{dataset.shape}{dataset.dtype}{_attrs_text(dataset.attrs)}".encode())
    rows_a_chunk, is_vlen = dataset.chunks[0], h5py.check_vlen_dtype(dataset.dtype) is not None
    for row in range(0, len(dataset), rows_a_chunk):
        if is_vlen:
            for value in dataset[row : row + rows_a_chunk]:
                data = bytes(value)
                digest.update(len(data).to_bytes(8, "big") + data)
            continue
        offset = (row, *(0 for _ in dataset.shape[1:]))
        if dataset.id.get_chunk_info_by_coord(offset).byte_offset is not None:
            mask, data = dataset.id.read_direct_chunk(offset)
            digest.update(f"{row} {mask} {len(data)}\n".encode())
            digest.update(data)
    return digest.hexdigest()


def _clip_sha256(group: h5py.Group, part: str) -> str:
    if part == ATTRIBUTES:
        return hashlib.sha256(_attrs_text(group.attrs, {CHECKSUMS}).encode()).hexdigest()
    return _dataset_sha256(group[part]) if part in group else "absent"


def _root_sha256(file: h5py.File) -> str:
    text = _attrs_text(file.attrs, {ROOT_CHECKSUM, "complete"}) + json.dumps(sorted(file["clips"]))
    return hashlib.sha256(text.encode()).hexdigest()


def seal_clip(group: h5py.Group) -> None:
    """Compute a clip's checksums and keep them; its attributes must not change after."""
    group.file.flush()
    sums = {part: _clip_sha256(group, part) for part in (*group, ATTRIBUTES)}
    group.attrs[CHECKSUMS] = json.dumps(sums, sort_keys=True)


def seal_root(file: h5py.File) -> None:
    """Compute the checksum of a file's attributes and of the names of its clips, and keep it."""
    file.attrs[ROOT_CHECKSUM] = _root_sha256(file)


def changed_parts(group: h5py.Group, *, frames: bool = True) -> list[str]:
    """Return the datasets of a clip (or ``attributes``) that are not as they were written.

    Parameters
    ----------
    group : h5py.Group
        The clip. One without checksums, of an older tclr, has nothing to compare.
    frames : bool
        Whether crops, by far the largest part, are looked at, too.
    """
    sums: dict[str, str] = json.loads(group.attrs.get(CHECKSUMS, "{}"))
    wanted = [part for part in sorted(sums.keys() | set(group)) if frames or not part.startswith("frames")]
    return [part for part in wanted if sums and _clip_sha256(group, part) != sums.get(part)]


def is_root_changed(file: h5py.File) -> bool:
    """Tell whether a file's attributes or the names of its clips are not as they were written."""
    return ROOT_CHECKSUM in file.attrs and file.attrs[ROOT_CHECKSUM] != _root_sha256(file)
