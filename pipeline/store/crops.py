"""Reads crops where they lie in the file, past HDF5's filters and lock."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cv2
import h5py
import numpy as np

from tclr.pipeline.store.codecs import CODECS, decode_frames, filter_options
from tclr.pipeline.store.guard import check_chunks, filters_of, open_dataset
from tclr.pipeline.store.infos import ClipInfo
from tclr.pipeline.system import read_image_size
from tclr.schemas.errors import StoreError


class JpegFiles:
    """The crops of a clip that are JPEG files."""

    def __init__(self, dataset: h5py.Dataset, size: int) -> None:
        self._dataset = dataset
        self.shape = (size, size, 3)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Put rows, (n,) int with each row once, in ``out``, (n, S, S, 3) uint8; zeros without a face."""
        order = np.argsort(rows)
        ordered, first, stop = rows[order], int(rows.min()), int(rows.max()) + 1
        # HDF5 reads a range much faster than single rows
        files = self._dataset[first:stop] if stop - first == len(rows) else self._dataset[ordered]
        for place, file in zip(order, files, strict=True):
            _decode_jpeg(file, out[place])


def _decode_jpeg(file: np.ndarray, crop: np.ndarray) -> None:
    if not len(file):
        crop[:] = 0
    elif (size := read_image_size(file)) != (crop.shape[1], crop.shape[0]):
        raise ValueError(f"expected a JPEG of {crop.shape[1]} x {crop.shape[0]} pixels, but got {size}")
    else:
        crop[:] = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB))


class FrameChunks:
    """The crops of a clip that are chunks of an array."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.codec = CODECS.get(filters_of(dataset))
        self.shape = dataset.shape[1:]
        self._dataset, self._id = dataset, dataset.id
        self._rows_a_chunk = dataset.chunks[0]
        self._file = dataset.file.id.get_vfd_handle(h5py.h5p.create(h5py.h5p.FILE_ACCESS))

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Put rows in ``out``, see ``JpegFiles.read``; each chunk is decoded once."""
        if self.codec is None:
            for place, row in enumerate(rows.tolist()):
                check_chunks(self._dataset, row, row + 1)
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
        raise OSError(f"expected {expected} bytes of frames, but got {got}: the file ends there")


Crops = FrameChunks | JpegFiles
"""The crops of a clip, whatever their codec: ``shape`` of one, and ``read``."""


def open_crops(group: h5py.Group, info: ClipInfo) -> Crops:
    """Return the crops of a clip; raises ``StoreError`` if it was stored without."""
    if "frames" in group:
        return FrameChunks(open_dataset(group, "frames", info.n_frames))
    if "frames_jpeg" in group:
        return JpegFiles(open_dataset(group, "frames_jpeg", info.n_frames), info.root.align.size)
    raise no_crops(info, Path(group.file.filename))


def no_crops(info: ClipInfo, where: Path) -> StoreError:
    """Return the error for a clip without crops."""
    return StoreError(
        f"Expected crops for an encoder, but {info.name} of {where} was stored without (--no-frames). "
        "Run 'tclr preprocess' with --frames on its source, or 'tclr embed --embedding none', which needs none."
    )


def try_codec(codec: str) -> None:
    """Check that a codec works: write a chunk, read it by HDF5 and directly.

    Raises
    ------
    StoreError
        If ``zstd``, ``lz4``, ``gzip`` or ``none`` cannot be written or read, or other bytes come back.

    Examples
    --------
    >>> try_codec("zstd")
    """
    frames = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    try:
        with tempfile.TemporaryDirectory() as folder, h5py.File(Path(folder) / "trial.h5", "w") as file:
            stored = file.create_dataset("frames", data=frames, chunks=frames.shape, **filter_options(codec, 8 * 8 * 3))
            file.flush()
            read, decoded = stored[:], np.empty_like(frames)
            FrameChunks(stored).read(np.arange(2), decoded)
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(
            f"Cannot write and read a chunk with codec {codec}: {error}. Install hdf5plugin and h5py again."
        ) from error
    if not (np.array_equal(read, frames) and np.array_equal(decoded, frames)):
        raise StoreError(
            f"Expected the bytes written with codec {codec}, but got others. Install hdf5plugin and h5py again."
        )
