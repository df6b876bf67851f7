import h5py
import numpy as np
import pytest
from hdf5plugin import LZ4, Zstd

from tclr.pipeline.store.codecs import CODECS, decode_frames, encode_frames

SHAPE = (12, 12, 3)


def smooth(n_frames):
    """Frames that compress, each different."""
    ramp = np.arange(np.prod(SHAPE)).reshape(SHAPE) // 40
    return np.stack([ramp + 7 * i for i in range(n_frames)]).astype(np.uint8)


FILTERS = {
    "zstd": dict(Zstd(clevel=3)),
    "lz4 by frame": dict(LZ4(nbytes=int(np.prod(SHAPE)))),
    "lz4 whole": dict(LZ4()),
    "lz4 odd blocks": dict(LZ4(nbytes=500)),
    "gzip": {"compression": "gzip", "shuffle": True},
}


def chunk(folder, filters, frames):
    with h5py.File(folder / "f.h5", "w") as file:
        dataset = file.create_dataset("frames", data=frames, chunks=frames.shape, **filters)
        plist = dataset.id.get_create_plist()
        codes = tuple(plist.get_filter(i)[0] for i in range(plist.get_nfilters()))
        mask, data = dataset.id.read_direct_chunk((0, 0, 0, 0))
        assert mask == 0
    return CODECS[codes], data


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("rows", [[0], [3], [7], [1, 2, 5], [7, 0], list(range(8))])
@pytest.mark.parametrize("noisy", [False, True])
def test_decode_frames_gives_what_hdf5_wrote(tmp_path, name, rows, noisy):
    frames = smooth(8)
    if noisy:  # does not compress: lz4 then keeps blocks as they are
        frames = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    codec, data = chunk(tmp_path, FILTERS[name], frames)
    out = {row: np.zeros(SHAPE, np.uint8) for row in rows}
    decode_frames(data, codec, out)
    for row in rows:
        np.testing.assert_array_equal(out[row], frames[row])


@pytest.mark.parametrize("name", FILTERS)
def test_damaged_chunks_are_value_errors(tmp_path, name):
    codec, data = chunk(tmp_path, FILTERS[name], smooth(8))
    out = {7: np.zeros(SHAPE, np.uint8)}
    for damaged in (data[: len(data) // 2], data[:10], b"\xff" * len(data)):
        with pytest.raises(ValueError, match=f"cannot decode a chunk of frames compressed by {codec}"):
            decode_frames(damaged, codec, out)


@pytest.mark.parametrize("codec", ["none", "zstd", "lz4"])
@pytest.mark.parametrize("noisy", [False, True])
def test_hdf5_reads_what_encode_frames_gives(tmp_path, codec, noisy):
    frames = smooth(8)
    if noisy:
        frames = np.random.default_rng(0).integers(0, 256, frames.shape, np.uint8)
    filters = {"none": {}, "zstd": FILTERS["zstd"], "lz4": FILTERS["lz4 by frame"]}[codec]
    with h5py.File(tmp_path / "f.h5", "w") as file:
        dataset = file.create_dataset("frames", frames.shape, np.uint8, chunks=frames.shape, **filters)
        dataset.id.write_direct_chunk((0, 0, 0, 0), encode_frames(frames, codec))
        np.testing.assert_array_equal(dataset[:], frames)
        assert dataset.id.get_storage_size() < frames.nbytes or noisy or codec == "none"


def test_encode_frames_refuses_other_codecs():
    with pytest.raises(ValueError, match="expected none, zstd or lz4, but got gzip"):
        encode_frames(smooth(8), "gzip")
