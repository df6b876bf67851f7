"""Reads crops where they lie in the file, past HDF5's filters and lock: the fast path of the training loader."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import h5py
import numpy as np

from tclr.pipeline.store.codecs import CODECS, decode_frames, filter_options
from tclr.pipeline.store.guard import check_chunks
from tclr.schemas.errors import StoreError


class FrameChunks:
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
        raise OSError(f"expected {expected} bytes of frames, but the file ends after {got}")


def try_codec(codec: str) -> None:
    """Write a chunk of two frames, and read it by HDF5 and by the loader's own decoder.

    Parameters
    ----------
    codec : str
        ``zstd``, ``lz4``, ``gzip`` or ``none``.

    Raises
    ------
    StoreError
        If that fails, or gives other bytes back.
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
            f"Expected to write and read a chunk with codec {codec}, but HDF5 says: {error}. "
            "Install hdf5plugin and h5py again."
        ) from error
    if not (np.array_equal(read, frames) and np.array_equal(decoded, frames)):
        raise StoreError(
            f"Expected the bytes that were written with codec {codec}, but other ones came back. "
            "Install hdf5plugin and h5py again."
        )
