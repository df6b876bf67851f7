"""SHA-256 of what a file holds, kept in its attributes, so that a flipped byte is found and its clip named.

HDF5 has checksums for the structure of a file, but none for strings in attributes and values of variable length. Its
filter for chunks (Fletcher-32) would be computed at each read. The checksums here cover the chunks as stored: they need
no decoding, cost nothing when training reads, and survive copying.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

import h5py
import numpy as np

from tclr.pipeline.store.infos import plain_attrs
from tclr.schemas.store import CHECKSUMS, ROOT_CHECKSUM

ATTRIBUTES = "attributes"
"""Key of the clip's own attributes among its checksums; no dataset has this name."""
Stored = tuple[int, bytes] | np.ndarray
"""A chunk as stored: its filter mask and bytes, or its values where they are of variable length."""


def _attrs_text(node: h5py.Group | h5py.Dataset, *without: str) -> str:
    attrs = {name: value for name, value in plain_attrs(node).items() if name not in without}
    return json.dumps(attrs, sort_keys=True, default=np.ndarray.tolist)


def stored_chunks(dataset: h5py.Dataset) -> Iterator[tuple[int, Stored]]:
    """Yield the first row of each chunk and what is stored of it; chunks that were never written are left out."""
    rows_a_chunk, is_vlen = dataset.chunks[0], h5py.check_vlen_dtype(dataset.dtype) is not None
    for row in range(0, len(dataset), rows_a_chunk):
        offset = (row, *(0 for _ in dataset.shape[1:]))
        if is_vlen:
            yield row, dataset[row : row + rows_a_chunk]
        elif dataset.id.get_chunk_info_by_coord(offset).byte_offset is not None:
            yield row, dataset.id.read_direct_chunk(offset)


class DatasetSum:
    """The SHA-256 of a dataset: shape, type and attributes, then its chunks, which are added in order."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._digest = hashlib.sha256(f"{dataset.shape}{dataset.dtype}{_attrs_text(dataset)}".encode())
        self.hexdigest = self._digest.hexdigest

    def add(self, row: int, stored: Stored) -> None:
        """Add the chunk that begins at a row."""
        if isinstance(stored, tuple):
            mask, data = stored
            self._digest.update(f"{row} {mask} {len(data)}\n".encode())
            self._digest.update(data)
            return
        for value in map(bytes, stored):
            self._digest.update(len(value).to_bytes(8, "big") + value)


def _part_sha256(group: h5py.Group, part: str) -> str:
    if part == ATTRIBUTES:
        return hashlib.sha256(_attrs_text(group, CHECKSUMS).encode()).hexdigest()
    if part not in group:
        return "absent"
    total = DatasetSum(group[part])
    for row, stored in stored_chunks(group[part]):
        total.add(row, stored)
    return total.hexdigest()


def _root_sha256(file: h5py.File) -> str:
    text = _attrs_text(file, ROOT_CHECKSUM, "complete") + json.dumps(sorted(file["clips"]))
    return hashlib.sha256(text.encode()).hexdigest()


def seal_clip(group: h5py.Group, known: Mapping[str, str] | None = None) -> None:
    """Store a clip's checksums, computing those that are not known; its attributes must not change afterwards."""
    group.file.flush()
    sums = {part: (known or {}).get(part) or _part_sha256(group, part) for part in (*group, ATTRIBUTES)}
    group.attrs.update({CHECKSUMS: json.dumps(sums, sort_keys=True)})


def seal_root(file: h5py.File) -> None:
    """Store the checksum of a file's attributes and of the names of its clips, and mark the file as complete."""
    file.attrs.update({ROOT_CHECKSUM: _root_sha256(file), "complete": True})


def is_sealed(group: h5py.Group) -> bool:
    """Return whether a clip has checksums; those of tclr 0.1.0 have none."""
    return CHECKSUMS in group.attrs


def changed_parts(group: h5py.Group, known: Mapping[str, str] | None = None, *, frames: bool = True) -> list[str]:
    """Return the datasets of a clip (or ``attributes``) that differ from their checksums; none if it has none.

    ``known`` are sums already computed. Without ``frames`` crops, by far the largest part, are left out.
    """
    sums: dict[str, str] = json.loads(group.attrs.get(CHECKSUMS, "{}"))
    found = known or {}
    wanted = [part for part in sorted(sums.keys() | set(group)) if frames or not part.startswith("frames")]
    return [part for part in wanted if sums and (found.get(part) or _part_sha256(group, part)) != sums.get(part)]


def is_root_changed(file: h5py.File) -> bool:
    """Return whether a file's attributes or the names of its clips differ from their checksum, if it has one."""
    return file.attrs.get(ROOT_CHECKSUM) not in (None, _root_sha256(file))
