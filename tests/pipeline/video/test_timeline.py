import cv2
import numpy as np
import pytest

from tclr.pipeline.sources import Clip
from tclr.pipeline.video import probe, read_frames, read_rows, read_timeline
from tclr.schemas.errors import InputError, TimelineError


def probed(path, **changes):
    return probe(Clip("folder", "s", "c", path, path.name, **changes), 25)


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
        if start < stop:
            part, middle = timeline.part(start, stop), (stop - start) // 2
            assert len(part) == stop - start and len(part.pts) <= len(timeline.pts)
            assert_same(list(read_rows(media, part, 0, stop - start, reduction=reduction)), whole[start:stop])
            again = part.part(middle, stop - start)
            assert_same(list(read_rows(media, again, 0, len(again), reduction=reduction)), whole[start + middle : stop])
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
def test_read_rows_gives_the_same_frames_as_reading_all(tmp_path, write_video, name, moving_blocks):
    codec, options = FORMATS[name]
    pix_fmt = PIX_FMTS.get(codec, "yuv420p")
    path = write_video(tmp_path / name, moving_blocks(40), codec=codec, codec_options=options, pix_fmt=pix_fmt)
    assert assert_rows_are_slices(probed(path)) == 40
    assert assert_rows_are_slices(probed(path), fps=7) == 12
    assert assert_rows_are_slices(probed(path, start_s=0.5, end_s=1.2)) == 17
    assert 5 <= assert_rows_are_slices(probed(path, start_s=0.3, end_s=1.3), fps=6) <= 7


def test_read_rows_follows_a_variable_rate(tmp_path, write_video, moving_blocks):
    pts_ms = np.cumsum(np.random.default_rng(2).integers(1, 120, 60)).tolist()
    for name in ("a.mkv", "a.mp4"):
        path = write_video(tmp_path / name, moving_blocks(60), pts_ms=pts_ms, codec_options=X264)
        assert assert_rows_are_slices(probed(path)) == 60
        assert_rows_are_slices(probed(path), fps=10)


def test_read_rows_follows_an_edit_list(tmp_path, write_video, cut_by_edit_list, moving_blocks):
    path = write_video(tmp_path / "a.mp4", moving_blocks(40), codec_options=X264)
    cut_by_edit_list(path, 11, 33)
    assert assert_rows_are_slices(probed(path)) == 22
    assert_rows_are_slices(probed(path), fps=10)


def test_read_rows_of_a_fragmented_mp4(tmp_path, write_video, moving_blocks):
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = write_video(tmp_path / "a.mp4", moving_blocks(40), codec_options=X264, options=options)
    assert assert_rows_are_slices(probed(path)) == 40


@pytest.mark.parametrize(("suffix", "reduction"), [(".png", 1), (".jpg", 1), (".jpg", 4)])
def test_read_rows_opens_only_the_images_that_it_gives(tmp_path, suffix, reduction, moving_blocks):
    for number, image in zip(range(286, 326), moving_blocks(40), strict=True):
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


def test_read_rows_keeps_the_row_of_a_damaged_frame(tmp_path, write_video, moving_blocks):
    path = write_video(tmp_path / "a.avi", moving_blocks(20), codec="mjpeg", pix_fmt="yuvj420p")
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


def test_read_rows_refuses_damage_that_later_frames_depend_on(tmp_path, write_video, moving_blocks):
    path = write_video(tmp_path / "a.mp4", moving_blocks(40), codec="mpeg4", options={"movflags": "faststart"})
    damage(path, path.stat().st_size // 2, 400)
    media = probed(path)
    timeline = read_timeline(media)
    assert len(timeline) == 40
    with pytest.raises(TimelineError, match="it is damaged"):
        list(read_rows(media, timeline, 0, 40))


def test_read_rows_tells_when_the_video_does_not_decode_as_announced(tmp_path, write_video, moving_blocks):
    options = {"movflags": "faststart"}
    path = write_video(tmp_path / "a.mp4", moving_blocks(40), codec="mpeg4", options=options, codec_options={"g": "10"})
    timeline = read_timeline(probed(path))
    other = write_video(tmp_path / "b.mp4", moving_blocks(40), pts_ms=[41 * i for i in range(40)])
    with pytest.raises(TimelineError, match="Read it in one piece"):
        list(read_rows(probed(other), timeline, 15, 25))
    short = write_video(tmp_path / "c.mp4", moving_blocks(20), codec="mpeg4", codec_options={"g": "10"})
    with pytest.raises(TimelineError, match="Read it in one piece"):
        list(read_rows(probed(short), timeline, 15, 25))


def test_read_rows_refuses_points_of_gradual_refresh(tmp_path, write_video, moving_blocks):
    refresh = {"x264-params": "intra-refresh=1:keyint=8"}
    path = write_video(tmp_path / "a.mp4", moving_blocks(40), codec_options=refresh)
    media = probed(path)
    with pytest.raises(TimelineError, match="Read it in one piece"):
        list(read_rows(media, read_timeline(media), 30, 40))


def test_read_timeline_does_not_guess(tmp_path, write_video, moving_blocks):
    whole = write_video(tmp_path / "a.mp4", moving_blocks(40), options={"movflags": "faststart"})
    truncated = tmp_path / "b.mp4"
    truncated.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert read_timeline(probed(truncated)) is None
    mkv = write_video(tmp_path / "a.mkv", moving_blocks(100))
    mkv.write_bytes(mkv.read_bytes()[: mkv.stat().st_size // 2])
    assert read_timeline(probed(mkv)) is None
    reordered = write_video(tmp_path / "b-frames.avi", moving_blocks(20), codec_options=X264)
    assert read_timeline(probed(reordered)) is None  # AVI has no time of display
    stream = write_video(tmp_path / "a.ts", moving_blocks(20))
    assert read_timeline(probed(stream)) is None  # no index to seek by
    interlaced = write_video(tmp_path / "i.mp4", moving_blocks(20), codec_options={"x264-params": "interlaced=1"})
    assert read_timeline(probed(interlaced)) is None
    for name in ("1.png", "01.png", "2.png"):
        cv2.imwrite(str(tmp_path / name), moving_blocks(1)[0])
    assert read_timeline(probed(tmp_path)) is None
    assert read_timeline(probed(tmp_path, stills=(tmp_path / "1.png", tmp_path / "2.png"))) is None


@pytest.mark.slow
def test_shared_videos_are_the_same_by_parts(shared_data):
    videos = [*sorted(shared_data.glob("real/*.m*")), *sorted(shared_data.glob("synthetic-disfa/Videos*/*"))[:2]]
    assert videos
    for path in (path for path in videos if path.suffix in (".mp4", ".mov", ".avi")):
        assert assert_rows_are_slices(probed(path)) > 50


def test_read_timeline_of_a_part_past_the_end_is_refused(tmp_path, write_video, moving_blocks):
    path = write_video(tmp_path / "a.mp4", moving_blocks(10), fps=10)
    with pytest.raises(InputError, match="the video ends at 0.9 s"):
        read_timeline(probed(path, start_s=50))
