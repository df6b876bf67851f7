from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.video import Frame, probe, read_frames
from tclr.pipeline.video.decoding import FORMATS
from tclr.pipeline.video.deinterlace import deinterlace
from tclr.pipeline.video.reading import resample
from tclr.schemas.errors import InputError, TruncatedError


def flat(n_frames, height=64, width=96):
    """Frames whose grey level encodes their index."""
    return [np.full((height, width, 3), 20 + 4 * i, np.uint8) for i in range(n_frames)]


def clip_of(path, **changes):
    return Clip("folder", "s", "c", path, path.name, **changes)


def read(path, fps=0, **changes):
    return list(read_frames(probe(clip_of(path, **changes), 25), fps))


def test_read_frames_of_a_constant_rate_video(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", flat(30), fps=30)
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], np.arange(30) / 30, atol=1e-4)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 + 4 * np.arange(30), atol=3)
    assert frames[0].image.shape == (64, 96, 3) and frames[0].image.dtype == np.uint8


def test_read_frames_keeps_a_variable_rate(tmp_path, write_video):
    pts_ms = [0, 40, 80, 200, 210, 500, 900]
    path = write_video(tmp_path / "a.mkv", flat(7), pts_ms=pts_ms)
    np.testing.assert_allclose([frame.timestamp_s for frame in read(path)], np.array(pts_ms) / 1000, atol=1e-6)


def test_read_frames_counts_time_from_the_first_frame(tmp_path, write_video):
    path = write_video(tmp_path / "a.mkv", flat(3), pts_ms=[1000, 1040, 1080])
    np.testing.assert_allclose([frame.timestamp_s for frame in read(path)], [0, 0.04, 0.08], atol=1e-6)


def test_read_frames_of_numbered_images_takes_index_and_time_from_the_name(tmp_path):
    for number in (286, 287, 290):
        cv2.imwrite(str(tmp_path / f"{number:04d}.png"), np.full((8, 9, 3), number - 200, np.uint8))
    (tmp_path / "notes.txt").write_text("x")
    frames = read(tmp_path)
    assert [frame.index for frame in frames] == [286, 287, 290]
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], [0, 0.04, 0.16])
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [86, 87, 90]


def test_read_frames_keeps_the_place_of_an_unreadable_image(tmp_path):
    for number in (1, 2, 3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "2.png").write_bytes(b"no image")
    assert [frame.image is None for frame in read(tmp_path)] == [False, True, False]


def test_probe_refuses_what_is_not_a_video(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("this is no video")
    with pytest.raises(InputError, match=r"cannot decode .*text.mp4"):
        probe(clip_of(path), 25)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="no video stream"):
        probe(clip_of(tmp_path / "sound.mp4"), 25)


def test_probe_refuses_a_folder_without_numbered_images(tmp_path):
    with pytest.raises(InputError, match="numbered images"):
        probe(clip_of(tmp_path), 25)


def noise(n_frames):
    return list(np.random.default_rng(0).integers(0, 255, (n_frames, 64, 96, 3), np.uint8))


def test_read_frames_tells_a_truncated_video_after_giving_what_is_there(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", noise(40), options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    seen = []
    with pytest.raises(TruncatedError, match=r"Expected 40 frames, but the video ends after \d+"):
        for frame in read_frames(probe(clip_of(path), 25)):
            seen.append(frame)
    assert 10 < len(seen) < 30


def test_read_frames_keeps_every_row_and_time_around_damage(tmp_path, write_video):
    options = {"movflags": "faststart"}
    path = write_video(tmp_path / "a.mp4", noise(40), codec="mpeg4", options=options)
    sound = read(path)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    damaged = read(path)
    times = [frame.timestamp_s for frame in damaged]
    assert times == sorted(times)
    assert all(frame.timestamp_s == pytest.approx(sound[frame.index].timestamp_s) for frame in damaged)
    assert len(damaged) >= 38


def test_read_frames_takes_a_part_by_time(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", flat(30), fps=10)
    frames = read(path, start_s=0.95, end_s=2.0)
    assert [frame.index for frame in frames] == list(range(10, 20))
    np.testing.assert_allclose(frames[0].timestamp_s, 0.05, atol=1e-4)


def slow_nearest(times, fps):
    """The frame nearest to each tick, each frame once."""
    ticks = np.arange(0, times[-1] + 0.5 / fps + 1e-9, 1 / fps)
    return sorted({int(np.argmin(np.abs(times - tick))) for tick in ticks})


@pytest.mark.parametrize("fps", [2, 7, 10, 12.5, 25, 60])
def test_resample_picks_the_frame_nearest_to_each_tick(fps):
    rng = np.random.default_rng(1)
    for _ in range(20):
        times = np.concatenate([[0], np.cumsum(rng.uniform(0.01, 0.2, 40))])
        frames = [Frame(i, time, None) for i, time in enumerate(times)]
        assert [frame.index for frame in resample(iter(frames), fps)] == slow_nearest(times, fps)


def test_fps_resamples_a_variable_rate_by_time_never_by_counting(tmp_path, write_video):
    pts_ms = [0, 10, 20, 30, 100, 200, 210, 300, 400, 405, 500]
    path = write_video(tmp_path / "a.mkv", flat(11), pts_ms=pts_ms)
    frames = read(path, fps=10)
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], [0, 0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-6)
    assert [frame.index for frame in frames] == [0, 4, 5, 7, 8, 10]
    assert len(read(path, fps=0)) == 11 and len(read(path, fps=1000)) == 11


def test_stills_are_numbered_and_have_no_time(tmp_path):
    paths = []
    for name in ("x.png", "y.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
        paths.append(tmp_path / name)
    frames = read(tmp_path, stills=tuple(paths), first=1000)
    assert [(frame.index, frame.timestamp_s) for frame in frames] == [(1000, 0), (1001, 0)]


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_truncated_video_without_a_frame_count_is_told_by_its_duration(tmp_path, write_video, suffix):
    codec = "libvpx" if suffix == ".webm" else "libx264"
    path = write_video(tmp_path / f"a{suffix}", noise(60), codec=codec)
    assert len(read(path)) == 60
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TruncatedError, match=r"Expected 2\.\d+ s, but the video ends after"):
        read(path)


def test_a_part_past_the_end_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", flat(10), fps=10)
    with pytest.raises(InputError, match="Expected frames from 50 to 60 s, but the video ends at 0.9 s"):
        read(path, start_s=50, end_s=60)


def test_frames_stored_out_of_order_come_in_order_of_time(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", flat(30), codec_options={"bf": "4", "b_strategy": "0"})
    with av.open(str(path)) as container:
        stored = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert stored != sorted(stored)
    frames = read(path)
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], np.arange(30) / 25, atol=1e-4)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 + 4 * np.arange(30), atol=3)


def test_avi_that_stores_frames_out_of_order_keeps_an_even_rate(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", flat(30), codec_options={"bf": "3", "b_strategy": "0"})
    frames = read(path)
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], np.arange(30) / 25, atol=1e-6)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 + 4 * np.arange(30), atol=3)


def test_avi_with_dropped_frames_is_whole_and_keeps_the_gaps(tmp_path, write_video):
    ticks = [0, 1, 5, 6, 7, 20, 21, 22, 40]
    images, pts_ms = flat(9), [40 * tick for tick in ticks]
    path = write_video(tmp_path / "a.avi", images, codec="mjpeg", pix_fmt="yuvj420p", pts_ms=pts_ms, time_base_fps=25)
    np.testing.assert_allclose([frame.timestamp_s for frame in read(path)], np.array(ticks) / 25, atol=1e-6)


def test_truncated_avi_is_told(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", noise(40), codec="mpeg4")
    assert len(read(path)) == 40
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TruncatedError, match=r"Expected 1\.60 s, but the video ends after"):
        read(path)


@pytest.fixture
def mux_out_of_order(tmp_path, write_video):
    """Return a function that writes a video of independent frames, with packets at given ms in the given order."""

    def mux(pts_ms):
        ordered = write_video(tmp_path / "a.mkv", flat(len(pts_ms)), codec="mjpeg", pix_fmt="yuvj420p")
        with av.open(str(ordered)) as source, av.open(str(tmp_path / "b.mkv"), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for i, (pts, packet) in enumerate(zip(pts_ms, source.demux(video=0), strict=False)):
                packet.pts, packet.dts, packet.stream = pts, i - len(pts_ms), stream
                target.mux(packet)
        return tmp_path / "b.mkv"

    return mux


def test_frames_that_go_back_in_time_are_refused(mux_out_of_order):
    path = mux_out_of_order([0, 40, 120, 80, 160, 200, 280, 240])
    with pytest.raises(InputError, match=r"in order of time, but .*b.mkv goes back from 0.12 to 0.08 s"):
        read(path)


def test_a_clock_that_trembles_stands_still(mux_out_of_order):
    frames = read(mux_out_of_order([0, 40, 80, 75, 160, 200]))
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], [0, 0.04, 0.08, 0.08, 0.16, 0.2], atol=1e-6)


def test_an_edit_list_decides_what_is_shown(tmp_path, write_video, cut_by_edit_list):
    path = write_video(tmp_path / "a.mp4", flat(30), codec_options={"bf": "2", "g": "8"})
    cut_by_edit_list(path, 10, 20)
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(10))
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], np.arange(10) / 25, atol=1e-4)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 + 4 * np.arange(10, 20), atol=3)
    assert probe(clip_of(path), 25).n_expected == 10


def corner_red(height=64, width=96):
    image = np.full((height, width, 3), 60, np.uint8)
    image[: height // 3, : width // 3] = (255, 0, 0)
    return image


def turned(degrees, mirrored):
    image = np.rot90(corner_red(), degrees // 90)
    return image[:, ::-1] if mirrored else image


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_read_frames_applies_the_display_matrix(tmp_path, write_video, degrees, mirrored):
    path = write_video(
        tmp_path / "a.mp4", [corner_red()] * 3, tune=lambda stream: stream.set_display_rotation(degrees, mirrored)
    )
    expected = turned(degrees, mirrored)
    image = read(path)[1].image
    assert image.flags["C_CONTIGUOUS"] and np.abs(image.astype(int) - expected).mean() < 8
    media = probe(clip_of(path), 25)
    assert (media.height, media.width) == expected.shape[:2]


def test_a_display_matrix_that_tilts_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", flat(2), tune=lambda stream: stream.set_display_rotation(30))
    with pytest.raises(InputError, match=r"multiple of 90 degrees, but the display matrix of .*a.mp4"):
        probe(clip_of(path), 25)


@pytest.mark.parametrize(
    ("aspect", "degrees", "size"),
    [((2, 1), 0, (192, 64)), ((2, 3), 0, (96, 96)), ((16, 15), 0, (102, 64)), ((2, 1), 90, (64, 192))],
)
def test_pixels_that_are_not_square_are_stretched_as_a_player_does(tmp_path, write_video, aspect, degrees, size):
    def tune(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        stream.set_display_rotation(degrees)

    path = write_video(tmp_path / "a.mp4", [corner_red()] * 3, tune=tune)
    media = probe(clip_of(path), 25)
    image = read(path)[0].image
    assert (media.width, media.height) == size == image.shape[1::-1]
    width, height = size if not degrees else size[::-1]
    expected = np.rot90(corner_red(height, width), degrees // 90)
    assert np.abs(image.astype(int) - expected).mean() < 8


def test_pixels_of_an_impossible_shape_are_refused(tmp_path, write_video):
    def tune(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(12, 1)

    path = write_video(tmp_path / "a.mp4", flat(2), codec="mpeg4", tune=tune)
    with pytest.raises(InputError, match=r"at most 4 times as wide .* but .*a.mp4 states 12"):
        probe(clip_of(path), 25)


def bar(shift, height=64, width=96):
    image = np.full((height, width, 3), 40, np.uint8)
    image[:, shift % width : shift % width + 16] = 220
    return image


def interlaced(n_frames):
    """Frames whose even rows show a moving bar, and whose odd rows show it half a frame later."""
    frames = [bar(4 * i) for i in range(n_frames)]
    for i, frame in enumerate(frames):
        frame[1::2] = bar(4 * i + 2)[1::2]
    return frames


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"x264-params": "interlaced=1:tff=1", "qp": "4"}),
        ("a.ts", "mpeg2video", {"flags": "+ildct+ilme", "top": "1", "q": "2"}),
    ],
)
def test_interlaced_frames_are_made_whole_and_keep_count_and_times(tmp_path, write_video, name, codec, options):
    path = write_video(tmp_path / name, interlaced(16), codec=codec, codec_options=options)
    frames = read(path)
    assert [frame.index for frame in frames] == list(range(16))
    np.testing.assert_allclose([frame.timestamp_s for frame in frames], np.arange(16) / 25, atol=1e-4)
    for i, frame in enumerate(frames):
        rows = frame.image.astype(int)
        assert np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean() < 3  # no comb; it is 30 before
        assert np.abs(rows - bar(4 * i)).mean() < 12


def test_deinterlace_keeps_lost_frames_in_their_place(tmp_path, write_video):
    options = {"x264-params": "interlaced=1:tff=1"}
    path = write_video(tmp_path / "a.mp4", interlaced(8), codec_options=options)
    with av.open(str(path)) as container:
        decoded = [(frame.pts, frame) for frame in container.decode(video=0)]
    decoded[3] = (decoded[3][0], None)
    decoded[7] = (decoded[7][0], None)
    whole = list(deinterlace(decoded))
    assert [pts for pts, _ in whole] == [pts for pts, _ in decoded]
    assert [frame is None for _, frame in whole] == [frame is None for _, frame in decoded]


def test_deinterlace_does_not_touch_progressive_frames(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", flat(4))
    with av.open(str(path)) as container:
        decoded = [(frame.pts, frame) for frame in container.decode(video=0)]
    assert all(after is before for after, before in zip(deinterlace(decoded), decoded, strict=True))


ORANGE = (200, 60, 40)


def mean_colour(path):
    image = read(path)[0].image
    assert image.dtype == np.uint8 and image.shape[2] == 3
    return image.reshape(-1, 3).mean(axis=0)


def in_colours(height, width, rgb, pix_fmt, **colours):
    """A frame of one colour, converted by ffmpeg to a matrix and range."""
    frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), rgb, np.uint8), format="rgb24")
    return frame.reformat(format=pix_fmt, **colours).to_ndarray()


@pytest.mark.parametrize(("full", "size"), [(False, (64, 96)), (True, (64, 96)), (False, (720, 1280))])
@pytest.mark.parametrize("matrix", [Colorspace.ITU601, Colorspace.ITU709, Colorspace.BT2020])
def test_colour_matrix_and_range_are_followed(tmp_path, write_video, matrix, full, size):
    range_ = ColorRange.JPEG if full else ColorRange.MPEG

    def tune(stream):
        stream.codec_context.colorspace, stream.codec_context.color_range = int(matrix), int(range_)

    pixels = in_colours(*size, ORANGE, "yuv420p", dst_colorspace=matrix, dst_color_range=range_)
    path = write_video(tmp_path / "a.mp4", [pixels] * 2, source_fmt="yuv420p", size=size, tune=tune)
    np.testing.assert_allclose(mean_colour(path), ORANGE, atol=4)


@pytest.mark.parametrize(("size", "matrix"), [((576, 720), Colorspace.ITU601), ((720, 1280), Colorspace.ITU709)])
def test_untagged_video_has_the_matrix_of_its_size(tmp_path, write_video, size, matrix):
    pixels = in_colours(*size, ORANGE, "yuv420p", dst_colorspace=matrix)
    path = write_video(tmp_path / "a.mp4", [pixels] * 2, source_fmt="yuv420p", size=size)
    np.testing.assert_allclose(mean_colour(path), ORANGE, atol=4)


def test_colours_that_cannot_be_converted_are_refused(tmp_path, write_video):
    def tune(stream):
        stream.codec_context.colorspace = 10  # BT.2020 with constant luminance

    path = write_video(tmp_path / "a.mp4", flat(2), tune=tune)
    with pytest.raises(InputError, match=r"convert to RGB, but .*a.mp4 has yuv420p with matrix 10"):
        read(path)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("ten-bit.mp4", "libx264", "yuv420p10le"),
        ("prores-4444-alpha.mov", "prores_ks", "yuva444p10le"),
        ("qtrle-alpha.mov", "qtrle", "argb"),
        ("vp9-alpha.webm", "libvpx-vp9", "yuva420p"),
        ("4:2:2.mkv", "libx264", "yuv422p"),
    ],
)
def test_bit_depth_and_alpha_do_not_change_colours(tmp_path, write_video, name, codec, pix_fmt):
    images = [np.full((64, 96, 3), ORANGE, np.uint8)] * 3
    np.testing.assert_allclose(
        mean_colour(write_video(tmp_path / name, images, codec=codec, pix_fmt=pix_fmt)), ORANGE, atol=4
    )


def test_what_lies_under_transparent_pixels_is_kept(tmp_path, write_video):
    half = np.dstack([np.full((64, 96), v, np.uint8) for v in (*ORANGE, 128)])
    path = write_video(tmp_path / "a.mov", [half] * 2, source_fmt="rgba", codec="qtrle", pix_fmt="argb")
    np.testing.assert_allclose(mean_colour(path), ORANGE, atol=2)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "ffv1"), ("a.mp4", "libx264"), ("a.mov", "qtrle")])
def test_grey_video(tmp_path, write_video, name, codec):
    def tune(stream):
        stream.codec_context.color_range = ColorRange.JPEG  # what ffmpeg makes of grey

    path = write_video(tmp_path / name, flat(3), codec=codec, pix_fmt="gray", tune=tune)
    np.testing.assert_allclose(mean_colour(path), (20, 20, 20), atol=3)


def pq_code(nits):
    """SMPTE ST 2084, inverse EOTF."""
    y = (nits / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hlg_code(nits):
    """ARIB STD-B67 for a grey on a screen of 1000 cd/m2, whose system gamma is 1.2."""
    light = (nits / 1000) ** (1 / 1.2)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.sqrt(3 * light) if light <= 1 / 12 else a * np.log(12 * light - b) + c


@pytest.mark.parametrize(("transfer", "code"), [(16, pq_code), (18, hlg_code)], ids=["PQ", "HLG"])
def test_hdr_is_brought_to_standard_brightness(tmp_path, write_video, transfer, code):
    def tune(stream):
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_trc, context.color_primaries = 9, 1, transfer, 9

    nits = np.array([10, 50, 100, 203])
    pixels = np.full((96, 64), 512, np.uint16)  # 64 rows of luma, then the chroma of a grey
    pixels[:64] = [round(64 + 876 * code(value)) for value in nits for _ in range(16)]
    path = write_video(
        tmp_path / "a.mp4", [pixels] * 2, source_fmt="yuv420p10le", pix_fmt="yuv420p10le", size=(64, 64), tune=tune
    )
    image = read(path)[0].image
    # 203 cd/m2 is the white of standard video (ITU-R BT.2408), whose screens have a gamma of 2.4
    expected = np.repeat(255 * (nits[:, None] / 203) ** (1 / 2.4), 3, axis=1)
    np.testing.assert_allclose(image[32, 8::16], expected, atol=8)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"), [("a.mp4", "libx264", "yuv444p"), ("a.avi", "mjpeg", "yuvj420p")]
)
def test_odd_sizes_are_kept(tmp_path, write_video, name, codec, pix_fmt):
    image = corner_red(75, 101)
    path = write_video(tmp_path / name, [image] * 2, codec=codec, pix_fmt=pix_fmt)
    frame = read(path)[0]
    assert frame.image.shape == (75, 101, 3) and np.abs(frame.image.astype(int) - image).mean() < 8
    media = probe(clip_of(path), 25)
    assert (media.width, media.height) == (101, 75)


def test_4k_is_read_at_full_size(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", [corner_red(2160, 3840)] * 2, codec_options={"preset": "ultrafast"})
    first, second = read(path)
    assert first.image.shape == second.image.shape == (2160, 3840, 3)
    assert first.image[300, 300, 0] > 200 and first.image[1500, 3000, 0] < 80


@pytest.mark.parametrize(
    ("suffix", "codec", "container"),
    [
        (".y4m", "wrapped_avframe", "yuv4mpegpipe"),
        (".m2t", "libx264", "mpegts"),
        (".asf", "wmv2", "asf"),
        (".f4v", "libx264", "mp4"),
        (".3g2", "libx264", "3g2"),
        (".qt", "libx264", "mov"),
        (".gxf", "mpeg2video", "gxf"),
        (".h265", "libx265", "hevc"),
        (".m2v", "mpeg2video", "mpeg2video"),
        (".nut", "libx264", "nut"),
        (".rm", "rv20", "rm"),
        (".ogx", "libvpx", "ogg"),
        (".divx", "mpeg4", "avi"),
        (".m2p", "mpeg2video", "vob"),
    ],
)
def test_containers_that_ffmpeg_reads_are_videos(tmp_path, suffix, codec, container):
    path = tmp_path / f"a{suffix}"
    size = (576, 720) if container == "gxf" else (96, 128)
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        for image in flat(10, *size):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")))
        file.mux(stream.encode())
    (clip,) = find_clips(tmp_path)
    assert len(list(read_frames(probe(clip, 25)))) == 10


def test_formats_that_lead_elsewhere_are_no_videos():
    known = set(FORMATS.split())
    available = {name for group in av.formats_available for name in (group, *group.split(","))}
    assert {name for group in known for name in group.split(",")} <= available
    assert known.isdisjoint({"hls", "concat", "dash", "sdp", "image2", "lavfi", "webm_dash_manifest", "rtsp", "data"})
