import os

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tclr.pipeline.sources import Labels, find_clips, is_animated
from tclr.pipeline.sources.bp4d import read_occurrence
from tclr.pipeline.sources.listing import safe_name
from tclr.schemas.errors import InputError, SettingError


def write_images(folder, numbers, width=4):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(folder / f"{number:0{width}d}.jpg"), np.zeros((8, 8, 3), np.uint8))


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def keys(clips):
    return [clip.name for clip in clips]


def test_find_folder_reads_every_layout(tmp_path):
    touch(tmp_path / "anna" / "smile.mp4")
    write_images(tmp_path / "anna" / "frown", [3, 4, 7])
    touch(tmp_path / "ben.mov")
    touch(tmp_path / "portrait.png")
    touch(tmp_path / "cleo" / "day1" / "talk.avi")
    touch(tmp_path / "notes.txt")
    assert keys(find_clips(tmp_path)) == [
        "anna/frown", "anna/smile", "ben/ben", "cleo/day1_talk", "portrait/portrait",
    ]  # fmt: skip


def test_find_folder_keeps_apart_files_that_share_a_stem(tmp_path):
    touch(tmp_path / "a.mp4")
    touch(tmp_path / "a.jpg")
    assert keys(find_clips(tmp_path)) == ["a.jpg/a.jpg", "a.mp4/a.mp4"]


def test_find_folder_takes_numbered_images_as_one_sequence(tmp_path):
    write_images(tmp_path / "take", [1, 2, 3])
    (clip,) = find_clips(tmp_path / "take")
    assert clip.name == "take/take" and len(clip.files()) == 3


def test_find_folder_follows_links_once_and_passes_over_hidden_folders(tmp_path):
    write_images(tmp_path / "data" / "anna" / "seq1", [1, 2])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "anna").symlink_to(tmp_path / "data" / "anna")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    touch(tmp_path / "in" / ".thumbs" / "x.png")
    assert keys(find_clips(tmp_path / "in")) == ["anna/seq1"]


def test_find_folder_keeps_a_sequence_whole_beside_a_stray_picture(tmp_path):
    write_images(tmp_path / "anna" / "seq", [0, 1, 2, 3])
    touch(tmp_path / "anna" / "seq" / "cover.png")
    (clip,) = find_clips(tmp_path)
    assert clip.name == "anna/seq" and len(clip.files()) == 4


def write_sizes(folder, sizes, *, turned=()):
    folder.mkdir(parents=True)
    for number, (width, height) in enumerate(sizes):
        exif = Image.Exif()
        exif[0x0112] = 6 if number in turned else 1
        Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(folder / f"IMG_{number:04d}.jpg", exif=exif)


def test_numbered_photographs_of_differing_sizes_are_stills(tmp_path):
    write_sizes(tmp_path / "in" / "anna" / "day1", [(8, 6), (8, 6), (6, 8)])
    assert keys(find_clips(tmp_path / "in")) == [f"anna/day1_IMG_000{number}" for number in range(3)]
    write_sizes(tmp_path / "turned", [(8, 6), (8, 6), (8, 6)], turned=[1])
    assert len(find_clips(tmp_path / "turned")) == 3
    write_sizes(tmp_path / "alike", [(6, 8), (6, 8), (6, 8)], turned=[0, 1, 2])
    assert keys(find_clips(tmp_path / "alike")) == ["alike/alike"]


def test_a_size_that_changes_late_is_seen_by_few_headers(tmp_path, monkeypatch):
    from tclr.pipeline.sources import folder

    write_sizes(tmp_path / "in", [(8, 6)] * 150 + [(9, 6)] * 50)
    asked = []
    read = folder.read_image_header
    monkeypatch.setattr(folder, "read_image_header", lambda path: asked.append(path) or read(path))
    assert len(find_clips(tmp_path / "in")) == 200 and len(asked) <= 17


def test_stills_are_never_joined(tmp_path):
    write_images(tmp_path / "anna" / "seq", [1, 2, 3])
    assert keys(find_clips(tmp_path)) == ["anna/seq"]
    assert keys(find_clips(tmp_path, stills=True)) == [f"anna/seq_000{number}" for number in (1, 2, 3)]
    (tmp_path / "clips.csv").write_text("path,subject,clip\nanna/seq,anna,faces\n")
    assert find_clips(tmp_path)[0].stills == ()
    assert [path.name for path in find_clips(tmp_path, stills=True)[0].stills] == ["0001.jpg", "0002.jpg", "0003.jpg"]


def test_stills_do_not_go_with_a_layout_of_sequences(tmp_path):
    write_images(tmp_path / "F001" / "T1", [1, 2])
    (tmp_path / "AUCoding").mkdir()
    with pytest.raises(SettingError, match="--dataset folder only, but .* is read as bp4d"):
        find_clips(tmp_path, stills=True)
    assert keys(find_clips(tmp_path, "folder", stills=True)) == ["F001/T1_0001", "F001/T1_0002"]


def write_animation(path, n_frames=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = (Image.new("RGB", (8, 8), (60 * number, 90, 0)) for number in range(n_frames))
    first.save(path, save_all=True, append_images=others, duration=40)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif"])
def test_numbered_animations_are_clips_of_their_own(tmp_path, suffix):
    for number in range(3):
        write_animation(tmp_path / "anna" / f"{number}{suffix}")
    assert len(find_clips(tmp_path)) == 3
    assert is_animated(tmp_path / "anna" / f"0{suffix}")
    write_animation(tmp_path / f"still{suffix}", n_frames=1)
    assert not is_animated(tmp_path / f"still{suffix}")


def test_an_animation_beside_a_sequence_is_a_clip(tmp_path):
    write_images(tmp_path / "anna" / "seq", [0, 1, 2, 3])
    write_animation(tmp_path / "anna" / "seq" / "smile.gif")
    assert keys(find_clips(tmp_path)) == ["anna/seq", "anna/seq_smile"]


def test_a_video_without_a_suffix_is_known_by_its_first_bytes(tmp_path, write_video):
    write_video(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8)]).rename(tmp_path / "upload")
    (tmp_path / "README").write_text("no video")
    assert keys(find_clips(tmp_path)) == ["upload/upload"] == keys(find_clips(tmp_path / "upload"))


def test_safe_name_cuts_long_names_and_keeps_them_apart():
    first, second = (safe_name("x" * 400 + end) for end in "ab")
    assert len(first) == len(second) == 100 and first != second


def test_fingerprint_and_sha256_know_the_span(tmp_path):
    touch(tmp_path / "v.mp4")
    digests = set()
    for span in ("0,1", "1,2", ","):
        (tmp_path / "clips.csv").write_text(f"path,subject,clip,start_s,end_s\nv.mp4,a,x,{span}\n")
        (clip,) = find_clips(tmp_path)
        digests |= {clip.fingerprint(), clip.sha256()}
    assert len(digests) == 6


def test_a_table_in_another_encoding_is_one_clear_error(tmp_path):
    touch(tmp_path / "v.mp4")
    (tmp_path / "clips.csv").write_bytes("path,subject,clip\nv.mp4,Zoë,x\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        find_clips(tmp_path)


def test_find_clips_takes_a_single_video(tmp_path):
    touch(tmp_path / "one.mp4")
    touch(tmp_path / "two.mp4")
    (clip,) = find_clips(tmp_path / "two.mp4")
    assert clip.name == "two/two" and clip.source == "two.mp4"


def test_find_clips_explains_a_missing_an_empty_and_a_wrong_source(tmp_path):
    with pytest.raises(InputError, match="found nothing at"):
        find_clips(tmp_path / "absent")
    with pytest.raises(InputError, match="but found no clip"):
        find_clips(tmp_path)
    touch(tmp_path / "file.txt")
    with pytest.raises(InputError, match="found another file at"):
        find_clips(tmp_path / "file.txt")
    with pytest.raises(SettingError, match="Known datasets: auto, bp4d, disfa, emotionet, folder, voxceleb2"):
        find_clips(tmp_path, "bp5d")
    with pytest.raises(InputError, match="Expected BP4D's layout"):
        find_clips(tmp_path, "bp4d")


def test_find_clips_refuses_names_that_become_the_same(tmp_path):
    touch(tmp_path / "s" / "a b.mp4")
    touch(tmp_path / "s" / "a_b.mp4")
    with pytest.raises(InputError, match="a b.mp4 and s/a_b.mp4 of .* called .s/a_b."):
        find_clips(tmp_path)


def test_find_folder_refuses_subjects_that_would_be_mixed(tmp_path):
    touch(tmp_path / "a b" / "x.mp4")
    touch(tmp_path / "a_b" / "y.mp4")
    with pytest.raises(InputError, match="'a b' and 'a_b', would both be called 'a_b'"):
        find_clips(tmp_path)


def test_broken_link_is_no_crash_and_changes_the_fingerprint(tmp_path):
    write_images(tmp_path / "s" / "c", [1, 2])
    (tmp_path / "s" / "c" / "0003.jpg").symlink_to(tmp_path / "gone.jpg")
    (clip,) = find_clips(tmp_path)
    before = clip.fingerprint()
    touch(tmp_path / "gone.jpg")
    assert clip.fingerprint() != before
    (tmp_path / "gone.jpg").unlink()
    with pytest.raises(InputError, match="Cannot read .*0003.jpg"):
        clip.sha256()


@pytest.mark.parametrize("top", ["2D+3D", "Sequences(2D+3D)", "."])
def test_find_bp4d_accepts_release_layouts(tmp_path, top):
    write_images(tmp_path / top / "F001" / "T1", [286, 287])
    write_images(tmp_path / top / "M018" / "T8", [5, 6], width=3)
    (tmp_path / "AUCoding" / "AU_OCC").mkdir(parents=True)
    (tmp_path / "AUCoding" / "AU_OCC" / "F001_T1.csv").write_text("0,1,2,12\n286,1,9,0\n287,0,9,1\n")
    clips = find_clips(tmp_path)
    assert keys(clips) == ["F001/T1", "M018/T8"] and {clip.dataset for clip in clips} == {"bp4d"}
    assert clips[0].label_paths and not clips[1].label_paths


def test_read_occurrence_parses_codes_by_frame_number(tmp_path):
    path = tmp_path / "F001_T1.csv"
    path.write_text("0,1,2,12,99\n288,1,9,0,9\n286,0,9,1,9\n287,9,9,1,9\n")
    labels = read_occurrence((path,))
    assert labels.names == ("AU01", "AU12")
    np.testing.assert_array_equal(labels.frames, [286, 287, 288])
    np.testing.assert_array_equal(labels.occurrence, [[0, 1], [-1, 1], [1, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,1,2\n5,1\n", "whole numbers, all of the same length"),
        ("0,1\n5,x\n", "whole numbers"),
        ("0,1\n5,3\n", "codes 0, 1 or 9, but got 3"),
        ("0,1\n", "then one row per frame"),
        ("0,1\n5,1\n5,0\n", "appears twice"),
    ],
)
def test_read_occurrence_names_what_is_malformed(tmp_path, text, message):
    path = tmp_path / "F001_T1.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_occurrence((path,))


def test_labels_are_looked_up_by_frame_number_never_by_position():
    labels = Labels(("AU01",), np.array([10, 12]), np.array([[1], [0]], np.int8))
    np.testing.assert_array_equal(labels.at(np.array([9, 10, 11, 12, 99])), [[-1], [1], [-1], [0], [-1]])


def test_fingerprint_follows_the_files_and_sha256_their_contents(tmp_path):
    write_images(tmp_path / "s" / "c", [1, 2])
    (clip,) = find_clips(tmp_path)
    before = clip.fingerprint(), clip.sha256()
    os.utime(tmp_path / "s" / "c" / "0001.jpg", (1, 1))
    assert clip.fingerprint() != before[0] and clip.sha256() == before[1]
    (tmp_path / "s" / "c" / "0002.jpg").write_bytes(b"other")
    assert clip.sha256() != before[1]


@pytest.mark.parametrize(
    ("text", "name"),
    [("F001", "F001"), ("001", "S001"), ("../x", "x"), ("a b/c", "a_b_c"), (".hidden", "hidden"), ("Zoë", "Zoë")],
)
def test_safe_name(text, name):
    assert safe_name(text) == name


@pytest.mark.parametrize("text", ["_take_", "(take)", ".hidden", "__", "._x", " ", "(1)"])
def test_safe_name_is_one_that_pandas_does_not_pass_over(text, tmp_path):
    path = tmp_path / "subject=a" / f"{safe_name(text)}.parquet"
    path.parent.mkdir()
    pd.DataFrame({"x": [1]}).to_parquet(path)
    assert len(pd.read_parquet(tmp_path)) == 1
