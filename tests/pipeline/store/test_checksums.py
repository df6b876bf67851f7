"""Checksums: whichever byte of a store file changes, it is told, or nothing that is read has changed."""

import cv2
import h5py
import numpy as np
import pyarrow as pa
import pytest

from tclr.pipeline.preprocessing import assemble_task
from tclr.pipeline.preprocessing.run import _tidy
from tclr.pipeline.store import WHOLE_FILE, DamageRecord, assemble_subject, checksums, find_changes, find_damage
from tclr.pipeline.store.checksums import seal_clip, seal_root
from tclr.pipeline.store.infos import read_clip_infos
from tclr.pipeline.store.summary import _run_state
from tclr.pipeline.system import set_aside, write_table
from tclr.schemas.errors import DamagedClipsError

N_FLIPS = 100


def everything(path):
    """All that can be read of a file: arrays and attributes, as text."""
    found = {}

    def add(name, node):
        values = {key: np.asarray(value).tolist() for key, value in node.attrs.items()}
        if isinstance(node, h5py.Dataset):
            values["="] = [bytes(v) for v in node[:]] if h5py.check_vlen_dtype(node.dtype) else node[:].tobytes()
        found[name] = repr(values)

    with h5py.File(path) as file:
        add("/", file)
        file.visititems(add)
    return found


@pytest.fixture
def file(tmp_path, make_store):
    """A subject file with two clips, and variable-length values of both kinds."""
    path = make_store(tmp_path, n_subjects=1, n_clips=2, n_frames=9, size=16) / "subjects" / "F001.h5"
    with h5py.File(path, "r+") as opened:
        group = opened["clips/T1"]
        crops = group["frames"][:]
        del group["frames"]
        dtype = h5py.vlen_dtype(np.uint8)
        jpeg = group.create_dataset("frames_jpeg", (len(crops),), dtype, chunks=(256,), maxshape=(None,))
        for row, crop in enumerate(crops):
            jpeg[row] = cv2.imencode(".jpg", crop)[1].ravel()
        names = [f"picture{row}.jpg" for row in range(len(crops))]
        group.create_dataset("source_name", data=names, dtype=h5py.string_dtype(), chunks=(256,), maxshape=(None,))
        seal_clip(group)
        seal_root(opened)
    assert [report.damage for report in find_damage(tmp_path)] == [{}]
    return path


def test_any_flipped_byte_is_found_or_changes_nothing_that_is_read(file):
    before, sound = everything(file), file.read_bytes()
    rng = np.random.default_rng(0)
    n_found = 0
    for place in rng.choice(len(sound), N_FLIPS, replace=False):
        data = bytearray(sound)
        data[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(data)
        (report,) = find_damage(file.parents[1])
        if report.damage:
            n_found += 1
        else:
            assert everything(file) == before, f"byte {place} of {len(sound)}"
    assert n_found > 0.2 * N_FLIPS  # the rest of this small file is empty chunks' and heaps' unused room


@pytest.mark.parametrize("name", ["frames", "landmarks", "au", "frames_jpeg", "source_name"])
def test_a_flip_in_the_bytes_of_a_dataset_names_its_clip(file, name):
    with h5py.File(file) as opened:
        clip = "T1" if name in opened["clips/T1"] else "T2"
        dataset = opened[f"clips/{clip}/{name}"]
        if h5py.check_vlen_dtype(dataset.dtype):
            place = file.read_bytes().index(bytes(dataset[3]))
        else:
            stored = dataset.id.get_chunk_info_by_coord((0,) * dataset.ndim)
            place = stored.byte_offset + (stored.size // 2 if name in ("frames", "landmarks") else 5)
    data = bytearray(file.read_bytes())
    data[place] ^= 4
    file.write_bytes(data)
    (report,) = find_damage(file.parents[1])
    assert list(report.damage) == [clip] and name in report.damage[clip] and f"clip {clip}" in report.damage[clip]
    assert find_changes(file, ["T1", "T2", WHOLE_FILE], frames=False).keys() == (
        set() if name.startswith("frames") else {clip}
    )


def test_changed_attributes_of_file_and_clip_and_a_lost_clip_are_found(file):
    sound = file.read_bytes()
    for clip, change in (
        (WHOLE_FILE, lambda opened: opened.attrs.modify("tclr_version", "9")),
        (WHOLE_FILE, lambda opened: opened["clips"].move("T2", "T3")),
        ("T2", lambda opened: opened["clips/T2"].attrs.modify("fps", 24.0)),
        ("T2", lambda opened: opened["clips/T2/au"].attrs.modify("names", ["AU12", "AU01"])),
    ):
        file.write_bytes(sound)
        with h5py.File(file, "r+") as opened:
            change(opened)
        (report,) = find_damage(file.parents[1])
        assert list(report.damage) == [clip]


def test_assembling_keeps_checksums_and_gives_them_to_clips_without(file, tmp_path):
    with h5py.File(file, "r+") as opened:
        before = opened["clips/T1"].attrs["checksums"]
        expected = opened["clips/T2"].attrs["checksums"]
        del opened["clips/T2"].attrs["checksums"]
    root = read_clip_infos(file)[0].root
    target = tmp_path / "other" / "subjects" / "F001.h5"
    assemble_subject(target, {"T1": (file,), "T2": (file,)}, root)
    with h5py.File(target) as opened:
        assert opened["clips/T1"].attrs["checksums"] == before
        assert opened["clips/T2"].attrs["checksums"] == expected
    assert [report.damage for report in find_damage(target.parents[1])] == [{}]


def test_assembling_sums_what_it_copies_and_names_all_damaged_clips(file, tmp_path, monkeypatch):
    summed, real = [], checksums._part_sha256
    monkeypatch.setattr(checksums, "_part_sha256", lambda group, part: summed.append(part) or real(group, part))
    root, target, sources = read_clip_infos(file)[0].root, tmp_path / "joined.h5", {"T1": (file,), "T2": (file,)}
    assert assemble_subject(target, sources, root) == {} and everything(target).keys() == everything(file).keys()
    assert summed == ["attributes", "attributes"]  # no dataset is read again
    with h5py.File(file, "r+") as opened:
        opened["clips/T1/landmarks"][3] = 7
        opened["clips/T2"].attrs.modify("fps", 24.0)
    with pytest.raises(DamagedClipsError) as told:
        assemble_subject(target, sources, root)
    assert "landmarks changed" in told.value.clips["T1"] and "attributes changed" in told.value.clips["T2"]
    assert assemble_subject(target, sources, root, accepted=("T1", "T2")) == {}
    assert find_changes(target, ["T1", "T2", WHOLE_FILE]).keys() == {"T1", "T2"}


def test_one_clip_with_a_broken_header_leaves_the_others_sound(file):
    with h5py.File(file) as opened:
        place = h5py.h5o.get_info(opened["clips/T1"].id).addr
    data = bytearray(file.read_bytes())
    data[place + 8] ^= 255
    file.write_bytes(data)
    (report,) = find_damage(file.parents[1])
    assert list(report.damage) == ["T1"] and "clip T1" in report.damage["T1"]


def test_every_flip_in_a_table_of_free_space_is_found(file):
    """Only a copy or a visit of all objects reads these tables."""
    sound = file.read_bytes()
    places = [place for place in range(len(sound)) if sound.startswith(b"FSHD", place)]
    assert places
    for place in places:
        file.write_bytes(sound[: place + 12] + bytes([sound[place + 12] ^ 1]) + sound[place + 13 :])
        (report,) = find_damage(file.parents[1])
        assert len(report.damage) == 1, place


def test_a_lost_subject_file_is_reported(file):
    rows = [
        {"subject": subject, "clip": "T1", "state": state}
        for subject, state in (("F001", "done"), ("F002", "done"), ("F003", "failed"))
    ]
    write_table(file.parents[1] / "manifest.parquet", pa.Table.from_pylist(rows), {})
    sound, lost = find_damage(file.parents[1])
    assert sound.damage == {} and lost.path.name == "F002.h5" and "missing" in lost.damage[WHOLE_FILE]


def test_a_clip_that_cannot_be_copied_is_left_out_if_it_was_accepted(file, monkeypatch):
    attrs = read_clip_infos(file)[0].root
    with h5py.File(file) as opened:
        place = h5py.h5o.get_info(opened["clips/T1/landmarks"].id).addr
    data = bytearray(file.read_bytes())
    data[place + 12] ^= 1
    file.write_bytes(data)
    root = file.parents[1]
    monkeypatch.setattr("tclr.pipeline.preprocessing.tasks.check_run", lambda store, run: None)
    sources = {"T1": (file,), "T2": (file,)}
    with pytest.raises(DamagedClipsError, match="Cannot read .* clip T1") as told:
        assemble_subject(file, sources, attrs)
    assert list(told.value.clips) == ["T1"] and file.read_bytes() == data
    outcome = assemble_task(file, sources, attrs, {"T1"}, root, "run")
    assert list(outcome.lost) == ["T1"] and not outcome.reason
    assert [info.clip for info in read_clip_infos(file)] == ["T2"]
    assert (root / "old" / "F001.h5").read_bytes() == data


def test_damage_outside_the_source_is_told_and_what_was_noted_meanwhile_stays(file):
    root = file.parents[1]
    with h5py.File(file, "r+") as opened:
        opened["clips/T1"].attrs.modify("fps", 24.0)
        opened["clips/T2"].attrs.modify("fps", 24.0)
    DamageRecord(root).write({"F001": ["T2", "gone"]})
    left = _tidy(root, {"F001": ["T1"]})
    assert list(left) == ["F001/T1", "F001/T2"] and "attributes changed" in left["F001/T1"]
    assert DamageRecord(root).read() == {"F001": ["T1", "T2"]}


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_malformed_record_of_the_run_is_unknown(file, text):
    (file.parents[1] / "run.json").write_text(text)
    assert _run_state(file.parents[1]) == "unknown"


def test_files_set_aside_never_replace_each_other(tmp_path):
    for number in range(3):
        (tmp_path / "a.h5").unlink(missing_ok=True)
        (tmp_path / "a.h5").write_text(str(number))
        set_aside(tmp_path / "a.h5", tmp_path / "old")
    kept = {path.name: path.read_text() for path in (tmp_path / "old").iterdir()}
    assert kept == {"a.h5": "0", "a~1.h5": "1", "a~2.h5": "2"}


def test_damage_record_keeps_what_was_found_until_there_is_none(tmp_path):
    record = DamageRecord(tmp_path)
    assert record.read() == {}
    record.write({"anna": ["one"]})
    assert DamageRecord(tmp_path).read() == {"anna": ["one"]}
    (tmp_path / "damage.json").write_text("{")
    assert record.read() == {}
    record.write({})
    assert list(tmp_path.iterdir()) == []
