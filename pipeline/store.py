"""The only HDF5 reader and writer.

``ClipWriter`` streams one clip into a part file, ``assemble_subject`` joins parts into a subject's file without
decompressing, ``Store`` reads. The layout is specified in ``tclr.schemas.store``.
"""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import h5py
import hdf5plugin
import numpy as np

from tclr.pipeline.codecs import CODECS, decode_frames
from tclr.pipeline.files import replacing, require_space
from tclr.pipeline.quality import summarise_clip
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.errors import StoreError
from tclr.schemas.store import (
    CHUNK_FRAMES,
    CLIP_FIELDS,
    FACE_STATUSES,
    FORMAT,
    FORMAT_VERSION,
    NO_TRACK,
    SEGMENT_ATTRS,
    TABLE_CHUNK,
    Status,
    check_clip,
    check_root,
    check_values,
)

MAX_OPEN_FILES = 64
"""Subject files a reader keeps open; chosen by us: far below the usual limit of 1,024 a process."""
SHARE_OF_OPEN_FILES = 8
"""Of the files that the process may open, a reader takes at most one in so many: there are several readers."""


def _max_open_files() -> int:
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_OPEN_FILES if allowed < 0 else max(1, min(MAX_OPEN_FILES, allowed // SHARE_OF_OPEN_FILES))


def _filters(codec: str, frame_bytes: int = 0) -> dict[str, Any]:
    match codec:
        case "zstd":
            return dict(hdf5plugin.Zstd(clevel=3))
        case "lz4":  # one block a frame, so that a frame is read without its neighbours
            return dict(hdf5plugin.LZ4(nbytes=frame_bytes))
        case "gzip":
            return {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        case _:
            return {}


@dataclass(frozen=True)
class ClipLayout:
    """What a clip's datasets look like: fixed before its first frame is written."""

    align: AlignConfig
    n_landmarks: int
    blendshape_names: tuple[str, ...] = ()
    au_names: tuple[str, ...] = ()
    au_intensity_names: tuple[str, ...] = ()
    has_source_names: bool = False

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one row of each dataset."""
        size = self.align.size
        shapes: dict[str, tuple[int, ...]] = {
            "timestamp": (),
            "source_frame": (),
            "status": (),
            "track": (),
            "score": (),
            "sharpness": (),
            "bbox": (4,),
            "landmarks": (self.n_landmarks, 3),
            "transform": (2, 3),
            "pose": (3,),
        }
        if self.align.codec == "jpeg":
            shapes["frames_jpeg"] = ()
        else:
            shapes["frames"] = (size, size, 3)
        if self.has_source_names:
            shapes["source_name"] = ()
        for name, names in (
            ("blendshapes", self.blendshape_names),
            ("au", self.au_names),
            ("au_intensity", self.au_intensity_names),
        ):
            if names:
                shapes[name] = (len(names),)
        return shapes


def root_attrs(dataset: str, subject: str, detect: DetectConfig, align: AlignConfig, version: str) -> dict[str, Any]:
    """Return the attributes of a subject file, without ``complete``."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "dataset": dataset,
        "subject": subject,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "tclr_version": version,
        "detect_config": detect.to_json(),
        "align_config": align.to_json(),
        "detect_hash": detect.digest(),
        "align_hash": align.digest(),
    }


def _encode_jpeg(crop: np.ndarray, quality: int) -> np.ndarray:
    if not crop.any():
        return np.zeros(0, np.uint8)
    return cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].ravel()


def _decode_jpeg(file: np.ndarray, crop: np.ndarray) -> None:
    crop[:] = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)) if len(file) else 0


class ClipWriter:
    """Streams one clip into the group ``/clips/<clip>`` of an open file, block by block.

    Memory does not grow with the clip: each block is written and forgotten. Blocks of a multiple of
    ``CHUNK_FRAMES`` rows compress every chunk once.
    """

    def __init__(self, file: h5py.File, clip: str, layout: ClipLayout) -> None:
        self.layout = layout
        self.group = file.create_group(f"clips/{clip}")
        self.n_frames = 0
        self.n_faces = 0
        for name, shape in layout.shapes().items():
            self._create(name, shape)

    def _create(self, name: str, shape: tuple[int, ...]) -> None:
        spec = CLIP_FIELDS[name]
        options: dict[str, Any] = {"chunks": (TABLE_CHUNK, *shape)}
        if name == "frames":
            options = {"chunks": (CHUNK_FRAMES, *shape)}
            options |= _filters(self.layout.align.codec, int(np.prod(shape)))
        elif name == "landmarks":
            options.update(_filters("zstd"), shuffle=True)
        special = {"vlen uint8": h5py.vlen_dtype(np.uint8), "vlen str": h5py.string_dtype()}
        dtype = special.get(spec.dtype) or np.dtype(spec.dtype)
        dataset = self.group.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), **options)
        dataset.attrs["dims"] = list(spec.dims)
        dataset.attrs["units"] = spec.units
        names = {
            "status": tuple(status.name for status in Status),
            "blendshapes": self.layout.blendshape_names,
            "au": self.layout.au_names,
            "au_intensity": self.layout.au_intensity_names,
        }.get(name)
        if names:
            dataset.attrs["names"] = list(names)

    def append(self, block: Mapping[str, np.ndarray]) -> None:
        """Append rows.

        Parameters
        ----------
        block : mapping
            An array for each dataset of the layout, first axis frames; ``frames`` is (n, S, S, 3) uint8 RGB
            whatever the codec.
        """
        n_rows = len(block["status"])
        require_space(Path(self.group.file.filename), sum(values.nbytes for values in block.values()))
        for name in self.layout.shapes():
            dataset = self.group[name]
            dataset.resize(self.n_frames + n_rows, axis=0)
            if name == "frames_jpeg":
                quality = self.layout.align.jpeg_quality
                for row, crop in enumerate(block["frames"]):
                    dataset[self.n_frames + row] = _encode_jpeg(crop, quality)
            elif name != "frames" or block[name].any():  # chunks that are never written read as zeros, no face
                dataset[self.n_frames :] = block[name]
        self.n_frames += n_rows
        self.n_faces += int(np.isin(block["status"], FACE_STATUSES).sum())

    def finish(self, attrs: Mapping[str, Any]) -> None:
        """Write the clip's attributes; counts and quality are added, and a warning if no frame has a face."""
        _write_attrs(self.group, attrs)


def _write_attrs(group: h5py.Group, attrs: Mapping[str, Any]) -> None:
    columns = ("timestamp", "status", "track", "score", "sharpness", "bbox", "pose")
    summary = summarise_clip(**{name: group[name][:] for name in columns})
    n_frames = len(group["status"])
    seen = sum(summary[f"n_{status.name}"] for status in FACE_STATUSES)
    warning = attrs["warning"] or ("" if seen else f"no face in any of {n_frames} frames")
    group.attrs.update({**attrs, **summary, "n_frames": n_frames, "warning": warning})


class PartWriter:
    """An open part file: one clip, or one for each person of a recording."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file

    def add_clip(self, clip: str, layout: ClipLayout) -> ClipWriter:
        """Begin a clip."""
        return ClipWriter(self._file, clip, layout)

    def keep(self, names: Mapping[str, str]) -> None:
        """Keep these clips under new names, and drop the others."""
        clips = self._file["clips"]
        for clip in set(clips) - set(names):
            del clips[clip]
        for clip, name in names.items():
            if clip != name:
                clips.move(clip, name)


@contextmanager
def write_part(path: Path, attrs: Mapping[str, Any]) -> Iterator[PartWriter]:
    """Write a part file; it appears under its name only when the block ends without an error."""
    with replacing(path) as temporary:
        with h5py.File(temporary, "w", libver="v110") as file:
            file.attrs.update(dict(attrs))
            yield PartWriter(file)
            file.attrs["complete"] = True


def assemble_subject(path: Path, sources: Mapping[str, Sequence[Path]], attrs: Mapping[str, Any]) -> None:
    """Join clips from several files into one subject file.

    Compressed chunks are copied as they are.

    Parameters
    ----------
    path : Path
        The subject's file, replaced in one step.
    sources : mapping of str to sequence of Path
        Which file each clip comes from, which may be the old ``path``, or its segments' files in order.
    attrs : mapping
        See ``root_attrs``.
    """
    with replacing(path) as temporary:
        files = {file for segments in sources.values() for file in segments}
        require_space(temporary, sum(file.stat().st_size for file in files))
        with h5py.File(temporary, "w", libver="v110") as target:
            target.attrs.update(dict(attrs))
            clips = target.create_group("clips")
            for clip, segments in sorted(sources.items()):
                if len(segments) == 1:
                    with h5py.File(segments[0], "r") as part:
                        part.copy(f"clips/{clip}", clips, name=clip)
                else:
                    _join_segments(clips, clip, segments)
            target.attrs["complete"] = True


def _join_segments(clips: h5py.Group, clip: str, segments: Sequence[Path]) -> None:
    """Put the segments of a long clip one behind the other; tracks are counted on."""
    with ExitStack() as stack:
        groups = [stack.enter_context(h5py.File(path, "r"))[f"clips/{clip}"] for path in segments]
        if len({group.attrs["source_fingerprint"] for group in groups}) > 1:
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
        target["track"][:] = _count_on(groups)
        attrs = {name: value for name, value in groups[0].attrs.items() if name not in SEGMENT_ATTRS}
        _write_attrs(target, attrs | {"warning": ""})


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


def _count_on(groups: Sequence[h5py.Group]) -> np.ndarray:
    """Return the track of each row over all segments: a track that goes on across a seam keeps its number."""
    joined, n_tracks = [], 0
    for group in groups:
        track = group["track"][:]
        if (track != NO_TRACK).any():
            first = track[track != NO_TRACK][0]
            shift = n_tracks - first - (bool(group.attrs["goes_on"]) and n_tracks > 0)
            track = np.where(track == NO_TRACK, NO_TRACK, track + shift)
            n_tracks = int(track.max()) + 1
        joined.append(track)
    return np.concatenate(joined)


@dataclass(frozen=True)
class ClipInfo:
    """One clip of a store: where it is and what is known without reading its arrays."""

    dataset: str
    subject: str
    clip: str
    n_frames: int
    attrs: Mapping[str, Any] = field(repr=False, hash=False, compare=False)
    root: Mapping[str, Any] = field(repr=False, hash=False, compare=False)

    @property
    def name(self) -> str:
        """``subject/clip``, as messages show it."""
        return f"{self.subject}/{self.clip}"


def _plain(attrs: h5py.AttributeManager) -> dict[str, Any]:
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in attrs.items()}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the many errors that HDF5 has for a damaged file into one."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, RuntimeError, KeyError, AttributeError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StoreError(
            f"Cannot read {path} as HDF5 of a store: {reason}. Run 'tclr preprocess' again: it makes the file anew."
        ) from error


class _FrameChunks:
    """The chunks of a clip's frames where they lie in the file, read past HDF5's filters and lock."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        filters = dataset.id.get_create_plist()
        self.codec = CODECS.get(tuple(filters.get_filter(i)[0] for i in range(filters.get_nfilters())))
        self.frame_shape = dataset.shape[1:]
        self._dataset, self._id = dataset, dataset.id
        self._rows_a_chunk = dataset.chunks[0]
        self._file = dataset.file.id.get_vfd_handle(h5py.h5p.create(h5py.h5p.FILE_ACCESS))

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Put rows in ``out``; a chunk that several of them lie in is decoded once."""
        if self.codec is None:
            for place, row in enumerate(rows.tolist()):
                out[place] = self._dataset[row]
            return
        by_chunk: dict[int, dict[int, np.ndarray]] = {}
        for place, row in enumerate(rows.tolist()):
            chunk, inside = divmod(row, self._rows_a_chunk)
            by_chunk.setdefault(chunk, {})[inside] = out[place]
        for chunk, frames in by_chunk.items():
            self._read_chunk(chunk * self._rows_a_chunk, frames)

    def _read_chunk(self, first: int, frames: dict[int, np.ndarray]) -> None:
        stored = self._id.get_chunk_info_by_coord((first, 0, 0, 0))
        if stored.byte_offset is None:  # never written: no face in any of its rows
            for frame in frames.values():
                frame[:] = 0
        elif self.codec == "none" or stored.filter_mask:
            for inside, frame in frames.items():
                start = stored.byte_offset + inside * frame.nbytes
                _check_length(os.preadv(self._file, [frame.data], start), frame.nbytes)
        else:
            data = os.pread(self._file, stored.size, stored.byte_offset)
            _check_length(len(data), stored.size)
            decode_frames(data, str(self.codec), frames)


def _check_length(got: int, expected: int) -> None:
    if got != expected:
        raise OSError(f"expected {expected} bytes of frames, but the file ends after {got}")


def _open(path: Path) -> h5py.File:
    with _reading(path):
        return h5py.File(path, "r")


def read_clip_infos(path: Path) -> list[ClipInfo]:
    """List the clips of one subject or part file, sorted by name.

    Raises
    ------
    StoreError
        If the file is not a complete tclr store file of a format known here.
    """
    with _reading(path), _open(path) as file:
        root = _plain(file.attrs)
        check_root(root, str(path))
        infos = []
        for clip, group in sorted(file["clips"].items()):
            attrs = _plain(group.attrs)
            n_frames = int(attrs.get("n_frames", len(group["status"])))
            infos.append(ClipInfo(root["dataset"], root["subject"], clip, n_frames, attrs, root))
        return infos


class Store:
    """Reads a store folder. Cheap to pickle: open files stay behind.

    Parameters
    ----------
    root : Path
        A folder that ``tclr preprocess`` wrote, or one of its files.
    subjects : iterable of str, optional
        Open only these; default all.

    Raises
    ------
    StoreError
        If there is no subject file in it, or one is damaged or of a newer format.
    """

    paths: dict[str, Path]
    clips: list[ClipInfo]

    def __init__(self, root: Path, subjects: Iterable[str] | None = None) -> None:
        self.root = Path(root)
        self._files: OrderedDict[str, h5py.File] = OrderedDict()
        self._chunks: dict[str, dict[str, _FrameChunks | None]] = {}
        if self.root.is_file():
            self.clips = read_clip_infos(self.root)
            self.paths = {info.subject: self.root for info in self.clips}
            return
        paths = sorted((self.root / "subjects").glob("*.h5"))
        wanted = None if subjects is None else set(subjects)
        self.paths = {path.stem: path for path in paths if wanted is None or path.stem in wanted}
        if not self.paths:
            raise StoreError(
                f"Expected a store with subjects/*.h5, but found none in {self.root}. "
                "Run 'tclr preprocess SOURCE STORE' first."
            )
        self.clips = [info for path in self.paths.values() for info in read_clip_infos(path)]

    @property
    def subjects(self) -> list[str]:
        """Names of all subjects, sorted."""
        return list(self.paths)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict(), "_chunks": {}}

    def _group(self, info: ClipInfo) -> h5py.Group:
        file = self._files.pop(info.subject, None)
        if file is None:
            while len(self._files) >= _max_open_files():
                self._close(next(iter(self._files)))
            file = _open(self.paths[info.subject])
        self._files[info.subject] = file
        with _reading(self.paths[info.subject]):
            return file[f"clips/{info.clip}"]

    def close(self) -> None:
        """Close all open files."""
        for subject in list(self._files):
            self._close(subject)

    def _close(self, subject: str) -> None:
        self._chunks.pop(subject, None)
        self._files.pop(subject).close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def fields(self, info: ClipInfo) -> list[str]:
        """Return the names of the clip's datasets, sorted."""
        with _reading(self.paths[info.subject]):
            return sorted(self._group(info))

    def names(self, info: ClipInfo, field_name: str) -> list[str]:
        """Return the column names of ``au``, ``au_intensity`` or ``blendshapes``; empty if the clip has none."""
        group = self._group(info)
        with _reading(self.paths[info.subject]):
            return [str(name) for name in group[field_name].attrs["names"]] if field_name in group else []

    def read(self, info: ClipInfo, field_name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read rows ``start:stop`` of a small dataset, shape and dtype as in the layout.

        Raises
        ------
        StoreError
            If the clip has no such dataset or it cannot be read.
        """
        group = self._group(info)
        if field_name not in group:
            known = ", ".join(sorted(group))
            raise StoreError(f"Clip {info.name} has no dataset {field_name!r} in {self.root}. It has: {known}.")
        with _reading(self.paths[info.subject]):
            dataset = group[field_name]
            return (dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset)[start:stop]

    def read_frames(self, info: ClipInfo, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read crops ``start:stop``, whatever the codec.

        Returns
        -------
        ndarray
            (n, S, S, 3) uint8 RGB; zeros where there is no face.
        """
        group = self._group(info)
        with _reading(self.paths[info.subject]):
            if "frames" in group:
                return group["frames"][start:stop]
            size = AlignConfig.model_validate_json(info.root["align_config"]).size
            files = group["frames_jpeg"][start:stop]
            crops = np.empty((len(files), size, size, 3), np.uint8)
            for crop, file in zip(crops, files, strict=True):
                _decode_jpeg(file, crop)
            return crops

    def read_rows(self, info: ClipInfo, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Read some crops, whatever the codec: the fast path of the training loader.

        Each chunk that holds one of them is read and decoded once, past HDF5's own filters and lock.

        Parameters
        ----------
        info : ClipInfo
            The clip.
        rows : ndarray
            (n,) int, each once, in any order.
        out : ndarray, optional
            (n, S, S, 3) uint8, contiguous, to put them in.

        Returns
        -------
        ndarray
            (n, S, S, 3) uint8 RGB; zeros where there is no face.

        Raises
        ------
        StoreError
            If a row is not there or cannot be read.
        """
        rows, path = np.asarray(rows), self.paths[info.subject]
        if not 0 <= rows.min() <= rows.max() < info.n_frames or len(np.unique(rows)) < len(rows):
            raise StoreError(
                f"Expected rows 0 to {info.n_frames - 1} of clip {info.name}, each once, but got {rows.tolist()} for "
                f"{path}. Run 'tclr preprocess' again if the file has changed."
            )
        with _reading(path):
            if (chunks := self._frame_chunks(info)) is not None:
                out = np.empty((len(rows), *chunks.frame_shape), np.uint8) if out is None else out
                chunks.read(rows, out)
                return out
            size = AlignConfig.model_validate_json(info.root["align_config"]).size
            out = np.empty((len(rows), size, size, 3), np.uint8) if out is None else out
            order = np.argsort(rows)
            for place, file in zip(order, self._group(info)["frames_jpeg"][rows[order]], strict=True):
                _decode_jpeg(file, out[place])
            return out

    def _frame_chunks(self, info: ClipInfo) -> _FrameChunks | None:
        """Return where a clip's frames lie, as found once while its file is open; ``None`` if they are JPEG files."""
        known = self._chunks.setdefault(info.subject, {})
        if info.subject in self._files and info.clip in known:
            self._files.move_to_end(info.subject)
        else:
            group = self._group(info)
            known[info.clip] = _FrameChunks(group["frames"]) if "frames" in group else None
        return known[info.clip]

    def face_mask(self, info: ClipInfo, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return (n,) bool for rows ``start:stop``: frames that have landmarks and a crop."""
        return np.isin(self.read(info, "status", start, stop), FACE_STATUSES)

    def crop_size(self) -> int:
        """Return the crop side in pixels.

        Raises
        ------
        StoreError
            If the subjects were made with different sizes.
        """
        sizes = {AlignConfig.model_validate_json(info.root["align_config"]).size for info in self.clips}
        if len(sizes) != 1:
            raise StoreError(
                f"Expected one crop size in {self.root}, but got {sorted(sizes)}. "
                "Run 'tclr preprocess' again with one --size for all subjects."
            )
        return sizes.pop()

    def verify_clip(self, info: ClipInfo, block: int = 256) -> None:
        """Check one clip against the schema, reading every byte of it.

        Raises
        ------
        StoreError
            At the first thing that is wrong.
        """
        where = f"{self.paths[info.subject]} clip {info.clip}"
        group = self._group(info)
        with _reading(self.paths[info.subject]):
            shapes = {name: dataset.shape for name, dataset in group.items()}
            dtypes = {name: str(dataset.dtype) for name, dataset in group.items()}
        check_clip(shapes, dtypes, info.attrs, where)
        rising = {"timestamp", "source_frame"}  # checked whole: a fall may lie between two blocks
        for name in sorted(rising):
            check_values(name, self.read(info, name), where)
        for start in range(0, info.n_frames, block):
            stop = min(start + block, info.n_frames)
            for name in set(shapes) - {"frames", "frames_jpeg"} - rising:
                check_values(name, self.read(info, name, start, stop), where)
            face = self.face_mask(info, start, stop)
            found = np.isfinite(self.read(info, "landmarks", start, stop)).all(axis=(1, 2))
            filled = self.read_frames(info, start, stop).any(axis=(1, 2, 3))
            for what, mask in (("landmarks", found), ("a crop", filled)):
                if (wrong := np.flatnonzero(mask != face)).size:
                    raise StoreError(
                        f"Expected exactly the frames with a face to have {what}, but row {start + wrong[0]} "
                        f"differs in {where}. Run 'tclr preprocess' again."
                    )


def find_damage(root: Path) -> Iterator[tuple[Path, str | None]]:
    """Verify the subject files of a store one by one.

    Yields
    ------
    (Path, str or None)
        The file, and what is wrong with it or ``None``.
    """
    paths = sorted((Path(root) / "subjects").glob("*.h5"))
    if not paths:
        raise StoreError(f"Expected a store with subjects/*.h5, but found none in {root}. Run 'tclr preprocess' first.")
    for path in paths:
        try:
            with Store(root, subjects=[path.stem]) as store:
                for info in store.clips:
                    store.verify_clip(info)
            yield path, None
        except StoreError as error:
            yield path, str(error)
