"""DISFA, EmotioNet, VoxCeleb2 and clips.csv: layouts and labels written by hand."""

import math

import cv2
import numpy as np
import pytest

from tclr.pipeline.sources import DATASETS, find_clips
from tclr.pipeline.sources.datasets import recognise
from tclr.schemas.errors import InputError


def touch(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


@pytest.fixture
def disfa(tmp_path):
    for camera in ("Left", "Right"):
        touch(tmp_path / f"Videos_{camera}Camera" / f"{camera}VideoSN001_comp.avi")
    touch(tmp_path / "ActionUnit_Labels/SN001/SN001_au12.txt", "1,0\n2,3\n3,2\n")
    touch(tmp_path / "ActionUnit_Labels/SN001/SN001_au1.txt", "1,5\n3,1\n")
    return tmp_path


def test_disfa_has_a_clip_a_camera_with_the_same_labels(disfa):
    clips = find_clips(disfa)
    assert recognise(disfa) == "disfa"
    assert [(clip.subject, clip.clip, clip.dataset) for clip in clips] == [
        ("SN001", "left", "disfa"),
        ("SN001", "right", "disfa"),
    ]
    assert clips[0].label_paths == clips[1].label_paths and len(clips[0].label_paths) == 2


def test_disfa_labels_count_frames_from_1_and_are_present_from_intensity_2(disfa):
    (clip, _) = find_clips(disfa)
    labels = clip.read_labels(clip.label_paths)
    assert labels.names == ("AU01", "AU12")
    video_frames = np.array([0, 1, 2, 3])
    np.testing.assert_array_equal(labels.at(video_frames), [[1, 0], [-1, 1], [0, 1], [-1, -1]])
    nan = np.nan
    np.testing.assert_array_equal(labels.intensity_at(video_frames), [[5, 0], [nan, 3], [1, 2], [nan, nan]])


@pytest.mark.parametrize("text", ["1,6\n", "0,1\n", "1,1\n1,2\n", "one,1\n", "1;1\n"])
def test_disfa_names_a_malformed_line(disfa, text):
    touch(disfa / "ActionUnit_Labels/SN001/SN001_au1.txt", text)
    (clip, _) = find_clips(disfa)
    with pytest.raises(InputError, match="SN001_au1.txt"):
        clip.read_labels(clip.label_paths)


def emotionet(root, table):
    for name in ("b/2.jpg", "b/10.jpg", "a/x.png"):
        image(root / name)
    touch(root / "table.csv", table)
    return root


def test_emotionet_reads_labels_by_file_name(tmp_path):
    table = "URL,orig_url,AU 1,AU 12,AU 60\nhttp://h/2.jpg,'b/2.jpg',1,999,0\nx,10.jpg,0,1,999\n"
    root = emotionet(tmp_path, table)
    assert recognise(root) == "emotionet"
    clips = {clip.subject: clip for clip in find_clips(root)}
    assert sorted(clips) == ["a", "b"] and clips["b"].clip == "shard0000"
    assert [path.name for path in clips["b"].stills] == ["10.jpg", "2.jpg"]
    labels = clips["b"].read_labels(clips["b"].label_paths)
    assert labels.names == ("AU01", "AU12")
    np.testing.assert_array_equal(labels.at(np.array([0, 1])), [[0, 1], [1, -1]])
    unknown = clips["a"].read_labels(clips["a"].label_paths)
    np.testing.assert_array_equal(unknown.at(np.array([0])), [[-1, -1]])


def test_emotionet_cuts_folders_into_shards_that_number_on(tmp_path, monkeypatch):
    monkeypatch.setattr("tclr.pipeline.sources.emotionet.SHARD_IMAGES", 1)
    root = emotionet(tmp_path, "file\tAU1\tAU2\n10.jpg\t1\t0\n2.jpg\t0\t1\n")
    shards = [clip for clip in find_clips(root) if clip.subject == "b"]
    assert [(clip.clip, clip.first, len(clip.stills)) for clip in shards] == [("shard0000", 0, 1), ("shard0001", 1, 1)]
    second = shards[1].read_labels(shards[1].label_paths)
    np.testing.assert_array_equal(second.at(np.array([0, 1])), [[-1, -1], [0, 1]])


def test_emotionet_tells_apart_images_of_one_name_by_their_folders(tmp_path):
    for name in ("a/0001.jpg", "b/0001.jpg"):
        image(tmp_path / name)
    touch(tmp_path / "t.csv", "file,AU1,AU2\nhttp://h/x/a/0001.jpg,1,1\nb/0001.jpg,0,0\n")
    codes = [clip.read_labels(clip.label_paths).at(np.array([0])).tolist() for clip in find_clips(tmp_path)]
    assert codes == [[[1, 1]], [[0, 0]]]
    for table in ("file,AU1,AU2\n0001.jpg,1,1\n", "file,AU1,AU2\na/0001.jpg,1,1\na/0001.jpg,0,0\nb/0001.jpg,0,0\n"):
        touch(tmp_path / "t.csv", table)
        with pytest.raises(InputError, match="fits several"):
            find_clips(tmp_path, "emotionet")


def test_a_table_that_names_no_image_is_no_emotionet(tmp_path):
    image(tmp_path / "cover.jpg")
    touch(tmp_path / "features.csv", "frame,AU01,AU02\n1,0,1\n")
    assert recognise(tmp_path) == "folder"


def test_emotionet_names_a_wrong_code(tmp_path):
    root = emotionet(tmp_path, "file,AU1,AU2\n2.jpg,1,7\n")
    with pytest.raises(InputError, match="0, 1 or 999.*'7'.*table.csv"):
        find_clips(root, "emotionet")


@pytest.mark.parametrize("top", ["dev/mp4", "test/mp4", "mp4", "."])
def test_voxceleb2_names_person_video_and_utterance(tmp_path, top):
    touch(tmp_path / top / "id00012" / "21Uxsk56VDQ" / "00001.mp4")
    touch(tmp_path / top / "id00012" / "-abc" / "00002.mp4")
    assert recognise(tmp_path) == "voxceleb2"
    assert [clip.name for clip in find_clips(tmp_path)] == ["id00012/-abc_00002", "id00012/21Uxsk56VDQ_00001"]


def test_clips_table_names_subjects_clips_and_parts(tmp_path):
    touch(tmp_path / "raw" / "v1.mp4")
    table = "path,subject,clip,start_s,end_s\nraw/v1.mp4,anna,rest,0,10\nraw/v1.mp4,anna,task,10,\nraw/v1.mp4,7,x,,\n"
    touch(tmp_path / "clips.csv", table)
    clips = find_clips(tmp_path)
    assert [(clip.name, clip.start_s, clip.end_s) for clip in clips] == [
        ("S7/x", 0, math.inf),
        ("anna/rest", 0, 10),
        ("anna/task", 10, math.inf),
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,subject\nraw/v1.mp4,anna\n", "Expected columns path, subject, clip"),
        ("path,subject,clip,age\nraw/v1.mp4,anna,x,3\n", "Expected columns"),
        ("path,subject,clip\nraw/v2.mp4,anna,x\n", "'raw/v2.mp4' in .*line 2"),
        ("path,subject,clip\n../../etc/passwd,anna,x\n", "Expected a file or folder below"),
        ("path,subject,clip\nraw/v1.mp4,,x\n", "one is empty"),
        ("path,subject,clip,start_s,end_s\nraw/v1.mp4,a,x,5,5\n", "0 <= start_s < end_s"),
        ("path,subject,clip,start_s,end_s\nraw/v1.mp4,a,x,five,6\n", "as seconds"),
        ("path,subject,clip\n", "has only a header"),
        ("path,subject,clip\nraw/v1.mp4,a,x,9\n", "Expected 3 cells"),
        ("path,subject,clip\nraw/v1.mp4,1,x\nraw/v1.mp4,S1,y\n", "would both be called 'S1'"),
    ],
)
def test_clips_table_names_what_is_wrong(tmp_path, table, message):
    touch(tmp_path / "raw" / "v1.mp4")
    touch(tmp_path / "clips.csv", table)
    with pytest.raises(InputError, match=message):
        find_clips(tmp_path)


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "folder"])
def test_a_chosen_dataset_explains_its_layout_when_it_is_not_there(tmp_path, name):
    with pytest.raises(InputError, match="Expected .* layout"):
        find_clips(tmp_path, name)


def test_shared_datasets_are_recognised(shared_data):
    assert recognise(shared_data / "synthetic-bp4d") == "bp4d"
    assert recognise(shared_data / "synthetic-disfa") == "disfa"
    assert recognise(shared_data / "real") == "folder"
    clips = find_clips(shared_data / "synthetic-disfa")
    labels = clips[0].read_labels(clips[0].label_paths)
    assert len(clips) == 6 and labels.occurrence.shape[0] == 100
    assert (labels.at(np.arange(100)) >= 0).all()
