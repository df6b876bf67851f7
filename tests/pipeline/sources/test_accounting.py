"""Every file of a source is a clip's or is counted, with the reason."""

import os

import numpy as np
import pytest
from PIL import Image

from tclr.pipeline.sources import count_passed_over, describe_passed_over, describe_sequences, find_clips


def touch(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_picture(path, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).save(path)
    return path


def count(source, own=None, **options):
    groups = count_passed_over(source, find_clips(source, **options), own)
    return {name: group.n_files for name, group in groups.items()}


def test_what_is_taken_is_not_counted(tmp_path):
    touch(tmp_path / "anna" / "smile.mp4")
    write_picture(tmp_path / "ben.png")
    for number in range(3):
        write_picture(tmp_path / "cleo" / "frown" / f"{number}.jpg")
    touch(tmp_path / "labels" / "anna_smile.csv", "frame,AU01_c\n0,1\n")
    assert count(tmp_path) == {}


def test_files_are_counted_by_suffix_and_reason(tmp_path):
    touch(tmp_path / "anna" / "smile.mp4")
    for name in ("a.txt", "b.TXT", "notes", ".DS_Store", "._smile.mp4", "Thumbs.db", "anna/talk.wav"):
        touch(tmp_path / name)
    for name in ("anna/@eaDir/smile.mp4/thumb.jpg", "@eaDir/x.jpg", ".cache/y.png", "__MACOSX/._z.mp4"):
        touch(tmp_path / name)
    touch(tmp_path / "labels" / "anna_smiel.csv")
    (tmp_path / "anna" / "gone.mp4").symlink_to("nowhere.mp4")
    os.mkfifo(tmp_path / "anna" / "pipe.mp4")
    assert [clip.name for clip in find_clips(tmp_path)] == ["anna/smile"]
    assert count(tmp_path) == {
        "hidden or system files": 3, ".txt": 2, "in @eaDir": 2, ".csv in labels/": 1, ".wav": 1, "in __MACOSX": 1,
        "in hidden folders": 1, "link to nothing": 1, "no regular file": 1, "without a suffix": 1,
    }  # fmt: skip


def test_pictures_beside_a_sequence_are_counted_and_its_lost_frames_are_not(tmp_path):
    for number in range(4):
        write_picture(tmp_path / "anna" / "seq" / f"{number}.jpg")
    (tmp_path / "anna" / "seq" / "4.jpg").symlink_to("nowhere.jpg")
    write_picture(tmp_path / "anna" / "seq" / "cover.png")
    assert count(tmp_path) == {".png beside an image sequence": 1}


def test_what_clips_csv_does_not_list_is_counted(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        touch(tmp_path / name)
    touch(tmp_path / "clips.csv", "path,subject,clip\na.mp4,anna,rest\n")
    assert count(tmp_path) == {".mp4 not in clips.csv": 1}


def test_what_a_datasets_layout_leaves_out_is_counted(tmp_path):
    touch(tmp_path / "id00012" / "21Uxsk56VDQ" / "00001.mp4")
    touch(tmp_path / "id00012" / "extra.mp4")
    assert count(tmp_path) == {".mp4 outside the layout": 1}


def test_what_synth_notes_beside_its_clips_is_not_counted(tmp_path):
    for name in ("a.mp4", "synth.json", "anna/synth.json"):
        touch(tmp_path / name)
    assert count(tmp_path) == {".json": 1}  # that of the source alone


def test_the_store_in_the_source_is_not_counted(tmp_path):
    touch(tmp_path / "a.mp4")
    touch(tmp_path / "store" / "subjects" / "a.h5")
    assert count(tmp_path, own=tmp_path / "store") == {}
    assert count(tmp_path) == {".h5": 1}


def test_a_single_file_has_no_others(tmp_path):
    touch(tmp_path / "b.txt")
    assert count(touch(tmp_path / "a.mp4")) == {}


def test_the_line_names_what_somebody_may_miss(tmp_path):
    touch(tmp_path / "a.mp4")
    for name in ("notes.txt", "c.txt"):
        touch(tmp_path / name)
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    line = describe_passed_over(count_passed_over(tmp_path, find_clips(tmp_path)))
    assert line == "3 files passed over: 2 .txt, 1 link to nothing (gone.mp4)"
    assert describe_passed_over({}) == ""


def test_the_line_stays_short_among_many_suffixes(tmp_path):
    touch(tmp_path / "a.mp4")
    for number in range(30):
        touch(tmp_path / f"run.2024-{number}")
    line = describe_passed_over(count_passed_over(tmp_path, find_clips(tmp_path)))
    assert line.startswith("30 files passed over: 1 .2024-0, ") and line.endswith(", 22 others")


@pytest.mark.parametrize(
    ("n_folders", "start"), [(1, "1 folder is read as an image sequence at 12.5 "), (2, "2 folders are")]
)
def test_sequences_are_said(tmp_path, n_folders, start):
    touch(tmp_path / "anna" / "smile.mp4")
    for folder in range(n_folders):
        for number in range(3):
            write_picture(tmp_path / "anna" / f"seq{folder}" / f"{number}.jpg")
    assert describe_sequences(find_clips(tmp_path), 12.5).startswith(start)
    assert describe_sequences(find_clips(tmp_path, stills=True), 12.5) == ""
