"""Tries a codec of the store on this machine: whether its HDF5 filter is there and gives back what it was given."""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import numpy as np

from tclr.pipeline.store.chunks import FrameChunks
from tclr.pipeline.store.writer import filter_options
from tclr.schemas.errors import StoreError


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
