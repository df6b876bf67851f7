import cv2
import numpy as np
import pytest

from tclr.pipeline.sources import Clip
from tclr.pipeline.timeline import read_rows, read_timeline, sample_frames
from tclr.pipeline.video import probe, read_frames
from tclr.schemas.errors import InputError, TimelineError


def probed(path, **changes):
    return probe(Clip("folder", "s", "c", path, path.name, **changes), 25)


def moving(n_frames, height=64, width=96):
    """Blocks that drift, so that frames need their references."""
    blocks = np.random.default_rng(0).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    image = blocks.repeat(8, 0).repeat(8, 1)
    return [np.roll(image, 3 * i, axis=1) for i in range(n_frames)]


def assert_same(frames, expected):
    assert [(f.index, f.timestamp_s, f.name, f.reduction) for f in frames] == [
        (f.index, f.timestamp_s, f.name, f.reduction) for f in expected
    ]
    for frame, other in zip(frames, expected, strict=True):
        assert (frame.image is None) == (other.image is None)
        assert frame.image is None or np.array_equal(frame.image, other.image)


def assert_rows_are_slices(media, fps=0, reduction=1):
    """Compare the timeline and random parts with the whole, read in one piece; return the number of rows."""
    whole = list(read_frames(media, fps, reduction=reduction))
    timeline = read_timeline(media, fps)
    np.testing.assert_array_equal(timeline.times_s, [frame.timestamp_s for frame in whole])
    np.testing.assert_array_equal(timeline.index, [frame.index for frame in whole])
    assert timeline.times_s.dtype == np.float64 and timeline.index.dtype == np.int64
    rng = np.random.default_rng(1)
    parts = [(0, len(whole)), (len(whole) - 1, len(whole)), *np.sort(rng.integers(0, len(whole) + 1, (8, 2))).tolist()]
    for start, stop in parts:
        assert_same(list(read_rows(media, timeline, start, stop, reduction=reduction)), whole[start:stop])
    return len(whole)


X264 = {"g": "8", "bf": "3"}
OPEN_GOP = {"x264-params": "open-gop=1:keyint=8:bframes=3:scenecut=0"}
FORMATS = {
    "h264.mp4": ("libx264", X264),
    "h264.mkv": ("libx264", X264),
    "h264.mov": ("libx264", X264),
    "open-gop.mp4": ("libx264", OPEN_GOP),
    "open-gop.mkv": ("libx264", OPEN_GOP),
    "intra.mp4": ("libx264", {"g": "1"}),
    "short-gop.mp4": ("libx264", {"x264-params": "keyint=2:bframes=1:scenecut=0"}),
    "hevc.mp4": ("libx265", {"x265-params": "log-level=none:keyint=8:open-gop=1"}),
    "mpeg4.avi": ("mpeg4", {"g": "8"}),
    "mpeg4.mp4": ("mpeg4", {"g": "8", "bf": "2"}),
    "mpeg4.mkv": ("mpeg4", {"g": "8", "bf": "2"}),
    "vp8.webm": ("libvpx", {"g": "8"}),
    "vp9.webm": ("libvpx-vp9", {"g": "8", "lag-in-frames": "10"}),
    "av1.mp4": ("libsvtav1", {"g": "8"}),
    "mjpeg.avi": ("mjpeg", {}),
    "mjpeg.mov": ("mjpeg", {}),
    "prores.mov": ("prores_ks", {}),
}
PIX_FMTS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}


@pytest.mark.parametrize("name", FORMATS)
def test_read_rows_gives_the_same_frames_as_reading_all(tmp_path, write_video, name):
    codec, options = FORMATS[name]
    pix_fmt = PIX_FMTS.get(codec, "yuv420p")
    path = write_video(tmp_path / name, moving(40), codec=codec, codec_options=options, pix_fmt=pix_fmt)
    assert assert_rows_are_slices(probed(path)) == 40
    assert assert_rows_are_slices(probed(path), fps=7) == 12
    assert assert_rows_are_slices(probed(path, start_s=0.5, end_s=1.2)) == 17
    assert 5 <= assert_rows_are_slices(probed(path, start_s=0.3, end_s=1.3), fps=6) <= 7


def test_read_rows_follows_a_variable_rate(tmp_path, write_video):
    pts_ms = np.cumsum(np.random.default_rng(2).integers(1, 120, 60)).tolist()
    for name in ("a.mkv", "a.mp4"):
        path = write_video(tmp_path / name, moving(60), pts_ms=pts_ms, codec_options=X264)
        assert assert_rows_are_slices(probed(path)) == 60
        assert_rows_are_slices(probed(path), fps=10)


@pytest.mark.parametrize(("suffix", "reduction"), [(".png", 1), (".jpg", 1), (".jpg", 4)])
def test_read_rows_opens_only_the_images_that_it_gives(tmp_path, suffix, reduction):
    for number, image in zip(range(286, 326), moving(40), strict=True):
        if number not in (290, 291, 300):
            cv2.imwrite(str(tmp_path / f"{number:04d}{suffix}"), image)
    media = probed(tmp_path)
    assert assert_rows_are_slices(media, reduction=reduction) == 37
    assert_rows_are_slices(media, fps=10, reduction=reduction)
    timeline = read_timeline(media)
    for number in range(300, 326):
        (tmp_path / f"{number:04d}{suffix}").unlink(missing_ok=True)
    assert len(list(read_rows(media, timeline, 0, 10))) == 10


def damage(path, start, n_bytes=40):
    data = bytearray(path.read_bytes())
    data[start : start + n_bytes] = b"\xff" * n_bytes
    path.write_bytes(data)


def test_read_rows_keeps_the_row_of_a_damaged_frame(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", moving(20), codec="mjpeg", pix_fmt="yuvj420p")
    position = -1
    data = path.read_bytes()
    for _ in range(8):
        position = data.index(b"\xff\xd8\xff", position + 1)
    damage(path, position, 300)
    media = probed(path)
    whole = list(read_frames(media))
    timeline = read_timeline(media)
    assert [frame.index for frame in whole if frame.image is None] == [7] and len(whole) == 20
    assert_same(list(read_rows(media, timeline, 8, 20)), whole[8:])
    assert_same(list(read_rows(media, timeline, 5, 7)), whole[5:7])


def test_read_rows_tells_when_the_video_does_not_decode_as_announced(tmp_path, write_video):
    options = {"movflags": "faststart"}
    path = write_video(tmp_path / "a.mp4", moving(40), codec="mpeg4", options=options, codec_options={"g": "10"})
    timeline = read_timeline(probed(path))
    other = write_video(tmp_path / "b.mp4", moving(40), pts_ms=[41 * i for i in range(40)])
    with pytest.raises(TimelineError, match="Read it in one piece"):
        list(read_rows(probed(other), timeline, 15, 25))
    short = write_video(tmp_path / "c.mp4", moving(20), codec="mpeg4", codec_options={"g": "10"})
    with pytest.raises(TimelineError, match="Read it in one piece"):
        list(read_rows(probed(short), timeline, 15, 25))


def test_read_rows_refuses_points_of_gradual_refresh(tmp_path, write_video):
    refresh = {"x264-params": "intra-refresh=1:keyint=8"}
    path = write_video(tmp_path / "a.mp4", moving(40), codec_options=refresh)
    media = probed(path)
    with pytest.raises(TimelineError, match="Read it in one piece"):
        list(read_rows(media, read_timeline(media), 30, 40))


def test_read_timeline_does_not_guess(tmp_path, write_video):
    whole = write_video(tmp_path / "a.mp4", moving(40), options={"movflags": "faststart"})
    truncated = tmp_path / "b.mp4"
    truncated.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert read_timeline(probed(truncated)) is None
    mkv = write_video(tmp_path / "a.mkv", moving(100))
    mkv.write_bytes(mkv.read_bytes()[: mkv.stat().st_size // 2])
    assert read_timeline(probed(mkv)) is None
    reordered = write_video(tmp_path / "b-frames.avi", moving(20), codec_options=X264)
    assert read_timeline(probed(reordered)) is None  # AVI has no time of display
    stream = write_video(tmp_path / "a.ts", moving(20))
    assert read_timeline(probed(stream)) is None  # no index to seek by
    interlaced = write_video(tmp_path / "i.mp4", moving(20), codec_options={"x264-params": "interlaced=1"})
    assert read_timeline(probed(interlaced)) is None
    for name in ("1.png", "01.png", "2.png"):
        cv2.imwrite(str(tmp_path / name), moving(1)[0])
    assert read_timeline(probed(tmp_path)) is None
    assert read_timeline(probed(tmp_path, stills=(tmp_path / "1.png", tmp_path / "2.png"))) is None


def test_read_timeline_of_a_part_past_the_end_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", moving(10), fps=10)
    with pytest.raises(InputError, match="the video ends at 0.9 s"):
        read_timeline(probed(path, start_s=50))


@pytest.mark.parametrize("name", ["h264.mp4", "open-gop.mkv", "vp9.webm", "mpeg4.avi", "prores.mov", "h264.ts"])
def test_sample_frames_gives_true_frames_from_all_over(tmp_path, write_video, name):
    codec, options = FORMATS.get(name, ("libx264", X264))
    pix_fmt = PIX_FMTS.get(codec, "yuv420p")
    path = write_video(tmp_path / name, moving(80), codec=codec, codec_options=options, pix_fmt=pix_fmt)
    for part in ({}, {"start_s": 1.0, "end_s": 2.5}):
        media = probed(path, **part)
        whole = {frame.timestamp_s: frame.image for frame in read_frames(media)}
        frames = list(sample_frames(media, 4))
        times_s = [frame.timestamp_s for frame in frames]
        assert times_s[0] == min(whole) and times_s == sorted(set(times_s))
        assert all(np.array_equal(frame.image, whole[frame.timestamp_s]) for frame in frames)
        assert len(frames) >= 3 and times_s[-1] >= max(whole) / 2
        assert times_s == [frame.timestamp_s for frame in sample_frames(media, 4)]
    assert [len(list(sample_frames(media, n))) for n in (1, 2)] == [1, 2]


def test_sample_frames_of_a_video_with_one_keyframe(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", moving(60), codec_options={"g": "1000"})
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


def test_sample_frames_of_what_does_not_decode_is_empty(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", moving(10), options={"movflags": "faststart"})
    media = probed(path)
    data = path.read_bytes()
    begin = data.index(b"mdat") + 4
    path.write_bytes(data[:begin] + bytes(len(data) - begin))
    assert list(sample_frames(media, 3)) == []
    path.write_bytes(b"no video")
    assert list(sample_frames(media, 3)) == []
