import cv2
import numpy as np
import pytest

from tclr.pipeline.sources import Clip
from tclr.pipeline.video import probe, read_frames, sample_frames


def probed(path, **changes):
    return probe(Clip("folder", "s", "c", path, path.name, **changes), 25)


X264 = {"g": "8", "bf": "3"}


@pytest.mark.parametrize(
    ("name", "codec", "options", "pix_fmt"),
    [
        ("a.mp4", "libx264", X264, "yuv420p"),
        ("a.ts", "libx264", X264, "yuv420p"),
        ("open-gop.mkv", "libx264", {"x264-params": "open-gop=1:keyint=8:bframes=3:scenecut=0"}, "yuv420p"),
        ("interlaced.mp4", "libx264", {"x264-params": "interlaced=1:keyint=8"}, "yuv420p"),
        ("a.webm", "libvpx-vp9", {"g": "8"}, "yuv420p"),
        ("a.avi", "mpeg4", {"g": "8"}, "yuv420p"),
        ("a.mov", "prores_ks", {}, "yuv422p10le"),
    ],
)
def test_sample_frames_gives_true_frames_from_all_over(
    tmp_path, write_video, name, codec, options, pix_fmt, moving_blocks
):
    path = write_video(tmp_path / name, moving_blocks(80), codec=codec, codec_options=options, pix_fmt=pix_fmt)
    for part in ({}, {"start_s": 1.0, "end_s": 2.5}):
        media = probed(path, **part)
        whole = {frame.timestamp_s: frame.image for frame in read_frames(media)}
        frames = list(sample_frames(media, 4))
        times_s = [frame.timestamp_s for frame in frames]
        assert times_s[0] == min(whole) and times_s == sorted(set(times_s))
        if not name.startswith("interlaced"):  # these need their neighbours, which are missing
            assert all(np.array_equal(frame.image, whole[frame.timestamp_s]) for frame in frames)
        assert len(frames) >= 3 and times_s[-1] >= max(whole) / 2
        assert times_s == [frame.timestamp_s for frame in sample_frames(media, 4)]
    assert [len(list(sample_frames(media, n))) for n in (1, 2)] == [1, 2]


def test_sample_frames_of_a_video_with_one_keyframe(tmp_path, write_video, moving_blocks):
    path = write_video(tmp_path / "a.mp4", moving_blocks(60), codec_options={"g": "1000"})
    assert [(frame.index, frame.timestamp_s) for frame in sample_frames(probed(path), 5)] == [(0, 0.0)]
    (late,) = sample_frames(probed(path, start_s=1.0), 5)
    (expected, *_) = read_frames(probed(path, start_s=1.0))
    assert late.timestamp_s == expected.timestamp_s and np.array_equal(late.image, expected.image)


def test_sample_frames_of_images(tmp_path):
    for number in range(100):
        cv2.imwrite(str(tmp_path / f"{number:03d}.jpg"), np.full((16, 16, 3), number, np.uint8))
    frames = list(sample_frames(probed(tmp_path), 4, reduction=2))
    assert [frame.index for frame in frames] == [0, 25, 50, 75]
    assert all(frame.image.shape == (8, 8, 3) and frame.reduction == 2 for frame in frames)
    assert len(list(sample_frames(probed(tmp_path), 1000))) == 100
    stills = tuple(sorted(tmp_path.iterdir())[:10])
    assert [frame.name for frame in sample_frames(probed(tmp_path, stills=stills), 2)] == ["000.jpg", "005.jpg"]


def test_sample_frames_of_what_does_not_decode_is_empty(tmp_path, write_video, moving_blocks):
    path = write_video(tmp_path / "a.mp4", moving_blocks(10), options={"movflags": "faststart"})
    media = probed(path)
    data = path.read_bytes()
    begin = data.index(b"mdat") + 4
    path.write_bytes(data[:begin] + bytes(len(data) - begin))
    assert list(sample_frames(media, 3)) == []
    path.write_bytes(b"no video")
    assert list(sample_frames(media, 3)) == []
