"""Joins clips from part files into one file per subject, without decompressing.

Each file is read once: what is copied is compared with its checksums on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from tclr.pipeline.store.attributes import read_checksum, read_clip_attrs, write_attrs
from tclr.pipeline.store.checksums import DatasetSum, Stored, changed_parts, seal_clip, seal_root, stored_chunks
from tclr.pipeline.store.damage import require_unchanged
from tclr.pipeline.store.guard import check_datasets, open_clip
from tclr.pipeline.store.infos import open_file, reading
from tclr.pipeline.store.writer import write_clip_attrs
from tclr.pipeline.system import replacing, require_space
from tclr.schemas.errors import DamagedClipsError, StoreError
from tclr.schemas.store import NO_TRACK, RootAttrs


def assemble_subject(
    path: Path,
    sources: Mapping[str, Sequence[Path]],
    root: RootAttrs,
    accepted: Collection[str] = (),
    confirm: Callable[[Mapping[str, str]], None] = lambda lost: None,
) -> dict[str, str]:
    """Join clips from several files into one subject file.

    Compressed chunks are copied as they are, and compared with their checksums.

    Parameters
    ----------
    path : Path
        The subject's file, replaced in one step.
    sources : mapping of str to sequence of Path
        Which file each clip comes from, which may be the old ``path``, or its segments' files in order.
    root : RootAttrs
        The file's attributes.
    accepted : collection of str
        Clips that are not compared: they stay although they are damaged.
    confirm : callable
        Called when the file is whole, before it replaces the old one, with what is returned. If it raises, the old file
        stays.

    Returns
    -------
    dict of str to str
        Accepted clips that could not even be copied, and are left out, with the reason.

    Raises
    ------
    DamagedClipsError
        If clips that are not accepted are damaged; ``path`` stays as it is.
    StoreError
        If nothing could be copied, or a source has changed while its segments were extracted.
    OutputError
        If the folder cannot be written or is full.
    """
    damaged: dict[str, str] = {}
    lost: dict[str, str] = {}
    with replacing(path) as temporary:
        require_space(temporary, sum(file.stat().st_size for file in _present(sources)))
        with h5py.File(temporary, "w", libver="v110") as target:
            write_attrs(target, root)
            clips = target.create_group("clips")
            for clip, files in sorted(sources.items()):
                try:
                    _copy_clip(clips, clip, files, is_accepted=clip in accepted)
                except DamagedClipsError as error:
                    (lost if clip in accepted else damaged).update(error.clips)
                    if clip in clips:
                        del clips[clip]
            seal_root(target)
        if damaged:
            raise DamagedClipsError(damaged)
        if lost.keys() == sources.keys():
            raise StoreError(" ".join(lost.values()))
        confirm(lost)
    return lost


def _present(sources: Mapping[str, Sequence[Path]]) -> set[Path]:
    return {file for files in sources.values() for file in files if file.is_file()}


class _Source:
    """A clip in one of the files that it is copied from, whose datasets are summed as they are read."""

    def __init__(self, stack: ExitStack, path: Path, clip: str) -> None:
        self._path, self._clip = path, clip
        self._sums: dict[str, str] = {}
        with self.reading():
            self.group = open_clip(stack.enter_context(open_file(path)), clip)
            check_datasets(self.group)
            self.attrs = read_clip_attrs(self.group)
            self.n_rows = self.attrs.n_frames

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn any error into one that names the clip."""
        try:
            with reading(self._path, self._clip):
                yield
        except StoreError as error:
            raise DamagedClipsError({self._clip: str(error)}) from error

    def chunks(self, name: str) -> Iterator[tuple[int, Stored]]:
        """Yield the chunks of a dataset."""
        with self.reading():
            total = DatasetSum(self.group[name])
            for row, stored in stored_chunks(self.group[name]):
                total.add(row, stored)
                yield row, stored
            self._sums[name] = total.hexdigest()

    def check(self) -> None:
        """Compare what was read with the clip's checksums."""
        with self.reading():
            require_unchanged(self._path, self._clip, changed_parts(self.group, self._sums))


def _copy_clip(clips: h5py.Group, clip: str, files: Sequence[Path], *, is_accepted: bool) -> None:
    """Copy a clip, or put the segments of a long one one behind the other."""
    with ExitStack() as stack:
        sources = [_Source(stack, file, clip) for file in files]
        target, first = clips.create_group(clip), sources[0]
        sums = {name: _copy_dataset(target, name, sources) for name in first.group}
        for source in [] if is_accepted else sources:
            source.check()
        if len(sources) == 1:
            target.attrs.update(first.group.attrs)
        else:
            _join_attrs(target, sources)
            del sums["track"]
        if read_checksum(target) is None:
            seal_clip(target, sums)


def _copy_dataset(target: h5py.Group, name: str, sources: Sequence[_Source]) -> str:
    """Copy the rows of a dataset, chunks as they are, and return its SHA-256."""
    n_rows, start = sum(source.n_rows for source in sources), 0
    with sources[0].reading():
        first = sources[0].group[name]
        filters, attrs = first.id.get_create_plist(), dict(first.attrs)
    shape = (n_rows, *first.shape[1:])
    joined = target.create_dataset(name, shape, first.dtype, maxshape=first.maxshape, chunks=first.chunks, dcpl=filters)
    joined.attrs.update(attrs)
    total = DatasetSum(joined)
    for source in sources:
        for row, stored in source.chunks(name):
            place = start + row
            total.add(place, stored)
            if isinstance(stored, tuple):
                mask, data = stored
                joined.id.write_direct_chunk((place, *(0 for _ in shape[1:])), data, mask)
            else:
                joined[place : place + len(stored)] = stored
        start += source.n_rows
    return total.hexdigest()


def _join_attrs(target: h5py.Group, sources: Sequence[_Source]) -> None:
    """Count the tracks over all segments, and write the attributes of the whole clip."""
    attrs = [source.attrs for source in sources]
    if len({one.source_fingerprint for one in attrs}) > 1:
        raise StoreError(
            f"The source of clip {target.name.rpartition('/')[2]} has changed while its segments were made. "
            "Run the same command again."
        )
    ends = np.cumsum([source.n_rows for source in sources])[:-1]
    target["track"][:] = _count_on(np.split(target["track"][:], ends), [bool(one.goes_on) for one in attrs])
    write_clip_attrs(target, replace(attrs[0], warning="", segment="", goes_on=None))


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
