import threading
import tracemalloc
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pytest

from tclr.pipeline.preprocessing import extract_clip, survey_clip
from tclr.pipeline.preprocessing.rows import BLOCK_FRAMES
from tclr.pipeline.sources import find_clips
from tclr.pipeline.store import Store
from tclr.pipeline.store.damage import verify_clip
from tclr.schemas.config import AlignConfig, DetectConfig, PreprocessConfig
from tclr.schemas.errors import InputError, TruncatedError
from tclr.schemas.store import Status

ALIGN = AlignConfig(size=64)
CONFIG = PreprocessConfig(align=ALIGN)


def extract(source, store, config=CONFIG, **options):
    """Extract all clips of a folder, each into a file that a Store opens."""
    for clip in find_clips(source):
        extract_clip(survey_clip(clip, config), store / "subjects" / f"{clip.subject}.h5", **options)
    return Store(store)


def test_extract_clip_fills_every_row(tmp_path, moving_portrait, write_video):
    n_frames = BLOCK_FRAMES + 5
    write_video(tmp_path / "in" / "a.mp4", moving_portrait(n_frames))
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        verify_clip(store, info)
        assert info.n_frames == info.attrs.n_ok == n_frames and info.attrs.warning == ""
        np.testing.assert_allclose(store.read(info, "timestamp"), np.arange(n_frames) / 25, atol=1e-4)
        landmarks, transform = store.read(info, "landmarks"), store.read(info, "transform")
        # the picture moves by a pixel a frame to the left, jumps back after 20, and the crop follows it
        drift = np.diff(landmarks[:19, :, 0].mean(axis=1))
        assert drift.mean() == pytest.approx(-1, abs=0.15)
        nose = np.einsum("tij,tj->ti", transform[:, :, :2], landmarks[:, 1, :2]) + transform[:, :, 2]
        np.testing.assert_allclose(nose, np.broadcast_to(nose.mean(axis=0), nose.shape), atol=1.5)


def test_extract_clip_marks_frames_without_a_face(tmp_path, moving_portrait, write_video):
    images = moving_portrait(24)
    for image in images[8:16]:
        image[:] = 128
    write_video(tmp_path / "in" / "a.mp4", images)
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        status = store.read(info, "status")
        assert (status[:8] == Status.ok).all() and (status[16:] == Status.ok).all()
        assert (status[9:16] == Status.no_face).all()
        gone = status == Status.no_face
        assert np.isnan(store.read(info, "landmarks")[gone]).all() and not store.read_crops(info)[gone].any()
        assert np.isnan(store.read(info, "score")[gone]).all()


def test_extract_clip_keeps_a_clip_without_any_face_and_warns(tmp_path, write_video):
    write_video(tmp_path / "in" / "a.mp4", [np.full((64, 64, 3), 99, np.uint8)] * 6)
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        assert info.n_frames == 6 and info.attrs.n_ok == 0
        assert info.attrs.warning == "no face in any of 6 frames"


def test_extract_clip_aligns_labels_by_frame_number(tmp_path, moving_portrait):
    import cv2

    folder = tmp_path / "2D+3D" / "F001" / "T1"
    folder.mkdir(parents=True)
    for number, image in zip((10, 11, 13), moving_portrait(3), strict=True):
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), image[..., ::-1])
    (tmp_path / "AUCoding" / "AU_OCC").mkdir(parents=True)
    table = "0,1,12\n9,0,0\n10,1,0\n12,1,1\n13,0,1\n"
    (tmp_path / "AUCoding" / "AU_OCC" / "F001_T1.csv").write_text(table)
    with extract(tmp_path, tmp_path / "out") as store:
        (info,) = store.clips
        assert store.names(info, "au") == ["AU01", "AU12"]
        np.testing.assert_array_equal(store.read(info, "source_frame"), [10, 11, 13])
        np.testing.assert_array_equal(store.read(info, "au"), [[1, 0], [-1, -1], [0, 1]])


def test_extract_clip_takes_the_rate_of_image_sequences_from_the_settings(tmp_path, moving_portrait):
    import cv2

    (tmp_path / "in" / "anna" / "take").mkdir(parents=True)
    for number, image in enumerate(moving_portrait(3)):
        cv2.imwrite(str(tmp_path / "in" / "anna" / "take" / f"{number:04d}.png"), image[..., ::-1])
    (clip,) = find_clips(tmp_path / "in")
    part = tmp_path / "out" / "subjects" / "anna.h5"
    extract_clip(survey_clip(clip, PreprocessConfig(DetectConfig(image_fps=50), ALIGN)), part)
    with Store(tmp_path / "out") as store:
        np.testing.assert_allclose(store.read(store.clips[0], "timestamp"), [0, 0.02, 0.04])


def test_extract_clip_refuses_a_truncated_video_unless_allowed(tmp_path, moving_portrait, write_video):
    path = write_video(tmp_path / "in" / "a.mp4", moving_portrait(40), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TruncatedError, match="--allow-truncated"):
        extract(tmp_path / "in", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.h5"))
    with extract(tmp_path / "in", tmp_path / "out", replace(CONFIG, allow_truncated=True)) as store:
        (info,) = store.clips
        assert 0 < info.n_frames < 40 and info.attrs.warning.startswith("truncated")
        verify_clip(store, info)


def test_extract_clip_fits_pictures_that_change_their_size(tmp_path, moving_portrait, write_jpegs):
    images = moving_portrait(20)
    images[10:] = [cv2.resize(image, (480, 480)) for image in images[10:]]
    (tmp_path / "in").mkdir()
    write_jpegs(tmp_path / "in" / "a.mkv", images)
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        assert (info.attrs.n_ok, info.attrs.width, info.attrs.height) == (20, 240, 240)
        assert info.attrs.warning == "pictures of several sizes, all fitted into 240x240: 480x480 from frame 10 on"
        landmarks = store.read(info, "landmarks")[..., :2]
        assert np.abs(np.diff(landmarks, axis=0)).max() < 6
        faces_px = np.ptp(store.read(info, "bbox").reshape(-1, 2, 2), axis=1).max(axis=1)
        assert np.ptp(faces_px) < 0.05 * faces_px.mean()


def test_extract_clip_refuses_malformed_labels(tmp_path, moving_portrait):
    import cv2

    folder = tmp_path / "F001" / "T1"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "0001.jpg"), moving_portrait(1)[0])
    (tmp_path / "AU_OCC").mkdir()
    (tmp_path / "AU_OCC" / "F001_T1.csv").write_text("0,1\n1,x\n")
    with pytest.raises(InputError, match="F001_T1.csv"):
        extract(tmp_path, tmp_path / "out")


def test_extract_clip_memory_does_not_grow_with_length(tmp_path, moving_portrait, write_video):
    peaks = []
    for n_frames in (2 * BLOCK_FRAMES, 6 * BLOCK_FRAMES):
        write_video(tmp_path / f"in{n_frames}" / "a.mp4", moving_portrait(n_frames))
        tracemalloc.start()
        extract(tmp_path / f"in{n_frames}", tmp_path / f"out{n_frames}").close()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_stills_are_each_looked_at_alone_and_keep_their_names(tmp_path, portrait):
    import cv2

    left, right = portrait[:240, 40:340], portrait[:240, 160:400]
    for name, picture in (("a.png", left), ("b.png", np.full((240, 300, 3), 128, np.uint8)), ("c.png", right)):
        (tmp_path / "in" / "batch").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / "batch" / name), picture[..., ::-1])
    (tmp_path / "in" / "labels.csv").write_text("file,AU 1,AU 12\na.png,0,1\nc.png,999,1\n")
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        verify_clip(store, info)
        assert store.read(info, "source_name").tolist() == ["a.png", "b.png", "c.png"]
        assert store.read(info, "status").tolist() == [Status.ok, Status.no_face, Status.ok]
        np.testing.assert_array_equal(store.read(info, "au"), [[0, 1], [-1, -1], [-1, 1]])
        assert store.read(info, "score")[[0, 2]].min() > 0.5


def test_disfa_intensity_and_occurrence_are_stored_by_frame(tmp_path, moving_portrait, write_video):
    write_video(tmp_path / "Videos_LeftCamera" / "LeftVideoSN001_comp.avi", moving_portrait(3), codec="mpeg4", fps=20)
    (tmp_path / "ActionUnit_Labels" / "SN001").mkdir(parents=True)
    (tmp_path / "ActionUnit_Labels" / "SN001" / "SN001_au12.txt").write_text("1,1\n2,2\n")
    with extract(tmp_path, tmp_path / "out") as store:
        (info,) = store.clips
        verify_clip(store, info)
        np.testing.assert_array_equal(store.read(info, "au")[:, 0], [0, 1, -1])
        np.testing.assert_array_equal(store.read(info, "au_intensity")[:, 0], [1, 2, np.nan])
        assert info.attrs.fps == 20


def test_clip_carries_its_quality_and_small_faces_can_be_marked(tmp_path, moving_portrait, write_video):
    write_video(tmp_path / "in" / "a.mp4", moving_portrait(6))
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        boxes = store.read(info, "bbox")
        sizes = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
        assert info.attrs.median_face_px == pytest.approx(np.median(sizes))
        assert info.attrs.median_sharpness == pytest.approx(np.median(store.read(info, "sharpness")))
        assert info.attrs.duration_s == pytest.approx(5 / 25, abs=1e-4)
    (clip,) = find_clips(tmp_path / "in")
    picky = DetectConfig(min_face_px=float(sizes.max()) + 1)
    extract_clip(survey_clip(clip, PreprocessConfig(picky, ALIGN)), tmp_path / "picky" / "subjects" / "a.h5")
    with Store(tmp_path / "picky") as store:
        assert (store.read(store.clips[0], "status") == Status.low_confidence).all()


def test_aligning_again_from_stored_landmarks_equals_detecting_again(
    tmp_path, moving_portrait, write_video, monkeypatch
):
    images = moving_portrait(BLOCK_FRAMES + 7)
    images[10][:] = 128
    write_video(tmp_path / "in" / "a.mp4", images)
    extract(tmp_path / "in", tmp_path / "first").close()
    (clip,) = find_clips(tmp_path / "in")
    other = AlignConfig(size=48, margin=1.3, template="arcface", smooth_s=0.05)
    whole, again = (tmp_path / name / "subjects" / "a.h5" for name in ("whole", "again"))
    extract_clip(survey_clip(clip, PreprocessConfig(align=other)), whole)
    monkeypatch.setattr("tclr.pipeline.preprocessing.tracks.open_detector", lambda *a, **k: pytest.fail("again"))
    extract_clip(survey_clip(clip, PreprocessConfig(align=other), tmp_path / "first" / "subjects" / "a.h5"), again)
    with Store(whole) as expected, Store(again) as store:
        (info,), (same,) = expected.clips, store.clips
        verify_clip(store, same)
        for name in expected.fields(info):
            if name != "frames":
                np.testing.assert_array_equal(store.read(same, name), expected.read(info, name), err_msg=name)
        np.testing.assert_array_equal(store.read_crops(same), expected.read_crops(info))
    with h5py.File(whole) as expected, h5py.File(again) as file:
        assert dict(file["clips/a"].attrs) == dict(expected["clips/a"].attrs)


def test_threads_ahead_change_nothing_and_end(tmp_path, moving_portrait, write_video):
    images = moving_portrait(BLOCK_FRAMES + 7)
    images[20:] = [255 - image for image in images[20:]]  # a cut
    write_video(tmp_path / "in" / "a.mp4", images)
    before = threading.active_count()
    stores = [extract(tmp_path / "in", tmp_path / f"ahead{n}", n_ahead=n) for n in (0, 3)]
    with stores[0] as expected, stores[1] as store:
        (info,), (same,) = expected.clips, store.clips
        for name in expected.fields(info):
            np.testing.assert_array_equal(store.read(same, name), expected.read(info, name), err_msg=name)
    (tmp_path / "in" / "a.mp4").write_bytes((tmp_path / "in" / "a.mp4").read_bytes()[:3000])
    with pytest.raises(InputError):
        extract(tmp_path / "in", tmp_path / "broken", n_ahead=3)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
    assert threading.active_count() <= before + 2  # mediapipe keeps its own


def test_short_gap_is_interpolated_and_long_one_is_not(tmp_path, moving_portrait, write_video):
    images = moving_portrait(40)
    for i in (10, 11, *range(20, 32)):
        images[i][:] = 128
    write_video(tmp_path / "in" / "a.mp4", images)
    with extract(tmp_path / "in", tmp_path / "out") as store:
        (info,) = store.clips
        status = store.read(info, "status")
        verify_clip(store, info)
    assert (status[10:12] == Status.interpolated).all()
    assert (status[22:31] == Status.no_face).all()


@pytest.fixture
def large_jpegs(tmp_path, portrait):
    """A sequence of JPEG images in which the face is far larger than a crop: 1200 x 1200, a pixel a frame."""
    import cv2

    folder = tmp_path / "in" / "anna" / "take"
    folder.mkdir(parents=True)
    for number in range(6):
        head = cv2.resize(portrait[:240, 100 + number : 340 + number], (1200, 1200), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), head[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])
    (clip,) = find_clips(tmp_path / "in")
    return clip


def test_large_jpeg_is_read_at_reduced_scale_and_gives_the_same_crops(tmp_path, large_jpegs, monkeypatch):
    align = AlignConfig(size=224, smooth_s=0)
    reduced, full = (tmp_path / name / "subjects" / "anna.h5" for name in ("reduced", "full"))
    extract_clip(survey_clip(large_jpegs, PreprocessConfig(align=align)), reduced)
    monkeypatch.setattr("tclr.pipeline.preprocessing.tracks.REDUCTIONS", {1: 0})
    extract_clip(survey_clip(large_jpegs, PreprocessConfig(align=align)), full)
    with Store(reduced) as store, Store(full) as expected:
        (info,), (same,) = store.clips, expected.clips
        verify_clip(store, info)
        assert (info.attrs.reduction, same.attrs.reduction) == (2, 1)
        assert (info.attrs.width, info.attrs.height) == (1200, 1200)
        face_px = same.attrs.median_face_px
        distance = store.read(info, "landmarks") - expected.read(same, "landmarks")
        assert np.abs(distance[..., :2].mean(axis=(0, 1))).max() < 0.002 * face_px  # no shift of half a pixel
        crops, wanted = store.read_crops(info).astype(int), expected.read_crops(same).astype(int)
        assert np.abs(crops - wanted).mean() < 3


def test_images_that_are_to_be_reduced_otherwise_are_looked_at_again(tmp_path, large_jpegs):
    first, again, new = (tmp_path / name / "subjects" / "anna.h5" for name in ("first", "again", "new"))
    extract_clip(survey_clip(large_jpegs, PreprocessConfig(align=AlignConfig(size=224))), first)
    larger = AlignConfig(size=640)
    extract_clip(survey_clip(large_jpegs, PreprocessConfig(align=larger), first), again)
    extract_clip(survey_clip(large_jpegs, PreprocessConfig(align=larger)), new)
    with Store(again) as store, Store(new) as expected:
        (info,), (same,) = store.clips, expected.clips
        assert info.attrs.reduction == same.attrs.reduction == 1
        np.testing.assert_array_equal(store.read(info, "landmarks"), expected.read(same, "landmarks"))
        np.testing.assert_array_equal(store.read_crops(info), expected.read_crops(same))


def test_images_that_are_reduced_alike_are_cut_again_without_a_detector(tmp_path, large_jpegs, monkeypatch):
    first, again = (tmp_path / name / "subjects" / "anna.h5" for name in ("first", "again"))
    extract_clip(survey_clip(large_jpegs, PreprocessConfig(align=AlignConfig(size=224))), first)
    monkeypatch.setattr("tclr.pipeline.preprocessing.tracks.open_detector", None)
    extract_clip(survey_clip(large_jpegs, PreprocessConfig(align=AlignConfig(size=192)), first), again)
    with Store(again) as store:
        (info,) = store.clips
        assert info.attrs.reduction == 2 and store.read_crops(info).shape == (6, 192, 192, 3)
