"""Refuses HDF5 files that lead elsewhere or claim sizes that they do not have; anyone may have made them.

HDF5 follows links into other files, reads values that lie in other files, and allocates what a header says. A store
needs none of that. So before a value is read, links must be hard, and values must be in chunks of this file, packed by
filters that the writer uses, and of sizes that the file can hold.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Collection

import h5py
import numpy as np

from tclr.pipeline.store.codecs import CODECS, LZ4_ID, ZSTD_ID
from tclr.schemas.errors import StoreError
from tclr.schemas.store import CLIP_FIELDS, check_name

MAX_FRAME_BYTES = 2048 * 2048 * 3
"""Of the largest crop that ``AlignConfig`` allows."""
MAX_ROW_BYTES = 2**16
"""Of all other datasets: ten times a row of landmarks."""
MAX_CHUNK_ROWS = 2**12
"""The writer's chunks have 8 and 256."""
CHUNK_SLACK_BYTES = 2**12
"""How much larger than its content a packed chunk may be: codecs add some bytes per block."""
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def _refuse(what: str, group: h5py.Group) -> StoreError:
    return StoreError(
        f"{what} in {group.file.filename} {group.name}. tclr did not write it like this, or it is damaged: rebuild it "
        "with 'tclr preprocess', or copy it again from where it came from."
    )


def _own(parent: h5py.Group, name: str, kind: type) -> h5py.Group | h5py.Dataset:
    """Return an object of the file itself, not one behind a soft or external link."""
    if name not in parent:
        raise _refuse(f"Expected {name!r}, but found none", parent)
    if parent.get(name, getclass=True, getlink=True) is not h5py.HardLink:
        raise _refuse(f"Expected {name!r} itself, but got a link to it", parent)
    node = parent[name]
    if not isinstance(node, kind):
        raise _refuse(f"Expected {name!r} to be a {kind.__name__.lower()}, but got {type(node).__name__}", parent)
    return node


def list_clips(file: h5py.File) -> list[str]:
    """Return the names of a file's clips, sorted."""
    return sorted(_own(file, "clips", h5py.Group))


def open_clip(file: h5py.File, clip: str) -> h5py.Group:
    """Return the group of a clip; raises ``StoreError`` if its name is unsafe, or it is missing or a link."""
    check_name(clip, file.filename)
    return _own(_own(file, "clips", h5py.Group), clip, h5py.Group)


def filters_of(dataset: h5py.Dataset) -> tuple[int, ...]:
    """Return the numbers of a dataset's HDF5 filters, in order."""
    how = dataset.id.get_create_plist()
    return tuple(how.get_filter(i)[0] for i in range(how.get_nfilters()))


def _is_of_type(dataset: h5py.Dataset, dtype: str) -> bool:
    match dtype:
        case "vlen uint8":
            return h5py.check_vlen_dtype(dataset.dtype) == np.uint8
        case "vlen str":
            found = h5py.check_string_dtype(dataset.dtype)
            return found is not None and found.length is None
        case _:
            return str(dataset.dtype) == dtype


def _check_storage(dataset: h5py.Dataset, group: h5py.Group, max_row_bytes: int) -> None:
    name = dataset.name.rpartition("/")[2]
    how = dataset.id.get_create_plist()
    if how.get_layout() != h5py.h5d.CHUNKED or how.get_external_count():
        raise _refuse(f"Expected the values of {name!r} in chunks of this file, but they are stored otherwise", group)
    if unknown := set(filters_of(dataset)).difference(*CODECS):
        raise _refuse(f"Expected {name!r} packed as tclr does, but got HDF5 filter {max(unknown)}", group)
    row_bytes = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
    if dataset.chunks[1:] != dataset.shape[1:] or dataset.chunks[0] > MAX_CHUNK_ROWS or row_bytes > max_row_bytes:
        raise _refuse(
            f"Expected rows of at most {max_row_bytes} bytes in whole chunks, but {name!r} has shape {dataset.shape} "
            f"in chunks of {dataset.chunks}",
            group,
        )


def open_dataset(group: h5py.Group, name: str, n_rows: int | None = None) -> h5py.Dataset:
    """Return a dataset of a clip after checking its header.

    It must lie in the file itself, be stored and packed as the writer does, have the type that the layout has for its
    name and ``n_rows`` rows, and claim no more bytes than the file has. Otherwise ``StoreError`` is raised.
    """
    dataset = _own(group, name, h5py.Dataset)
    field = CLIP_FIELDS.get(name)
    n_dims = len(field.dims) if field else max(dataset.ndim, 1)
    if dataset.shape is None or dataset.ndim != n_dims or (field and not _is_of_type(dataset, field.dtype)):
        wanted = f"{field.dtype} with {n_dims} dimensions" if field else "an array"
        raise _refuse(f"Expected {name!r} as {wanted}, but got {dataset.dtype} of shape {dataset.shape}", group)
    _check_storage(dataset, group, MAX_FRAME_BYTES if name == "frames" else MAX_ROW_BYTES)
    if n_rows is not None and len(dataset) != n_rows:
        raise _refuse(f"Expected {n_rows} rows of {name!r}, but got {len(dataset)}", group)
    if name != "frames" and not filters_of(dataset):  # frames without a face take no room
        stored, claimed = dataset.id.get_storage_size(), dataset.size * dataset.dtype.itemsize
        if not claimed <= stored <= os.path.getsize(group.file.filename):
            raise _refuse(f"Expected {claimed} bytes of {name!r}, as its shape says, but the file has {stored}", group)
    return dataset


def count_rows(group: h5py.Group) -> int:
    """Return a clip's number of frames."""
    return len(open_dataset(group, "status"))


def check_datasets(group: h5py.Group) -> None:
    """Check all datasets of a clip by ``open_dataset``."""
    n_rows = count_rows(group)
    for name in group:
        open_dataset(group, name, n_rows)


def check_chunks(dataset: h5py.Dataset, start: int = 0, stop: int | None = None) -> None:
    """Raise ``StoreError`` if a packed chunk of rows ``start:stop`` claims too large a size: HDF5 would allocate it."""
    filters = filters_of(dataset)
    if not filters:
        return
    rows_a_chunk = dataset.chunks[0]
    n_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
    rows = range(len(dataset))[start:stop]
    file = dataset.file.id.get_vfd_handle(h5py.h5p.create(h5py.h5p.FILE_ACCESS))
    for row in range(rows.start // rows_a_chunk * rows_a_chunk, rows.stop, rows_a_chunk):
        stored = dataset.id.get_chunk_info_by_coord((row, *(0 for _ in dataset.shape[1:])))
        if stored.byte_offset is None:
            continue
        head = b"" if stored.filter_mask else os.pread(file, 18, stored.byte_offset)
        claimed = _claimed_bytes(head, filters, n_bytes)
        if claimed > n_bytes or stored.size > 2 * n_bytes + CHUNK_SLACK_BYTES:
            raise _refuse(
                f"Expected chunks of {n_bytes} bytes, but that of row {row} of {dataset.name.rpartition('/')[2]!r} "
                f"takes {stored.size} and claims {claimed}",
                dataset.parent,
            )


def _claimed_bytes(head: bytes, filters: Collection[int], n_bytes: int) -> int:
    """Return the size that a packed chunk claims for its content; gzip claims none, so the expected one."""
    if LZ4_ID in filters:
        return struct.unpack_from(">Q", head)[0] if len(head) >= 8 else n_bytes
    if ZSTD_ID in filters and head[:4] == ZSTD_MAGIC and len(head) > 5:  # RFC 8878, 3.1.1.1
        flag, single = head[4] >> 6, head[4] >> 5 & 1
        size_bytes = (single, 2, 4, 8)[flag]
        place = 5 + (not single) + (0, 1, 2, 4)[head[4] & 3]
        size = int.from_bytes(head[place : place + size_bytes], "little") + 256 * (flag == 1)
        return size if size_bytes else n_bytes
    return n_bytes
