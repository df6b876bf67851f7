"""Files whose streams change, differ or begin at another time."""

import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from tclr.pipeline.preprocessing.pieces import PictureSizes
from tclr.pipeline.sources import Clip
from tclr.pipeline.video import VideoWriter, probe, read_frames, read_rows, read_timeline, sample_frames
from tclr.pipeline.video.images import FrameConverter
from tclr.schemas.errors import InputError, TimelineError


def media_of(path):
    return probe(Clip("folder", "s", "c", path, path.name), 25)


def times_of(path):
    return [frame.timestamp_s for frame in read_frames(media_of(path))]


def marked(width, height):
    """A grey picture with a bright square around a quarter of its width and height."""
    image = np.full((height, width, 3), 100, np.uint8)
    x, y, side = width // 4, height // 4, height // 16
    image[y - side : y + side, x - side : x + side] = 250
    return image


def find_mark(image):
    """Return the centre of the bright square as (x, y)."""
    y, x = np.nonzero(image[..., 0] > 200)
    return x.mean() + 0.5, y.mean() + 0.5


@pytest.fixture
def mux_jpegs(tmp_path, write_jpegs):
    """Return a function that writes a video of pictures of any size."""
    return lambda images: write_jpegs(tmp_path / "a.mkv", images)


@pytest.mark.parametrize("second", [(320, 256), (80, 64), (160, 128)])
def test_pictures_of_another_size_are_fitted_into_the_first(mux_jpegs, second):
    path = mux_jpegs([marked(160, 128)] * 3 + [marked(*second)] * 3)
    media = media_of(path)
    frames = list(read_frames(media))
    assert (media.width, media.height) == (160, 128)
    assert {frame.image.shape for frame in frames} == {(128, 160, 3)}
    for frame in frames:
        assert find_mark(frame.image) == pytest.approx((40, 32), abs=0.6)
    changed = None if second == (160, 128) else second
    assert [frame.fitted_from for frame in frames] == [None] * 3 + [changed] * 3
    assert all(frame.image.shape == (128, 160, 3) for frame in sample_frames(media, 5))


def test_other_proportions_are_kept_on_black(mux_jpegs):
    frames = list(read_frames(media_of(mux_jpegs([marked(160, 128), marked(128, 256), marked(320, 64)]))))
    tall, wide = frames[1].image, frames[2].image
    assert tall.shape == wide.shape == (128, 160, 3)
    assert not tall[:, :48].any() and not tall[:, 112:].any() and (tall[:, 50:110] > 80).all()
    assert not wide[:48].any() and not wide[80:].any() and (wide[50:78] > 80).all()
    assert find_mark(tall) == pytest.approx((48 + 16, 32), abs=0.6)
    assert find_mark(wide) == pytest.approx((40, 48 + 8), abs=0.6)


@pytest.mark.parametrize("degrees", [0, 90])
def test_pictures_of_another_size_are_fitted_as_they_are_shown(tmp_path, write_video, degrees):
    def tune(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        stream.set_display_rotation(degrees)

    images = []
    for width, height in ((80, 128), (240, 384)):
        path = write_video(tmp_path / "a.mp4", [marked(width, height)], tune=tune)
        media = media_of(path)
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            room = (160, 128) if degrees == 0 else (128, 160)
            converter = FrameConverter(container.streams.video[0], path, room)
            assert converter.fitted_from(frame) == (None if width == 80 else (media.width, media.height))
            images.append(converter.convert(frame))
    assert images[0].shape == images[1].shape == (*room[::-1], 3)
    assert find_mark(images[1]) == pytest.approx(find_mark(images[0]), abs=0.7)


def test_parts_of_a_clip_whose_pictures_change_are_refused(mux_jpegs):
    """It is then read in one piece, whose warning says where."""
    media = media_of(mux_jpegs([marked(160, 128)] * 4 + [marked(320, 256)] * 4))
    timeline = read_timeline(media)
    assert len(list(read_rows(media, timeline, 0, 4))) == 4
    for start in (2, 4):
        with pytest.raises(TimelineError, match=r"change their size. Read it in one piece"):
            list(read_rows(media, timeline, start, 6))


def test_the_changes_of_size_are_described(mux_jpegs):
    media = media_of(mux_jpegs([marked(*size) for size in [(160, 128), (320, 256), (320, 256), (160, 128)]]))
    sizes = PictureSizes(media.width, media.height)
    assert sizes.describe() == ""
    for frame in read_frames(media):
        sizes.add(frame)
    known = "pictures of several sizes, all fitted into 160x128: 320x256 from frame 1 on, 160x128 from frame 3 on"
    assert sizes.describe() == known
    sizes = PictureSizes(16, 32)
    for frame in read_frames(media_of(mux_jpegs([marked(16 + 16 * i, 32) for i in range(9)]))):
        sizes.add(frame)
    assert sizes.describe().endswith("64x32 from frame 3 on, 80x32 from frame 4 on, and 4 more changes")


def write_two(path, first, second, enabled=(True, True)):
    """Write an MP4 with a grey video of each (width, height, level), and mark its tracks as enabled or not."""
    with av.open(str(path), "w") as container:
        streams = []
        for width, height, _ in (first, second):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for i in range(10):
            for stream, (width, height, level) in zip(streams, (first, second), strict=True):
                frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), level, np.uint8), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    data, place = bytearray(path.read_bytes()), 0
    for is_enabled in enabled:
        place = data.index(b"tkhd", place) + 4
        data[place + 3] = data[place + 3] & 0xFE | is_enabled
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("enabled, taken", [((True, True), 0), ((False, True), 1), ((True, False), 0)])
def test_of_two_videos_the_first_that_is_on_by_default_is_read(tmp_path, enabled, taken):
    looks = (96, 64, 50), (128, 96, 200)
    media = media_of(write_two(tmp_path / "a.mp4", *looks, enabled))
    width, height, level = looks[taken]
    assert (media.width, media.height) == (width, height)
    place = ("the first", "number 2")[taken]
    assert media.note == f"2 video streams: {place}, {width}x{height}, was read"
    for frames in (read_frames(media), read_rows(media, read_timeline(media), 0, 10), sample_frames(media, 1)):
        assert all(abs(frame.image.mean() - level) < 4 for frame in frames)


def box(kind, *parts):
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def cover(width, height):
    """Return the box of an MP4 that holds a cover picture, as players of music write it."""
    picture = cv2.imencode(".jpg", np.full((height, width, 3), 250, np.uint8))[1].tobytes()
    data = box(b"data", struct.pack(">II", 13, 0), picture)
    handler = box(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    return box(b"udta", box(b"meta", bytes(4), handler, box(b"ilst", box(b"covr", data))))


def test_cover_art_is_no_video(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", [marked(96, 64)] * 10)
    data = bytearray(path.read_bytes())
    moov, added = data.index(b"moov") - 4, cover(320, 240)
    place = moov + 8 + int.from_bytes(data[moov + 8 : moov + 12])  # after its first box, before the track
    data[place:place] = added
    data[moov : moov + 4] = struct.pack(">I", int.from_bytes(data[moov : moov + 4]) + len(added))
    path.write_bytes(data)
    with av.open(str(path)) as container:
        assert container.streams.video[0].width == 320  # the cover comes first
    media = media_of(path)
    assert (media.width, media.height, media.n_expected, media.note) == (96, 64, 10, "")
    assert len(list(read_frames(media))) == 10 and len(read_timeline(media)) == 10


def test_a_file_with_nothing_but_cover_art_is_refused_by_name(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        container.add_attachment("cover.png", "image/png", cv2.imencode(".png", marked(64, 64))[1].tobytes())
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        frame.rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(InputError, match="it has no video stream, only attached pictures or unknown codecs"):
        media_of(path)


def test_a_video_of_an_unknown_codec_is_refused_by_name(tmp_path, write_video):
    path = write_video(tmp_path / "a.mkv", [marked(64, 48)] * 3)
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_NEVERSEEN/123"))
    with pytest.raises(InputError, match=r"no video stream, only attached pictures or unknown codecs. Check the file"):
        media_of(path)


RATE = 16000


def write_with_sound(path, video_s, sound_s, options=None, fps=25):
    """Write 1 s of grey from ``video_s`` on, and from ``sound_s`` to 2 s silence with a tone from 1.0 to 1.2 s."""
    time = np.arange(round(sound_s * RATE), 2 * RATE) / RATE
    wave = np.where((time >= 1) & (time < 1.2), 0.5 * np.sin(2 * np.pi * 440 * time), 0).astype(np.float32)
    with av.open(str(path), "w", options=options or {}) as container:
        video, audio = container.add_stream("libx264", rate=fps), container.add_stream("aac", rate=RATE)
        video.width, video.height, video.pix_fmt, audio.layout = 64, 48, "yuv420p", "mono"
        for i in range(fps):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * i, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i + round(video_s * fps), Fraction(1, fps)
            container.mux(video.encode(frame))
        for start in range(0, len(wave) - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
            frame.pts, frame.time_base = start + round(sound_s * RATE), Fraction(1, RATE)
            frame.sample_rate = RATE
            container.mux(audio.encode(frame))
        container.mux(video.encode())
        container.mux(audio.encode())
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("video_s, sound_s, start_s", [(0.4, 0, 0.4), (0, 0, 0), (0, 0.4, 0), (0.6, 0.4, 0.2)])
def test_a_video_that_begins_after_its_sound_says_so(tmp_path, suffix, video_s, sound_s, start_s):
    path = write_with_sound(tmp_path / f"a{suffix}", video_s, sound_s)
    assert media_of(path).start_s == (pytest.approx(start_s, abs=0.07) if start_s else 0)  # AAC begins a little early
    np.testing.assert_allclose(times_of(path), np.arange(25) / 25, atol=1e-3)


def test_a_video_without_sound_has_no_start(tmp_path, write_video):
    media = media_of(write_video(tmp_path / "a.mkv", [marked(64, 48)] * 3, pts_ms=[1000, 1040, 1080]))
    assert (media.start_s, media.origin_s) == (0, 1)


def write_before_zero(path, **sound):
    """Write frames from 0.4 s before 0 to 0.6 s after it, in a file that keeps those times."""
    return write_with_sound(path, -0.4, 0, {"avoid_negative_ts": "disabled"}, **sound)


def test_frames_before_zero_are_kept(tmp_path):
    path = write_before_zero(tmp_path / "a.mkv")
    with av.open(str(path)) as container:
        assert sum(packet.pts is None for packet in container.demux(video=0) if packet.size) == 10
    media = media_of(path)
    frames = list(read_frames(media))
    assert [frame.index for frame in frames] == list(range(25))
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], np.arange(25) / 25, atol=1e-3)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 5 * np.arange(25), atol=4)
    assert media.start_s == 0 and media.origin_s == pytest.approx(-0.4, abs=1e-3)


@pytest.mark.parametrize("name, video_s", [("late.mp4", 0.4), ("late.mkv", 0.4), ("early.mkv", -0.4)])
def test_the_sound_of_a_copy_stays_with_its_pictures(tmp_path, name, video_s):
    path = write_before_zero(tmp_path / name) if video_s < 0 else write_with_sound(tmp_path / name, video_s, 0)
    media = media_of(path)
    with VideoWriter(tmp_path / "o.mp4", 64, 48, crf=30, sound=path, sound_start_s=media.origin_s) as writer:
        for i in range(50):
            writer.write(marked(64, 48), i / 25)
    with av.open(str(tmp_path / "o.mp4")) as container:
        loud = [frame.time for frame in container.decode(audio=0) if np.abs(frame.to_ndarray()).max() > 0.2]
    assert loud[0] == pytest.approx(1 - video_s, abs=0.07)
