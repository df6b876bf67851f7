"""Joins clips from part files into one file a subject, without decompressing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from tclr.pipeline.store.checksums import seal_clip, seal_root
from tclr.pipeline.store.guard import check_datasets, open_clip
from tclr.pipeline.store.infos import open_file, read_clip_attrs, reading
from tclr.pipeline.store.writer import write_clip_attrs
from tclr.pipeline.system import replacing, require_space
from tclr.schemas.errors import StoreError, UnreadableClipError
from tclr.schemas.store import CHECKSUMS, NO_TRACK, RootAttrs, to_attributes


def assemble_subject(
    path: Path,
    sources: Mapping[str, Sequence[Path]],
    root: RootAttrs,
    confirm: Callable[[], None] = lambda: None,
) -> None:
    """Join clips from several files into one subject file.

    Compressed chunks are copied as they are.

    Parameters
    ----------
    path : Path
        The subject's file, replaced in one step.
    sources : mapping of str to sequence of Path
        Which file each clip comes from, which may be the old ``path``, or its segments' files in order.
    root : RootAttrs
        The file's attributes.
    confirm : callable
        Called when the file is whole, before it takes its place; an error of it leaves the old one.

    Raises
    ------
    UnreadableClipError
        If a clip cannot be copied since its file is damaged; ``path`` stays as it is.
    OutputError
        If the folder cannot be written or is full.
    """
    with replacing(path) as temporary:
        files = {file for segments in sources.values() for file in segments}
        require_space(temporary, sum(file.stat().st_size for file in files))
        with h5py.File(temporary, "w", libver="v110") as target:
            target.attrs.update(to_attributes(root))
            clips = target.create_group("clips")
            for clip, segments in sorted(sources.items()):
                if len(segments) == 1:
                    _copy_clip(clips, clip, segments[0])
                else:
                    _join_segments(clips, clip, segments)
                if CHECKSUMS not in clips[clip].attrs:
                    seal_clip(clips[clip])
            seal_root(target)
            target.attrs["complete"] = True
        confirm()


def _copy_clip(clips: h5py.Group, clip: str, path: Path) -> None:
    try:
        with reading(path, clip), open_file(path) as part:
            group = open_clip(part, clip)
            check_datasets(group)
            part.copy(group, clips, name=clip)
    except StoreError as error:
        if "write failed" in str(error.__cause__):  # HDF5 raises the same of both files
            raise OSError(str(error.__cause__)) from error
        raise UnreadableClipError(str(error), clip) from error


def _join_segments(clips: h5py.Group, clip: str, segments: Sequence[Path]) -> None:
    """Put the segments of a long clip one behind the other; tracks are counted on."""
    with ExitStack() as stack:
        groups = [stack.enter_context(h5py.File(path, "r"))[f"clips/{clip}"] for path in segments]
        attrs = [read_clip_attrs(group) for group in groups]
        if len({one.source_fingerprint for one in attrs}) > 1:
            raise StoreError(
                f"The source of clip {clip} has changed while its segments were made ({segments[0].parent}). "
                "Run the same command again."
            )
        lengths = [len(group["status"]) for group in groups]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        target = clips.create_group(clip)
        for name, first in groups[0].items():
            shape, filters = (int(starts[-1]), *first.shape[1:]), first.id.get_create_plist()
            joined = target.create_dataset(
                name, shape, first.dtype, maxshape=first.maxshape, chunks=first.chunks, dcpl=filters
            )
            joined.attrs.update(dict(first.attrs))
            for group, start in zip(groups, starts, strict=False):
                _copy_rows(group[name], joined, int(start))
        target["track"][:] = _count_on([group["track"][:] for group in groups], [bool(one.goes_on) for one in attrs])
        write_clip_attrs(target, replace(attrs[0], warning="", segment="", goes_on=None))


def _copy_rows(source: h5py.Dataset, target: h5py.Dataset, start: int) -> None:
    """Copy a segment's rows to their place: chunks as they are, variable-length values one by one."""
    rows_a_chunk = source.chunks[0]
    if h5py.check_vlen_dtype(source.dtype) is not None:
        for row in range(0, len(source), rows_a_chunk):
            block = source[row : row + rows_a_chunk]
            target[start + row : start + row + len(block)] = block
        return
    if start % rows_a_chunk:
        raise StoreError(
            f"Expected a segment to begin at a multiple of {rows_a_chunk} rows, but got {start} in "
            f"{source.file.filename}. Delete that file and run the same command again."
        )
    for i in range(source.id.get_num_chunks()):
        offset = source.id.get_chunk_info(i).chunk_offset
        mask, data = source.id.read_direct_chunk(offset)
        target.id.write_direct_chunk((start + offset[0], *offset[1:]), data, mask)


def _count_on(tracks: Sequence[np.ndarray], goes_on: Sequence[bool]) -> np.ndarray:
    """Return the track of each row over all segments: a track that goes on across a seam keeps its number."""
    joined, n_tracks = [], 0
    for track, is_same in zip(tracks, goes_on, strict=True):
        if (track != NO_TRACK).any():
            first = track[track != NO_TRACK][0]
            shift = n_tracks - first - (is_same and n_tracks > 0)
            track = np.where(track == NO_TRACK, NO_TRACK, track + shift)
            n_tracks = int(track.max()) + 1
        joined.append(track)
    return np.concatenate(joined)
