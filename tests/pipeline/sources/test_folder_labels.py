"""Labels of any folder: tables written by hand, and tables as OpenFace and Py-Feat write them."""

import os
import pickle

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from tclr.cli.path.datasets import command as datasets_command
from tclr.pipeline.preprocessing import extract_clip, survey_clip
from tclr.pipeline.sources import find_clips
from tclr.pipeline.sources.folder_labels import read_label_table
from tclr.pipeline.store import Store
from tclr.pipeline.store.damage import verify_clip
from tclr.schemas.config import AlignConfig, PreprocessConfig
from tclr.schemas.errors import InputError

NAN = np.nan


def touch(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read(tmp_path, text):
    return read_label_table((touch(tmp_path / "anna_smile.csv", text),))


def check(labels, frames, occurrence, intensity):
    """Compare labels at frame numbers; -1 and NaN are unknown."""
    frames = np.array(frames)
    np.testing.assert_array_equal(labels.at(frames), occurrence)
    np.testing.assert_array_equal(labels.intensity_at(frames), np.array(intensity, np.float32))


def test_occurrence_is_openface_s_c_and_every_code_of_unknown_is_unknown(tmp_path):
    labels = read(tmp_path, "frame,AU12_c,AU01_c\n0,1,9\n1,0,999\n2,1.00,-1\n3,,nan\n")
    assert labels.names == ("AU01", "AU12") and labels.intensity is None and labels.occurrence.dtype == np.int8
    np.testing.assert_array_equal(labels.at(np.arange(5)), [[-1, 1], [-1, 0], [-1, 1], [-1, -1], [-1, -1]])


def test_intensity_alone_is_present_from_2_on_as_in_disfa(tmp_path):
    labels = read(tmp_path, "frame,AU01_r\n0,0\n1,1.99\n2,2\n3,5\n4,\n")
    check(labels, [0, 1, 2, 3, 4], [[0], [0], [1], [1], [-1]], [[0], [1.99], [2], [5], [NAN]])


def test_a_bare_name_is_py_feat_s_scale_and_is_stored_times_5(tmp_path):
    labels = read(tmp_path, "frame,AU01\n0,0.4\n1,0.399\n2,1\n3,\n4,0\n")
    check(labels, [0, 1, 2, 3, 4], [[1], [0], [1], [-1], [0]], [[2], [1.995], [5], [NAN], [0]])


def test_occurrence_and_intensity_are_both_used_where_both_are_given(tmp_path):
    labels = read(tmp_path, "frame,AU01_c,AU01_r,AU02_r,AU04,AU04_c,AU06_c\n0,0,4,3,0.2,1,1\n1,9,4,0,1,,0\n")
    assert labels.names == ("AU01", "AU02", "AU04", "AU06")
    occurrence = [[0, 1, 1, 1], [-1, 0, -1, 0]]
    check(labels, [0, 1], occurrence, [[4, 3, 1, NAN], [4, 0, 5, NAN]])


def test_rows_are_matched_by_frame_number_in_any_order(tmp_path):
    labels = read(tmp_path, "frame, AU01_r, AU02_c\r\n288, 5.0, 0\r\n\r\n286.0, 0.0, 1\r\n")
    np.testing.assert_array_equal(labels.frames, [286, 288])
    check(
        labels, [285, 286, 287, 288], [[-1, -1], [0, 1], [-1, -1], [1, 0]], [[NAN] * 2, [0, NAN], [NAN] * 2, [5, NAN]]
    )


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    path = tmp_path / "a_b.csv"
    path.write_bytes(b"\xef\xbb\xbfframe,AU01_c\n0,1\n")
    assert read_label_table((path,)).names == ("AU01",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"Expected a header 'frame,AU01,...', but got '' in .*anna_smile.csv line 1\. Add one"),
        ("0,0.1\n1,0.2\n", r"but got '0,0.1' in .*anna_smile.csv line 1\. Add one"),
        ("frame;AU01\n0;1\n", "but got 'frame;AU01' in .*line 1"),
        (",frame,AU01\n0,0,1\n", "but got ',frame,AU01' in .*frame number as the first column"),
        ("frame\n0\n", "Expected columns such as AU01, but got only 'frame' in .*line 1"),
        ("frame,AU01_c\n", "Expected one row per frame, but got only a header in .*anna_smile.csv"),
        (
            "frame,face_id,AU01_c\n0,0,1\n",
            r"but got 'face_id' in .*line 1\. Rename or remove it\. Known AUs: AU01, AU02",
        ),
        ("frame,AU1\n0,1\n", "but got 'AU1' in .*line 1"),
        ("frame,AU60\n0,1\n", "but got 'AU60' in .*line 1"),
        ("frame,AU01_c,AU01_c\n0,1,1\n", "Expected each column once, but got 'AU01_c' twice in .*line 1"),
        ("frame,AU01_r,AU01\n0,1,1\n", r"but got AU01 \(0..1\) and AU01_r \(0..5\) in .*line 1"),
        ("frame,AU01,AU02\n0,1,1\n1,1\n", "Expected 3 cells, but got 2 in .*line 3"),
        ("frame,AU01\n0,1,1\n", "Expected 2 cells, but got 3 in .*line 2"),
        ("frame,AU01\n0,yes\n", "Expected a number in column AU01, but got 'yes' in .*line 2"),
        ("frame,AU01\n-1,1\n", "Expected a whole frame number of 0 or more, but got '-1' in .*line 2"),
        ("frame,AU01\n0.5,1\n", "whole frame number of 0 or more, but got '0.5' in .*line 2"),
        ("frame,AU01\n,1\n", "whole frame number of 0 or more, but got '' in .*line 2"),
        ("frame,AU01\n1e30,1\n", "whole frame number of 0 or more, but got '1e30' in .*line 2"),
        ("frame,AU01\n0,1\n\n1,1.2\n", "Expected AU01 to be 0 to 1, or empty for unknown, but got 1.2 in .*line 4"),
        ("frame,AU02,AU01_r\n0,1,5.1\n", "Expected AU01_r to be 0 to 5, .*but got 5.1 in .*line 2"),
        ("frame,AU01_r\n0,-0.1\n", "Expected AU01_r to be 0 to 5, .*but got -0.1 in .*line 2"),
        ("frame,AU01_r\n0,inf\n", "Expected AU01_r to be 0 to 5, .*but got inf in .*line 2"),
        (
            "frame,AU01_c\n0,1\n1,0.5\n",
            "Expected AU01_c to be 0 or 1, or 9, 999, -1 or empty .*but got 0.5 in .*line 3",
        ),
        ("frame,AU01\n7,1\n8,1\n7,0\n", r"Expected each frame once, but got 7 again in .*line 4 \(first in line 2\)"),
    ],
)
def test_read_label_table_names_what_is_wrong_and_where(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_read_label_table_explains_a_file_that_is_no_text_or_not_there(tmp_path):
    path = tmp_path / "a_b.csv"
    path.write_bytes("frame,AU01_c\n0,1\n# Zoë".encode("utf-16"))
    with pytest.raises(InputError, match="Expected a table in UTF-8, .*a_b.csv"):
        read_label_table((path,))
    path.write_text("frame,AU01_c\n0," + "1" * 200_000)
    with pytest.raises(InputError, match="Expected a comma-separated table, .*a_b.csv"):
        read_label_table((path,))
    with pytest.raises(InputError, match="Cannot read .*gone.csv: No such file"):
        read_label_table((tmp_path / "gone.csv",))


def table_of(clips):
    return {clip.name: [path.name for path in clip.label_paths] for clip in clips}


def test_find_folder_gives_clips_their_labels_and_takes_no_clip_from_their_folder(tmp_path):
    for name in ("001/smile.mp4", "anna/day1/talk.mp4", "ben.mp4", "labels/anna/extra.mp4", "labels/heat.png"):
        touch(tmp_path / name)
    for name in ("S001_smile", "anna_day1_talk"):
        touch(tmp_path / "labels" / f"{name}.csv", "frame,AU01_c\n0,1\n")
    clips = find_clips(tmp_path)
    assert table_of(clips) == {
        "S001/smile": ["S001_smile.csv"], "anna/day1_talk": ["anna_day1_talk.csv"], "ben/ben": [],
    }  # fmt: skip
    labelled = pickle.loads(pickle.dumps(clips[0]))  # as it goes to a worker
    np.testing.assert_array_equal(labelled.read_labels(labelled.label_paths).at(np.array([0])), [[1]])
    assert clips[2].read_labels is None


def test_only_the_folder_of_labels_at_the_top_is_passed_over(tmp_path):
    touch(tmp_path / "anna" / "labels" / "talk.mp4")
    assert list(table_of(find_clips(tmp_path))) == ["anna/labels_talk"]


def test_clips_of_a_table_and_of_a_single_video_get_labels_the_same_way(tmp_path):
    touch(tmp_path / "in" / "raw.mp4")
    for name in ("anna_rest", "raw_raw"):
        touch(tmp_path / "in" / "labels" / f"{name}.csv", "frame,AU01_c\n0,1\n")
    assert table_of(find_clips(tmp_path / "in" / "raw.mp4")) == {"raw/raw": ["raw_raw.csv"]}
    touch(
        tmp_path / "in" / "clips.csv", "path,subject,clip,start_s,end_s\nraw.mp4,anna,rest,0,2\nraw.mp4,anna,task,2,\n"
    )
    assert table_of(find_clips(tmp_path / "in")) == {"anna/rest": ["anna_rest.csv"], "anna/task": []}


def test_labels_are_part_of_the_fingerprint_and_of_the_sha256(tmp_path):
    touch(tmp_path / "anna" / "smile.mp4")
    (bare,) = find_clips(tmp_path)
    table = touch(tmp_path / "labels" / "anna_smile.csv", "frame,AU01_c\n0,1\n")
    (clip,) = find_clips(tmp_path)
    before = clip.fingerprint(), clip.sha256()
    assert before[0] != bare.fingerprint() and before[1] != bare.sha256()
    status = table.stat()
    table.write_text("frame,AU01_c\n0,0\n")
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert clip.fingerprint() != before[0] and clip.sha256() != before[1]


def test_labels_that_fit_two_clips_are_refused(tmp_path):
    for name in ("a/b_c.mp4", "a_b/c.mp4"):
        touch(tmp_path / name)
    assert len(find_clips(tmp_path)) == 2
    touch(tmp_path / "labels" / "a_b_c.csv", "frame,AU01_c\n0,1\n")
    with pytest.raises(InputError, match=r"a_b_c.csv to fit one clip, but it fits a/b_c and a_b/c\. Rename"):
        find_clips(tmp_path)


def test_datasets_tells_how_many_clips_have_labels_and_which_tables_fit_none(tmp_path):
    for name in ("anna/smile.mp4", "ben/smile.mp4", "labels/anna_smile.csv", "labels/._anna_smile.csv"):
        touch(tmp_path / name)
    result = CliRunner().invoke(datasets_command, [str(tmp_path)])
    assert (
        "looks like folder: 2 subjects, 2 clips, 1 labelled" in result.output and "match no clip" not in result.output
    )
    touch(tmp_path / "labels" / "ben-smile.csv")
    result = CliRunner().invoke(datasets_command, [str(tmp_path)])
    assert "1 label tables match no clip and are not used, among them ben-smile.csv" in result.output
    assert "expected names as anna_smile.csv" in result.output


def test_labels_reach_the_store_by_the_number_in_the_file_name(tmp_path, moving_portrait):
    folder = tmp_path / "in" / "anna" / "take"
    folder.mkdir(parents=True)
    for number, image in zip((10, 11, 13), moving_portrait(3), strict=True):
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), image[..., ::-1])
    touch(tmp_path / "in" / "labels" / "anna_take.csv", "frame,AU12,AU01_c\n13,0.2,1\n10,0.8,0\n12,1,1\n")
    (clip,) = find_clips(tmp_path / "in")
    extract_clip(
        survey_clip(clip, PreprocessConfig(align=AlignConfig(size=64))), tmp_path / "out" / "subjects" / "anna.h5"
    )
    with Store(tmp_path / "out") as store:
        (info,) = store.clips
        assert store.names(info, "au") == store.names(info, "au_intensity") == ["AU01", "AU12"]
        np.testing.assert_array_equal(store.read(info, "source_frame"), [10, 11, 13])
        np.testing.assert_array_equal(store.read(info, "au"), [[0, 1], [-1, -1], [1, 0]])
        np.testing.assert_array_equal(store.read(info, "au_intensity"), [[NAN, 4], [NAN, NAN], [NAN, 1]])
        verify_clip(store, info)


def test_labels_of_a_part_of_a_video_count_from_the_video_s_start(tmp_path, moving_portrait, write_video):
    write_video(tmp_path / "in" / "raw.mp4", moving_portrait(6))
    touch(tmp_path / "in" / "clips.csv", "path,subject,clip,start_s,end_s\nraw.mp4,anna,end,0.12,\n")
    touch(tmp_path / "in" / "labels" / "anna_end.csv", "frame,AU01_c\n0,0\n3,1\n4,0\n")
    (clip,) = find_clips(tmp_path / "in")
    extract_clip(
        survey_clip(clip, PreprocessConfig(align=AlignConfig(size=64))), tmp_path / "out" / "subjects" / "anna.h5"
    )
    with Store(tmp_path / "out") as store:
        (info,) = store.clips
        np.testing.assert_array_equal(store.read(info, "au")[:, 0], [1, 0, -1])
        assert store.names(info, "au_intensity") == []


def test_labels_of_the_shared_people_are_found_and_scaled(shared_data):
    clips = find_clips(shared_data / "synthetic-people")
    assert len(clips) == 400 and all(clip.label_paths for clip in clips)
    labels = clips[0].read_labels(clips[0].label_paths)
    table = np.genfromtxt(clips[0].label_paths[0], delimiter=",", names=True)
    assert labels.names == table.dtype.names[1:] and len(labels.names) == 17
    intensity = np.stack([table[name] for name in labels.names], axis=1) * 5
    np.testing.assert_allclose(labels.intensity_at(np.arange(75)), intensity, rtol=1e-6)
    np.testing.assert_array_equal(labels.at(np.arange(75)), intensity >= 2)
