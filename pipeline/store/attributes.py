"""The attributes of files, clips and datasets: the only place that reads and writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

from tclr.pipeline.store.guard import count_rows
from tclr.schemas.store import (
    CHECKSUMS,
    CLIP_FIELDS,
    ROOT_CHECKSUM,
    ClipAttrs,
    RecordingAttrs,
    RootAttrs,
    parse_clip_attrs,
    parse_root_attrs,
    to_attributes,
)


def plain_attrs(node: h5py.Group | h5py.Dataset, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return attributes as Python's own values; numpy's arrays stay."""
    attrs = {name: value for name, value in node.attrs.items() if name not in without}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in attrs.items()}


def read_root_attrs(file: h5py.File) -> RootAttrs:
    """Return the attributes of a file; raises ``StoreError``, see ``parse_root_attrs``."""
    return parse_root_attrs(plain_attrs(file), file.filename)


def read_clip_attrs(group: h5py.Group) -> ClipAttrs:
    """Return the attributes of a clip; raises ``StoreError``, see ``parse_clip_attrs``."""
    where = f"{group.file.filename} clip {group.name.rpartition('/')[2]}"
    return parse_clip_attrs(plain_attrs(group), count_rows(group), where)


def write_attrs(node: h5py.Group, attrs: RecordingAttrs | RootAttrs) -> None:
    """Write the attributes of a file or clip."""
    node.attrs.update(to_attributes(attrs))


def describe_dataset(dataset: h5py.Dataset, names: Sequence[str]) -> None:
    """Write the axes and units of a clip's dataset, and its ``names`` if it has any."""
    field = CLIP_FIELDS[dataset.name.rpartition("/")[2]]
    dataset.attrs.update({"dims": list(field.dims), "units": field.units})
    if names:
        dataset.attrs["names"] = list(names)


def column_names(dataset: h5py.Dataset) -> list[str]:
    """Return the names of a dataset's columns; raises ``ValueError`` if there is not one for each."""
    names = [str(name) for name in dataset.attrs["names"]]
    if len(names) != dataset.shape[1]:
        raise ValueError(f"expected a name for each of {dataset.shape[1]} columns, but got {len(names)}")
    return names


def read_checksum(node: h5py.Group) -> str | None:
    """Return the checksum of a file, or the checksums of a clip as JSON; ``None`` if tclr 0.1.0 wrote it."""
    return node.attrs.get(ROOT_CHECKSUM if isinstance(node, h5py.File) else CHECKSUMS)


def write_checksum(node: h5py.Group, checksum: str) -> None:
    """Write the checksum of a file, which is complete with it, or the checksums of a clip."""
    if isinstance(node, h5py.File):
        node.attrs.update({ROOT_CHECKSUM: checksum, "complete": True})
    else:
        node.attrs[CHECKSUMS] = checksum
