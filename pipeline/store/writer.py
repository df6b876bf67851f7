"""Writes clips to part files, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np

from tclr.pipeline.store.checksums import seal_clip, seal_root
from tclr.pipeline.store.codecs import encode_frames, filter_options
from tclr.pipeline.system import replacing, require_space
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.store import (
    CHUNK_FRAMES,
    CLIP_FIELDS,
    COUNT_ATTRS,
    FACE_STATUSES,
    FORMAT,
    NO_TRACK,
    QUALITY_ATTRS,
    TABLE_CHUNK,
    TRAILING_SHAPES,
    ClipAttrs,
    RecordingAttrs,
    RootAttrs,
    Status,
    join_warnings,
    needed_version,
    to_attributes,
)


@dataclass(frozen=True)
class ClipLayout:
    """Which datasets a clip has, and their shapes."""

    align: AlignConfig
    n_landmarks: int
    blendshape_names: tuple[str, ...] = ()
    au_names: tuple[str, ...] = ()
    au_intensity_names: tuple[str, ...] = ()
    has_source_names: bool = False

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of the columns of each dataset that has any."""
        names = {"blendshapes": self.blendshape_names, "au": self.au_names, "au_intensity": self.au_intensity_names}
        return {name: columns for name, columns in names.items() if columns}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one row of each dataset."""
        shapes = {name: TRAILING_SHAPES.get(name, ()) for name, field in CLIP_FIELDS.items() if field.required}
        shapes["landmarks"] = (self.n_landmarks, 3)
        if self.align.frames:
            is_jpeg = self.align.codec == "jpeg"
            shapes |= {"frames_jpeg": ()} if is_jpeg else {"frames": (self.align.size, self.align.size, 3)}
        if self.has_source_names:
            shapes["source_name"] = ()
        return shapes | {name: (len(columns),) for name, columns in self.names.items()}


def root_attrs(
    dataset: str, subject: str, detect: DetectConfig, align: AlignConfig, version: str, pseudonym_key: str = ""
) -> RootAttrs:
    """Return the attributes of a new subject file; ``pseudonym_key`` where names are pseudonyms.

    >>> from tclr.schemas.config import AlignConfig, DetectConfig
    >>> root_attrs("folder", "anna", DetectConfig(), AlignConfig(size=96), "0.2.0").align.size
    96
    """
    return RootAttrs(
        format=FORMAT,
        format_version=needed_version(has_frames=align.frames, has_pseudonyms=bool(pseudonym_key)),
        dataset=dataset,
        subject=subject,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tclr_version=version,
        detect_config=detect.to_json(),
        align_config=align.to_json(),
        detect_hash=detect.digest(),
        align_hash=align.digest(),
        pseudonym_key=pseudonym_key,
    )


def _encode_jpeg(crop: np.ndarray, quality: int) -> np.ndarray:
    if not crop.any():
        return np.zeros(0, np.uint8)
    return cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].ravel()


class ClipWriter:
    """Streams one clip into an open file, block by block.

    Memory does not grow with the clip. Blocks of a multiple of ``CHUNK_FRAMES`` rows compress every chunk once.

    >>> with Store(Path("store")) as store:
    ...     clip = store.clips[0]
    ...     fields = [name for name in store.fields(clip) if name not in ("frames", "au", "blendshapes")]
    ...     block = {name: store.read(clip, name) for name in fields} | {"frames": store.read_crops(clip)}
    >>> with write_part(Path("part.h5"), clip.root) as part:
    ...     writer = part.add_clip("copy", ClipLayout(clip.root.align, n_landmarks=478))
    ...     writer.append(block)
    ...     writer.finish(clip.attrs)
    >>> scan_clips(Path("part.h5"))[0]
    [ClipInfo(dataset='bp4d', subject='F001', clip='copy', n_frames=16)]
    """

    def __init__(self, file: h5py.File, clip: str, layout: ClipLayout) -> None:
        self.layout = layout
        self.group = file.create_group(f"clips/{clip}")
        self.n_frames = 0
        self.n_faces = 0
        self._datasets = {name: self._create(name, shape) for name, shape in layout.shapes().items()}

    def _create(self, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
        spec = CLIP_FIELDS[name]
        options: dict[str, Any] = {"chunks": (TABLE_CHUNK, *shape)}
        if name == "frames":
            options = {"chunks": (CHUNK_FRAMES, *shape)}
            options |= filter_options(self.layout.align.codec, int(np.prod(shape)))
        elif name == "landmarks":
            options.update(filter_options("zstd"), shuffle=True)
        special = {"vlen uint8": h5py.vlen_dtype(np.uint8), "vlen str": h5py.string_dtype()}
        dtype = special.get(spec.dtype) or np.dtype(spec.dtype)
        dataset = self.group.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), **options)
        dataset.attrs.update({"dims": list(spec.dims), "units": spec.units})
        if names := {"status": [status.name for status in Status], **self.layout.names}.get(name):
            dataset.attrs.update({"names": list(names)})
        return dataset

    def append(self, block: Mapping[str, np.ndarray]) -> None:
        """Append rows: an (n, ...) array for each dataset of the layout.

        ``frames``, if crops are stored, is (n, S, S, 3) uint8 RGB whatever the codec.
        """
        n_rows = len(block["status"])
        require_space(Path(self.group.file.filename), sum(values.nbytes for values in block.values()))
        for name, dataset in self._datasets.items():
            dataset.resize(self.n_frames + n_rows, axis=0)
            if name == "frames_jpeg":
                quality = self.layout.align.jpeg_quality
                for row, crop in enumerate(block["frames"]):
                    dataset[self.n_frames + row] = _encode_jpeg(crop, quality)
            elif name == "frames":
                self._append_frames(dataset, block[name])
            else:
                dataset[self.n_frames :] = block[name]
        self.n_frames += n_rows
        self.n_faces += int(np.isin(block["status"], FACE_STATUSES).sum())

    def _append_frames(self, dataset: h5py.Dataset, frames: np.ndarray) -> None:
        """Write crops chunk by chunk, past HDF5's filters where they begin a chunk."""
        codec = self.layout.align.codec
        for start in range(0, len(frames), CHUNK_FRAMES):
            chunk, row = frames[start : start + CHUNK_FRAMES], self.n_frames + start
            if not chunk.any():
                continue  # a chunk that was never written reads as zeros: no face
            if codec == "gzip" or row % CHUNK_FRAMES:
                dataset[row : row + len(chunk)] = chunk
                continue
            if len(chunk) < CHUNK_FRAMES:
                chunk = np.concatenate([chunk, np.zeros((CHUNK_FRAMES - len(chunk), *chunk.shape[1:]), np.uint8)])
            dataset.id.write_direct_chunk((row, 0, 0, 0), encode_frames(np.ascontiguousarray(chunk), codec))

    def finish(self, recording: RecordingAttrs) -> None:
        """Write the clip's attributes, with its counts and quality, and a warning if no frame has a face."""
        write_clip_attrs(self.group, recording)


def write_clip_attrs(group: h5py.Group, recording: RecordingAttrs) -> None:
    """Write a clip's attributes; see ``ClipWriter.finish``."""
    columns = ("timestamp", "status", "track", "score", "sharpness", "bbox", "pose")
    summary = summarise_clip(**{name: group[name][:] for name in columns})
    n_frames = len(group["status"])
    known: dict[str, Any] = {field.name: getattr(recording, field.name) for field in fields(RecordingAttrs)}
    if not recording.segment and not any(summary[f"n_{status.name}"] for status in FACE_STATUSES):
        known["warning"] = join_warnings(recording.warning, f"no face in any of {n_frames} frames")
    group.attrs.update(to_attributes(ClipAttrs(**known, **summary, n_frames=n_frames)))


class PartWriter:
    """An open part file: one clip, or one per person of a recording.

    >>> root = scan_clips(Path("store/subjects/F001.h5"))[0][0].root
    >>> with write_part(Path("part.h5"), root) as part:
    ...     writer = part.add_clip("T1", ClipLayout(root.align, n_landmarks=478))
    ...     part.keep({"T1": "T2"})
    >>> writer.n_frames
    0
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file

    def add_clip(self, clip: str, layout: ClipLayout) -> ClipWriter:
        """Begin a clip."""
        return ClipWriter(self._file, clip, layout)

    def keep(self, names: Mapping[str, str]) -> None:
        """Rename clips from the keys to the values, and drop all others."""
        clips = self._file["clips"]
        for clip in set(clips) - set(names):
            del clips[clip]
        for clip, name in names.items():
            if clip != name:
                clips.move(clip, name)


@contextmanager
def write_part(path: Path, root: RootAttrs) -> Iterator[PartWriter]:
    """Open a part file for writing; it appears under its name only if the block ends without an error.

    >>> root = scan_clips(Path("store/subjects/F001.h5"))[0][0].root
    >>> with write_part(Path("part.h5"), root) as part:
    ...     writer = part.add_clip("T1", ClipLayout(root.align, n_landmarks=478))
    """
    with replacing(path) as temporary:
        with h5py.File(temporary, "w", libver="v110") as file:
            file.attrs.update(to_attributes(root))
            yield PartWriter(file)
            for group in file["clips"].values():
                seal_clip(group)
            seal_root(file)


def summarise_clip(
    timestamp: np.ndarray,
    status: np.ndarray,
    track: np.ndarray,
    score: np.ndarray,
    sharpness: np.ndarray,
    bbox: np.ndarray,
    pose: np.ndarray,
) -> dict[str, Any]:
    """Return a clip's ``COUNT_ATTRS`` and ``QUALITY_ATTRS`` from its datasets; shapes as in ``CLIP_FIELDS``."""
    counts = [int((status == one).sum()) for one in Status]
    counts.append(len(np.unique(track[track != NO_TRACK])))
    face = np.isin(status, FACE_STATUSES)
    sizes = (bbox[face, 2:] - bbox[face, :2]).max(axis=1)
    columns = (score[face], sharpness[face], sizes, np.abs(pose[face, 1]))
    known = [column[np.isfinite(column)] for column in columns]  # some detectors give no pose
    medians = [float(np.median(column)) if len(column) else np.nan for column in known]
    duration_s = float(timestamp[-1]) if len(timestamp) else 0.0
    return dict(zip((*COUNT_ATTRS, *QUALITY_ATTRS), (*counts, duration_s, *medians), strict=True))
