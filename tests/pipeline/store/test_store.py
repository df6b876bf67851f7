import os
import pickle
import resource
from dataclasses import replace

import h5py
import hdf5plugin
import numpy as np
import pytest

from tclr.pipeline.store import ClipLayout, Store, assemble_subject, find_damage, root_attrs, write_part
from tclr.pipeline.store.damage import FileReport
from tclr.pipeline.store.infos import read_clip_infos
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.errors import OutputError, StoreError
from tclr.schemas.store import MOTIONLESS, NO_TRACK, TABLE_CHUNK, RecordingAttrs, Status, join_warnings

SIZE = 16
RECORDING = RecordingAttrs(
    source="a",
    source_sha256="b",
    source_fingerprint="c",
    source_clip="T1",
    n_people=1,
    reduction=1,
    fps=25.0,
    width=9,
    height=9,
    detector="d",
    warning="",
)


def make_block(n_rows, start=0, seed=0):
    rng = np.random.default_rng(seed + start)
    block = {
        "frames": rng.integers(1, 255, (n_rows, SIZE, SIZE, 3), np.uint8),
        "timestamp": (start + np.arange(n_rows)) / 25,
        "source_frame": start + np.arange(n_rows),
        "status": np.zeros(n_rows, np.uint8),
        "track": np.zeros(n_rows, np.int32),
        "score": np.full(n_rows, 0.9, np.float32),
        "sharpness": np.full(n_rows, 50, np.float32),
        "bbox": rng.random((n_rows, 4), np.float32),
        "landmarks": rng.random((n_rows, 68, 3), np.float32),
        "transform": rng.random((n_rows, 2, 3)),
        "pose": rng.random((n_rows, 3), np.float32),
        "au": rng.integers(-1, 2, (n_rows, 2)).astype(np.int8),
    }
    block["status"][1], block["track"][1] = Status.no_face, NO_TRACK
    block["frames"][1] = 0
    block["landmarks"][1] = np.nan
    return block


def write_one_clip(path, clip="T1", codec="zstd", blocks=(32, 9), seed=0, smooth=False, grey=90, **recording):
    align = AlignConfig(size=SIZE, codec=codec)
    attrs = root_attrs("folder", "s", DetectConfig(), align, "0")
    layout = ClipLayout(align, 68, au_names=("AU01", "AU12"))
    rows, start = [], 0
    with write_part(path, attrs) as part:
        writer = part.add_clip(clip, layout)
        for n_rows in blocks:
            rows.append(make_block(n_rows, start, seed))
            if smooth:
                rows[-1]["frames"][:] = np.where(rows[-1]["frames"].any(axis=(1, 2, 3), keepdims=True), grey, 0)
            writer.append(rows[-1])
            start += n_rows
        writer.finish(replace(RECORDING, source_clip=clip, **recording))
    return {name: np.concatenate([block[name] for block in rows]) for name in rows[0]}, attrs


@pytest.fixture
def store(tmp_path):
    """A store of one subject with clips T1 and T2, and what was written."""
    root, written = tmp_path / "store", {}
    for seed, clip in enumerate(("T1", "T2")):
        written[clip], attrs = write_one_clip(tmp_path / f"{clip}.h5", clip, seed=seed)
    sources = {clip: (tmp_path / f"{clip}.h5",) for clip in written}
    assemble_subject(root / "subjects" / "s.h5", sources, attrs)
    return root, written


@pytest.mark.parametrize("codec", ["zstd", "lz4", "gzip", "none"])
def test_write_part_and_read_give_the_same_arrays_for_any_lossless_codec(tmp_path, codec):
    path = tmp_path / "store" / "subjects" / "s.h5"
    written, _ = write_one_clip(path, codec=codec)
    with Store(tmp_path / "store") as store:
        (info,) = store.clips
        assert info.n_frames == 41 and info.attrs.n_ok == 39  # row 1 of each block has no face
        np.testing.assert_array_equal(store.read_crops(info), written["frames"])
        np.testing.assert_array_equal(store.read_crops(info, 6, 19), written["frames"][6:19])
        for name in ("timestamp", "landmarks", "status", "au", "transform"):
            np.testing.assert_array_equal(store.read(info, name), written[name])


def test_jpeg_codec_reads_close_to_what_was_written_and_keeps_empty_frames(tmp_path):
    written, _ = write_one_clip(tmp_path / "subjects" / "s.h5", codec="jpeg", smooth=True)
    with Store(tmp_path) as store:
        frames = store.read_crops(store.clips[0])
        assert frames.shape == written["frames"].shape and not frames[1].any() and not frames[33].any()
        assert np.abs(frames.astype(int) - written["frames"]).max() < 6


@pytest.mark.parametrize("grey", [0, 90])
def test_jpeg_files_are_assembled_even_if_no_frame_has_one(tmp_path, grey):
    written, attrs = write_one_clip(tmp_path / "part.h5", codec="jpeg", smooth=True, grey=grey)
    assemble_subject(tmp_path / "store" / "subjects" / "s.h5", {"T1": (tmp_path / "part.h5",)}, attrs)
    with Store(tmp_path / "store") as store:
        frames = store.read_crops(store.clips[0])
        assert frames.shape == written["frames"].shape and frames.any() == bool(grey)


def test_every_dataset_carries_dims_and_units(store):
    root, _ = store
    with h5py.File(root / "subjects" / "s.h5") as file:
        for dataset in file["clips/T1"].values():
            assert len(dataset.attrs["dims"]) == dataset.ndim and dataset.attrs["units"]
        assert file["clips/T1/frames"].chunks == (8, SIZE, SIZE, 3)
        assert list(file["clips/T1/au"].attrs["names"]) == ["AU01", "AU12"]


def test_assemble_subject_joins_clips_unchanged(store):
    root, written = store
    with Store(root) as opened:
        assert [info.name for info in opened.clips] == ["s/T1", "s/T2"]
        for info in opened.clips:
            np.testing.assert_array_equal(opened.read_crops(info), written[info.clip]["frames"])


@pytest.mark.parametrize(
    ("moves", "expected"),
    [((False, False), MOTIONLESS), ((False, None), MOTIONLESS), ((False, True), ""), ((None, None), "")],
)
def test_a_clip_in_segments_is_motionless_if_no_segment_moves(tmp_path, moves, expected):
    files = [tmp_path / f"{i}.h5" for i in range(2)]
    for i, file in enumerate(files):
        settings = {"segment": f"{i}:{i + 1}", "moves": moves[i], "warning": "odd"}
        _, attrs = write_one_clip(file, blocks=(TABLE_CHUNK,), seed=i, **settings)
    assemble_subject(tmp_path / "store" / "subjects" / "s.h5", {"T1": files}, attrs)
    with Store(tmp_path / "store") as store:
        (info,) = store.clips
    assert info.attrs.warning == join_warnings("odd", expected) and info.attrs.moves is None


def test_write_part_leaves_nothing_when_it_fails(tmp_path):
    align = AlignConfig(size=SIZE)
    attrs = root_attrs("folder", "s", DetectConfig(), align, "0")
    with pytest.raises(RuntimeError, match="stop"):
        with write_part(tmp_path / "s.h5", attrs) as part:
            part.add_clip("T1", ClipLayout(align, 68))
            raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_write_part_tells_when_the_output_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Cannot write .*file/s.h5"):
        write_one_clip(tmp_path / "file" / "s.h5")


def test_store_refuses_an_empty_folder_a_foreign_file_and_a_newer_format(tmp_path, store):
    with pytest.raises(StoreError, match="found none"):
        Store(tmp_path / "nothing")
    root, _ = store
    path = root / "subjects" / "s.h5"
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 3
    with pytest.raises(StoreError, match="format 2 or older, but got 3.*Upgrade"):
        Store(root)
    path.write_bytes(b"no HDF5")
    with pytest.raises(StoreError, match="as HDF5"):
        Store(root)


def test_store_names_a_dataset_that_is_not_there(store):
    root, _ = store
    with Store(root) as opened, pytest.raises(StoreError, match="no dataset 'blendshapes'.*It has: au, bbox"):
        opened.read(opened.clips[0], "blendshapes")


def test_store_survives_pickling_with_open_files(store):
    root, written = store
    with Store(root) as opened:
        opened.read_crops(opened.clips[0])
        copy = pickle.loads(pickle.dumps(opened))
        np.testing.assert_array_equal(copy.read_crops(copy.clips[1]), written["T2"]["frames"])
        copy.close()


def test_find_damage_passes_a_sound_store_and_finds_a_changed_one(store):
    root, _ = store
    path = root / "subjects" / "s.h5"
    assert list(find_damage(root)) == [FileReport(path, {})]
    with h5py.File(path, "r+") as file:
        file["clips/T2/landmarks"][5] = np.nan
    (report,) = find_damage(root)
    assert list(report.damage) == ["T2"] and "but landmarks changed" in report.damage["T2"]
    with h5py.File(path, "r+") as file:
        del file["clips/T1/pose"]
    (report,) = find_damage(root)
    assert list(report.damage) == ["T1", "T2"] and "but pose changed" in report.damage["T1"]


def test_find_damage_checks_the_values_of_a_clip_without_checksums(store):
    root, _ = store
    path = root / "subjects" / "s.h5"
    with h5py.File(path, "r+") as file:
        del file.attrs["checksum"]
        for group in file["clips"].values():
            del group.attrs["checksums"]
    assert list(find_damage(root)) == [FileReport(path, {}, n_unsealed=2)]
    with h5py.File(path, "r+") as file:
        file["clips/T2/landmarks"][5] = np.nan
        del file["clips/T1/pose"]
    (report,) = find_damage(root)
    assert "row 5" in report.damage["T2"] and "Missing dataset 'pose'" in report.damage["T1"]


def test_read_clip_infos_lists_names_and_settings(store):
    root, _ = store
    infos = read_clip_infos(root / "subjects" / "s.h5")
    assert [info.clip for info in infos] == ["T1", "T2"]
    assert infos[0].root.align.size == SIZE


def test_damaged_files_are_store_errors_whatever_the_damage(store):
    root, _ = store
    path = root / "subjects" / "s.h5"
    sound, rng = path.read_bytes(), np.random.default_rng(0)
    found = 0
    for _ in range(40):
        data = bytearray(sound)
        for place in rng.integers(0, len(data), 30):
            data[place] = rng.integers(256)
        path.write_bytes(data if rng.random() < 0.7 else data[: rng.integers(1, len(data))])
        found += sum(bool(report.damage) for report in find_damage(root))  # raises nothing else
    assert found > 20


def test_find_damage_refuses_a_folder_that_is_no_store(tmp_path):
    with pytest.raises(StoreError, match="found none in"):
        list(find_damage(tmp_path))


def test_crops_of_frames_without_a_face_take_no_room(tmp_path):
    align, path = AlignConfig(size=64, codec="none"), tmp_path / "s.h5"
    layout = ClipLayout(align, 68)
    with write_part(path, root_attrs("folder", "s", DetectConfig(), align, "0")) as part:
        writer = part.add_clip("T1", layout)
        block = make_block(64)
        block["frames"] = np.zeros((64, 64, 64, 3), np.uint8)
        for _ in range(4):
            writer.append(block)
    assert path.stat().st_size < 64 * 64 * 64 * 3
    with h5py.File(path) as file:
        frames = file["clips/T1/frames"]
        assert frames.shape == (256, 64, 64, 3) and not frames[100:140].any()


@pytest.mark.parametrize("codec", ["zstd", "lz4", "gzip", "none", "jpeg"])
def test_read_crops_at_reads_any_rows_in_any_order(tmp_path, codec):
    write_one_clip(tmp_path / "subjects" / "s.h5", codec=codec)
    with Store(tmp_path) as store:
        (info,) = store.clips
        every = store.read_crops(info)
        for rows in ([0], [1, 40], [9, 8, 7, 33], list(range(41)), [7, 8]):
            np.testing.assert_array_equal(store.read_crops_at(info, np.array(rows)), every[rows])
            out = np.full((len(rows), SIZE, SIZE, 3), 9, np.uint8)
            assert store.read_crops_at(info, np.array(rows), out) is out
            np.testing.assert_array_equal(out, every[rows])


def test_read_crops_at_gives_zeros_for_chunks_that_were_never_written(tmp_path):
    align, path = AlignConfig(size=SIZE), tmp_path / "subjects" / "s.h5"
    with write_part(path, root_attrs("folder", "s", DetectConfig(), align, "0")) as part:
        writer = part.add_clip("T1", ClipLayout(align, 68))
        writer.append(make_block(8) | {"frames": np.zeros((8, SIZE, SIZE, 3), np.uint8)})
        writer.finish(RECORDING)
    with Store(tmp_path) as store:
        out = np.full((2, SIZE, SIZE, 3), 9, np.uint8)
        assert not store.read_crops_at(store.clips[0], np.array([2, 5]), out).any()


def test_read_crops_at_reads_filters_that_it_cannot_decode_itself_through_hdf5(store):
    root, written = store
    with h5py.File(root / "subjects" / "s.h5", "r+") as file:
        frames = file["clips/T1/frames"][:]
        del file["clips/T1/frames"]
        file["clips/T1"].create_dataset(
            "frames", data=frames, chunks=(8, SIZE, SIZE, 3), shuffle=True, **hdf5plugin.Zstd()
        )
    with Store(root) as opened:
        rows = np.array([30, 2, 3])
        np.testing.assert_array_equal(opened.read_crops_at(opened.clips[0], rows), written["T1"]["frames"][rows])


@pytest.mark.parametrize("rows", [[41], [-1], [3, 3]])
def test_read_crops_at_refuses_rows_that_are_not_there_or_come_twice(store, rows):
    with Store(store[0]) as opened, pytest.raises(StoreError, match="Expected rows 0 to 40 of clip s/T1, each once"):
        opened.read_crops_at(opened.clips[0], np.array(rows))


@pytest.mark.parametrize("codec", ["zstd", "lz4", "none"])
def test_read_crops_at_of_a_damaged_file_is_a_store_error_that_names_it(tmp_path, codec):
    path = tmp_path / "subjects" / "s.h5"
    write_one_clip(path, codec=codec)
    with h5py.File(path) as file:
        stored = file["clips/T1/frames"].id.get_chunk_info_by_coord((32, 0, 0, 0))
    with Store(tmp_path) as store:
        store.read_crops_at(store.clips[0], np.array([0]))  # opens the file, which is then damaged
        with path.open("r+b") as file:
            if codec == "none":
                file.truncate(stored.byte_offset + 10)
            else:
                file.seek(stored.byte_offset)
                file.write(b"\xff" * stored.size)
        with pytest.raises(StoreError, match=f"Cannot read {path} clip T1 as HDF5 of a store: "):
            store.read_crops_at(store.clips[0], np.array([35]))


def test_many_subjects_are_read_with_few_open_files(tmp_path, make_store):
    root = make_store(tmp_path / "store", n_subjects=30, n_clips=2, n_frames=8, size=16)
    next_file = os.open(os.devnull, os.O_RDONLY)
    os.close(next_file)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Store(root) as store:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (next_file + 20, before[1]))
            for _ in range(2):
                for info in store.clips:
                    assert store.read_crops_at(info, np.array([3])).any()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_columns_come_in_the_order_of_the_names_and_are_unknown_where_there_are_no_labels(tmp_path, make_store):
    with Store(make_store(tmp_path / "labelled", n_subjects=1, n_frames=12)) as store:
        info = store.clips[0]
        labels = store.read(info, "au", 2, 9)
        read = store.read_columns(info, "au", ["AU12", "AU99", "AU01"], 2, 9)
        assert store.names(info, "au") == ["AU01", "AU12"] and read.dtype == np.int8
        np.testing.assert_array_equal(read, np.stack([labels[:, 1], np.full(7, -1), labels[:, 0]], axis=1))
    with Store(make_store(tmp_path / "bare", n_subjects=1, n_frames=12, au_names=())) as store:
        info = store.clips[0]
        np.testing.assert_array_equal(store.read_columns(info, "au", ["AU01"], 10, 20), [[-1], [-1]])
        intensity = store.read_columns(info, "au_intensity", ["AU01"])
        assert intensity.shape == (12, 1) and intensity.dtype == np.float32 and np.isnan(intensity).all()
