"""What is damaged is found, and that alone is made again; what changes while it is read is told."""

import os
import shutil

import cv2
import h5py
import numpy as np
import pytest

from tclr.pipeline.preprocessing import assemble_task, extract_clip, plan_subject, preprocess, subject_path, survey_clip
from tclr.pipeline.sources import find_clips
from tclr.pipeline.store import DamageRecord, Store, assemble_subject, find_changes, find_damage, root_attrs
from tclr.pipeline.store.infos import read_clip_infos
from tclr.schemas.config import AlignConfig, PreprocessConfig
from tclr.schemas.errors import InputError, OutputError

SMALL = PreprocessConfig(align=AlignConfig(size=48))


@pytest.fixture(scope="module")
def made(tmp_path_factory, moving_portrait, write_video):
    """A source of one subject with three short clips, and its store."""
    root = tmp_path_factory.mktemp("made")
    images = moving_portrait(14)
    for number, clip in enumerate(("one", "three", "two")):
        write_video(root / "in" / "anna" / f"{clip}.mp4", images[number : number + 10])
    preprocess(root / "in", root / "store", SMALL, workers=1)
    return root / "in", root / "store"


@pytest.fixture
def store(made, tmp_path):
    shutil.copytree(made[1], tmp_path / "store")
    return tmp_path / "store"


def flip(path, clip, name):
    """Flip a bit of the first chunk of a dataset, as it lies on the disk."""
    with h5py.File(path) as file:
        dataset = file[f"clips/{clip}/{name}"]
        stored = dataset.id.get_chunk_info_by_coord((0,) * dataset.ndim)
    data = bytearray(path.read_bytes())
    data[stored.byte_offset + 7] ^= 8
    path.write_bytes(data)


def contents(root):
    with Store(root) as store:
        return {
            (info.clip, name): store.read(info, name).tobytes() for info in store.clips for name in store.fields(info)
        }


def note_damage(root):
    damaged = {report.path.stem: list(report.damage) for report in find_damage(root) if report.damage}
    DamageRecord(root).write(damaged)
    return damaged


@pytest.mark.parametrize("name", ["frames", "landmarks", "timestamp"])
def test_damaged_clip_that_was_found_is_made_again_and_no_other(made, store, name):
    flip(store / "subjects" / "anna.h5", "two", name)
    assert note_damage(store) == {"anna": ["two"]}
    result = preprocess(made[0], store, SMALL, workers=1)
    assert (result.n_skipped, result.n_frames, result.failures) == (2, 10, ())
    assert contents(store) == contents(made[1]) and note_damage(store) == {}
    assert not (store / "damage.json").exists()


def test_damage_that_shows_when_a_subject_is_joined_is_repaired_on_the_way(
    made, store, tmp_path, moving_portrait, write_video
):
    shutil.copytree(made[0], tmp_path / "in")
    write_video(tmp_path / "in" / "anna" / "new.mp4", moving_portrait(6))
    flip(store / "subjects" / "anna.h5", "two", "frames")
    result = preprocess(tmp_path / "in", store, SMALL, workers=1)
    assert result.failures == () and result.n_frames == 16 and note_damage(store) == {}
    found = contents(store)
    assert {key: found[key] for key in contents(made[1])} == contents(made[1])


def test_damaged_clip_whose_source_is_gone_stays_and_is_told(made, store, tmp_path):
    shutil.copytree(made[0], tmp_path / "in")
    (tmp_path / "in" / "anna" / "two.mp4").write_text("no video")
    path = store / "subjects" / "anna.h5"
    flip(path, "two", "frames")
    before = path.read_bytes()
    note_damage(store)
    result = preprocess(tmp_path / "in", store, SMALL, workers=1)
    assert [failure.name for failure in result.failures] == ["anna/two"]
    assert path.read_bytes() == before and DamageRecord(store).read() == {"anna": ["two"]}


def test_recorded_damage_that_is_no_longer_there_is_not_done_again(made, store):
    DamageRecord(store).write({"anna": ["two", ""]})
    infos = read_clip_infos(store / "subjects" / "anna.h5")
    plan = plan_subject(store, "anna", find_clips(made[0]), infos, SMALL, DamageRecord(store).read()["anna"])
    assert not plan.todo and not plan.has_new


def test_damaged_attributes_of_a_file_are_written_again_without_its_clips(made, store):
    with h5py.File(store / "subjects" / "anna.h5", "r+") as file:
        file.attrs["tclr_version"] = "9.9"
    assert note_damage(store) == {"anna": [""]}
    result = preprocess(made[0], store, SMALL, workers=1)
    assert result.n_frames == 0 and note_damage(store) == {} and contents(store) == contents(made[1])


def test_damaged_part_is_deleted_and_named_before_it_is_joined(made, store, tmp_path):
    part = tmp_path / "parts" / "one.h5"
    attrs = root_attrs("folder", "anna", SMALL.detect, SMALL.align, "0")
    assemble_subject(part, {"one": (store / "subjects" / "anna.h5",)}, attrs)
    flip(part, "one", "frames")
    target = subject_path(tmp_path / "new", "anna")
    outcome = assemble_task(target, {"one": (part,)}, attrs, set(), tmp_path / "new", "run")
    assert list(outcome.damaged) == ["one"] and "frames changed" in outcome.damaged["one"]
    assert not part.exists() and not target.exists()


def test_subject_is_not_replaced_by_a_worker_whose_run_is_over(made, store, tmp_path):
    path = store / "subjects" / "anna.h5"
    before = path.read_bytes()
    attrs = root_attrs("folder", "anna", SMALL.detect, SMALL.align, "0")
    outcome = assemble_task(path, {"one": (path,)}, attrs, set(), store, "a former run")
    assert outcome.fatal and "has started since" in outcome.reason and path.read_bytes() == before


def test_landmarks_of_a_damaged_clip_are_not_aligned_again(made, store):
    path = store / "subjects" / "anna.h5"
    flip(path, "two", "landmarks")
    assert list(find_changes(path, ["one", "two"], frames=False)) == ["two"]
    result = preprocess(made[0], store, PreprocessConfig(align=AlignConfig(size=64)), workers=1)
    assert result.failures == () and note_damage(store) == {}
    with Store(made[1]) as sound, Store(store) as again:
        (info,) = [info for info in again.clips if info.clip == "two"]
        np.testing.assert_array_equal(again.read(info, "landmarks"), sound.read(info, "landmarks"))


def test_source_that_changes_while_it_is_read_is_told(tmp_path):
    folder = tmp_path / "in" / "anna" / "seq"
    folder.mkdir(parents=True)
    for number in range(70):
        cv2.imwrite(str(folder / f"{number:03d}.png"), np.full((64, 64, 3), number, np.uint8))
    (clip,) = find_clips(tmp_path / "in")

    def touch(n_frames, n_expected):
        os.utime(folder / "001.png", (1, 1))

    with pytest.raises(InputError, match="seq changed while it was read. Run the same command again"):
        extract_clip(survey_clip(clip, PreprocessConfig(align=AlignConfig(size=32))), tmp_path / "p.h5", report=touch)
    assert not (tmp_path / "p.h5").exists()


def test_every_clip_says_which_source_settings_code_and_model_made_it(made):
    from tclr.pipeline.store import summarise_store

    with Store(made[1]) as store:
        clips = {info.clip: info for info in store.clips}
    for row in summarise_store(made[1])["clips"]:
        info = clips[row["clip"]]
        clip = next(clip for clip in find_clips(made[0]) if clip.clip == row["clip"])
        assert row["source"] == f"anna/{row['clip']}.mp4" and row["source_sha256"] == clip.sha256()
        assert row["detector"] == "landmarker" and row["tclr_version"] == info.root.tclr_version
        assert (row["detect_hash"], row["align_hash"]) == (SMALL.detect.digest(), SMALL.align.digest())


def test_store_held_by_another_run_is_refused(made, store):
    from tclr.pipeline.system import lock_folder

    with lock_folder(store), pytest.raises(OutputError, match="Expected no other run on"):
        preprocess(made[0], store, SMALL, workers=1)


def test_subject_whose_file_cannot_be_read_keeps_it_and_its_other_clips_are_told_lost(made, store, tmp_path):
    shutil.copytree(made[0], tmp_path / "in")
    (tmp_path / "in" / "anna" / "two.mp4").unlink()
    path = store / "subjects" / "anna.h5"
    data = bytearray(path.read_bytes())
    data[data.index(b"tclr-store") + 1] ^= 1
    path.write_bytes(data)
    result = preprocess(tmp_path / "in", store, SMALL, workers=1)
    assert [failure.name for failure in result.failures] == ["anna/two"]
    assert "old/" in result.failures[0].reason
    assert (store / "old" / "anna.h5").read_bytes() == data and note_damage(store) == {}
    assert {clip for clip, _ in contents(store)} == {"one", "three"}
