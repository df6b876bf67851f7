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

from tclr.pipeline.store import checksums
from tclr.pipeline.store.checksums import DatasetSum, Stored, seal_clip, seal_root
from tclr.pipeline.store.damage import require_unchanged
from tclr.pipeline.store.guard import check_datasets, open_clip
from tclr.pipeline.store.infos import open_file, read_clip_attrs, reading
from tclr.pipeline.store.writer import write_clip_attrs
from tclr.pipeline.system import replacing, require_space
from tclr.schemas.errors import DamagedClipsError, StoreError
from tclr.schemas.store import MOTIONLESS, NO_TRACK, RootAttrs, join_warnings, to_attributes


def assemble_subject(
    path: Path,
    sources: Mapping[str, Sequence[Path]],
    root: RootAttrs,
    accepted: Collection[str] = (),
    confirm: Callable[[Mapping[str, str]], None] = lambda lost: None,
) -> dict[str, str]:
    """Join clips from several files into one subject file.

    Compressed chunks are copied unchanged and compared with their checksums.

    Parameters
    ----------
    path : Path
        The subject's file, replaced in one step.
    sources : mapping of str to sequence of Path
        By clip, the file that holds it, possibly the old ``path``, or the files of its segments in order.
    root : RootAttrs
        The file's attributes.
    accepted : collection of str
        Clips that are copied even if they are damaged.
    confirm : callable
        Called with the return value before the new file replaces the old one. If it raises, the old file stays.

    Returns
    -------
    dict of str to str
        Accepted clips that are left out since they could not be copied, with the reason.

    Raises
    ------
    DamagedClipsError
        If other clips are damaged; ``path`` is left unchanged.
    StoreError
        If nothing could be copied, or a source changed while its segments were extracted.
    OutputError
        If the folder cannot be written or is full.

    Examples
    --------
    >>> file = Path("store/subjects/F001.h5")
    >>> assemble_subject(Path("joined.h5"), {"T1": [file]}, scan_clips(file)[0][0].root)
    {}
    """
    damaged: dict[str, str] = {}
    lost: dict[str, str] = {}
    with replacing(path) as temporary:
        files = {file for segments in sources.values() for file in segments}
        require_space(temporary, sum(file.stat().st_size for file in files if file.is_file()))
        with h5py.File(temporary, "w", libver="v110") as target:
            target.attrs.update(to_attributes(root))
            clips = target.create_group("clips")
            for clip, segments in sorted(sources.items()):
                try:
                    _copy_clip(clips, clip, segments, is_accepted=clip in accepted)
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


class _Source:
    """A clip in one of its source files; its checksums are computed while it is read."""

    def __init__(self, stack: ExitStack, path: Path, clip: str) -> None:
        self._path, self._clip = path, clip
        self.sums: dict[str, str] = {}
        with self.reading():
            self.group = open_clip(stack.enter_context(open_file(path)), clip)
            check_datasets(self.group)
            self.attrs = read_clip_attrs(self.group)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn any error into a ``DamagedClipsError``, but for failed writes."""
        try:
            with reading(self._path, self._clip):
                yield
        except StoreError as error:
            if "write failed" in str(error.__cause__):  # HDF5 raises the same for both files
                raise OSError(str(error.__cause__)) from error
            raise DamagedClipsError({self._clip: str(error)}) from error

    def chunks(self, name: str) -> Iterator[tuple[int, Stored]]:
        """Yield the chunks of a dataset, see ``stored_chunks``."""
        with self.reading():
            total = DatasetSum(self.group[name])
            for row, stored in checksums.stored_chunks(self.group[name]):
                total.add(row, stored)
                yield row, stored
            self.sums[name] = total.hexdigest()

    def check(self) -> None:
        """Compare what was read with the checksums."""
        with self.reading():
            require_unchanged(self._path, self._clip, checksums.changed_parts(self.group, self.sums))


def _copy_clip(clips: h5py.Group, clip: str, files: Sequence[Path], *, is_accepted: bool) -> None:
    """Copy a clip, or concatenate the segments of a long one."""
    with ExitStack() as stack:
        sources = [_Source(stack, file, clip) for file in files]
        target, first = clips.create_group(clip), sources[0]
        sums = {name: _copy_dataset(target, name, sources) for name in first.group}
        for source in [] if is_accepted else sources:
            source.check()
        if len(sources) > 1:
            _join_attrs(target, sources)
            del sums["track"]
        with first.reading():
            if len(sources) == 1:
                target.attrs.update(first.group.attrs)
            if not checksums.is_sealed(target):
                seal_clip(target, sums)


def _copy_dataset(target: h5py.Group, name: str, sources: Sequence[_Source]) -> str:
    """Copy a dataset, chunks unchanged, and return its SHA-256, which a lone source has computed while it was read."""
    n_rows, start = sum(source.attrs.n_frames for source in sources), 0
    with sources[0].reading():  # odd names and types of attributes show when they are written
        first = sources[0].group[name]
        shape, filters = (n_rows, *first.shape[1:]), first.id.get_create_plist()
        joined = target.create_dataset(
            name, shape, first.dtype, maxshape=first.maxshape, chunks=first.chunks, dcpl=filters
        )
        joined.attrs.update(first.attrs)
        total = DatasetSum(joined) if len(sources) > 1 else None
    for source in sources:
        for row, stored in source.chunks(name):
            place = start + row
            if total is not None:
                total.add(place, stored)
            if isinstance(stored, tuple):
                mask, data = stored
                joined.id.write_direct_chunk((place, *(0 for _ in shape[1:])), data, mask)
            elif any(map(len, stored)):
                joined[place : place + len(stored)] = stored
            else:  # h5py cannot write several empty values at once
                for i, value in enumerate(stored):
                    joined[place + i] = value
        start += source.attrs.n_frames
    return sources[0].sums[name] if total is None else total.hexdigest()


def _join_attrs(target: h5py.Group, sources: Sequence[_Source]) -> None:
    """Renumber the tracks over all segments, and write the attributes of the whole clip."""
    attrs = [source.attrs for source in sources]
    if len({one.source_fingerprint for one in attrs}) > 1:
        raise StoreError(
            f"The source of clip {target.name.rpartition('/')[2]} changed while its segments were extracted. "
            "Run the same command again."
        )
    ends = np.cumsum([one.n_frames for one in attrs])[:-1]
    target["track"][:] = _count_on(np.split(target["track"][:], ends), [bool(one.goes_on) for one in attrs])
    moves = {one.moves for one in attrs}
    motionless = MOTIONLESS if False in moves and True not in moves else ""
    warning = join_warnings(*(one.warning for one in attrs), motionless)
    write_clip_attrs(target, replace(attrs[0], warning=warning, segment="", goes_on=None, moves=None))


def _count_on(tracks: Sequence[np.ndarray], goes_on: Sequence[bool]) -> np.ndarray:
    """Return the track of each row of all segments: a track that continues across a seam keeps its number."""
    joined, n_tracks = [], 0
    for track, is_same in zip(tracks, goes_on, strict=True):
        if (track != NO_TRACK).any():
            first = track[track != NO_TRACK][0]
            shift = n_tracks - first - (is_same and n_tracks > 0)
            track = np.where(track == NO_TRACK, NO_TRACK, track + shift)
            n_tracks = int(track.max()) + 1
        joined.append(track)
    return np.concatenate(joined)
