"""Encodes a chunk of frames; decodes the wanted frames of one, and as few others as the codec allows.

A chunk is n frames, (n, S, S, 3) uint8, packed by one of the HDF5 filters that the store uses. zstd and gzip stop after
the last row wanted; blocks of lz4 are decoded one by one. Unlike HDF5's own filters, these release the interpreter's
lock, so threads work in parallel.

Source of the lz4 layout: the HDF5 filter 32004, https://github.com/nexusformat/HDF5-External-Filter-Plugins: length
(8 bytes, big-endian), block length (4), then each block behind its compressed length (4). A block whose compressed
length equals that of its content is not compressed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import hdf5plugin
import numpy as np
import pyarrow as pa

LZ4_ID, ZSTD_ID = 32004, 32015
"""Numbers of the HDF5 filters."""
CODECS = {(): "none", (ZSTD_ID,): "zstd", (LZ4_ID,): "lz4", (1,): "gzip", (2, 1): "gzip"}
"""Names of the codecs by the numbers of a dataset's HDF5 filters. Shuffling (2) does nothing to bytes."""

ZSTD_LEVEL = 3
LZ4_MAX_RATIO = 256
"""One byte of an LZ4 block holds at most 255: a length beyond it is damage."""


def encode_frames(frames: np.ndarray, codec: str) -> bytes:
    """Encode (n, S, S, 3) uint8, contiguous, as the HDF5 filter of ``none``, ``zstd`` or ``lz4`` would."""
    match codec:
        case "none":
            return frames.tobytes()
        case "zstd":
            return pa.Codec("zstd", compression_level=ZSTD_LEVEL).compress(frames, asbytes=True)
        case "lz4":
            return _encode_lz4(frames)
    raise ValueError(f"expected none, zstd or lz4, but got {codec}")


def decode_frames(data: bytes, codec: str, frames: Mapping[int, np.ndarray]) -> None:
    """Decode the wanted rows of a chunk as stored; raises ``ValueError`` if it is damaged.

    ``frames`` has by row of the chunk the contiguous (S, S, 3) uint8 array to decode it into.
    """
    try:
        match codec:
            case "zstd":
                _decode_zstd(data, frames)
            case "lz4":
                _decode_lz4(data, frames)
            case _:
                last = max(frames)
                n_bytes = (last + 1) * frames[last].nbytes
                _cut_frames(zlib.decompressobj().decompress(data, n_bytes), frames)
    except (OSError, ValueError, zlib.error, struct.error) as error:
        raise ValueError(f"cannot decode a chunk of frames compressed by {codec}: {error}") from error


def _cut_frames(plain: bytes | np.ndarray, frames: Mapping[int, np.ndarray]) -> None:
    for row, frame in frames.items():
        frame.ravel()[:] = np.frombuffer(plain, np.uint8, frame.nbytes, row * frame.nbytes)


def _decode_zstd(data: bytes, frames: Mapping[int, np.ndarray]) -> None:
    unwanted = np.empty_like(next(iter(frames.values())))
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        for row in range(max(frames) + 1):
            rest = frames.get(row, unwanted).data.cast("B")
            while rest:
                count = stream.readinto(rest)
                if not count:
                    raise ValueError(f"it ends within row {row}")
                rest = rest[count:]


def _encode_lz4(frames: np.ndarray) -> bytes:
    """Return one block per frame, so that a frame is read without its neighbours."""
    parts = [struct.pack(">QI", frames.nbytes, frames[0].nbytes)]
    for frame in frames:
        packed = pa.compress(frame, codec="lz4_raw", asbytes=True)
        packed = packed if len(packed) < frame.nbytes else frame.tobytes()
        parts += [struct.pack(">I", len(packed)), packed]
    return b"".join(parts)


def _decode_lz4(data: bytes, frames: Mapping[int, np.ndarray]) -> None:
    total, block_bytes = struct.unpack_from(">QI", data)
    last, frame_bytes = max(frames), next(iter(frames.values())).nbytes
    if not ((last + 1) * frame_bytes <= total <= LZ4_MAX_RATIO * len(data) and block_bytes):
        raise ValueError(f"it claims {total} bytes in blocks of {block_bytes}; row {last} is wanted")
    block_bytes = min(block_bytes, total)
    whole = None if block_bytes == frame_bytes else np.empty(total, np.uint8)
    place, stored = 12, memoryview(data)
    for block in range(((last + 1) * frame_bytes - 1) // block_bytes + 1):
        (size,) = struct.unpack_from(">I", data, place)
        place += 4
        if whole is not None or block in frames:
            start, length = block * block_bytes, min(block_bytes, total - block * block_bytes)
            part = stored[place : place + size]
            plain = np.frombuffer(part if size == length else pa.decompress(part, length, codec="lz4_raw"), np.uint8)
            target = frames[block].ravel() if whole is None else whole[start : start + length]
            target[:] = plain
        place += size
    if whole is not None:
        _cut_frames(whole, frames)


def filter_options(codec: str, frame_bytes: int = 0) -> dict[str, Any]:
    """Return what h5py needs for a codec; ``frame_bytes`` is the size of a row."""
    match codec:
        case "zstd":
            return dict(hdf5plugin.Zstd(clevel=ZSTD_LEVEL))
        case "lz4":  # one block per frame
            return dict(hdf5plugin.LZ4(nbytes=frame_bytes))
        case "gzip":
            return {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        case _:
            return {}
