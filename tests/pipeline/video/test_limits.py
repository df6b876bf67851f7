"""Pictures and clips beyond the limits are refused from their headers; playlists are refused; pipes do not hang."""

import os
import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tclr.cli.main import cli
from tclr.pipeline.preprocessing import extract_clip, survey_clip
from tclr.pipeline.preprocessing.pieces import cut_clip
from tclr.pipeline.sources import Clip
from tclr.pipeline.system import read_image_size
from tclr.pipeline.video import ClipMedia, probe, read_frames, read_timeline, sample_frames
from tclr.pipeline.video.images import read_image
from tclr.schemas.config import AlignConfig, DetectConfig, LimitsConfig, PreprocessConfig
from tclr.schemas.errors import InputError, SettingError

SMALL = LimitsConfig(max_megapixels=0.005)


def clip_of(path, **changes):
    return Clip("folder", "s", "c", path, path.name, **changes)


def png_of(width, height):
    """A PNG of a few bytes that claims a size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def jpeg_of(width, height):
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def bmp_of(width, height):
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(9)


def gif_of(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b",\0\0\0\0\x08\0\x08\0\0\x02\x01\0\0;"


@pytest.mark.parametrize(
    "data",
    [png_of(50_000, 50_000), jpeg_of(50_000, 50_000), bmp_of(50_000, 50_000), gif_of(50_000, 50_000)],
    ids=["png", "jpeg", "bmp", "gif"],
)
def test_a_picture_of_50_000_pixels_a_side_is_refused_by_its_header(tmp_path, data, monkeypatch):
    (tmp_path / "a.png").write_bytes(data)
    monkeypatch.setattr(cv2, "imdecode", lambda *args: pytest.fail("decoded"))
    assert read_image_size(np.frombuffer(data, np.uint8)) == (50_000, 50_000)
    for reduction in (1, 8):
        with pytest.raises(InputError, match=r"at most 160 megapixels, but got 50000 x 50000 .* --max-megapixels"):
            read_image(tmp_path / "a.png", reduction)
    with pytest.raises(InputError, match="--max-megapixels"):
        probe(clip_of(tmp_path / "a.png"), 25)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp", ".gif"])
def test_the_limit_holds_for_every_kind_of_picture_and_lets_smaller_ones_pass(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.zeros((70, 80, 3), np.uint8)).save(path)
    assert read_image(path)[0].shape == (70, 80, 3)
    assert read_image(path, 1, LimitsConfig(max_megapixels=0.0056))[0] is not None
    with pytest.raises(InputError, match="80 x 70"):
        read_image(path, 1, SMALL)


def test_the_limit_can_be_raised_above_what_pillow_bears(tmp_path):
    (tmp_path / "a.png").write_bytes(png_of(20_000, 20_000))
    with pytest.raises(InputError, match="20000 x 20000"):
        read_image(tmp_path / "a.png", 1, LimitsConfig(max_megapixels=399))
    assert read_image_size(np.frombuffer(png_of(20_000, 20_000), np.uint8)) == (20_000, 20_000)


def test_a_picture_beyond_the_limit_among_others_fails_the_clip(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "3.png").write_bytes(png_of(50_000, 50_000))
    media = probe(clip_of(tmp_path), 25)
    with pytest.raises(InputError, match=r"3\.png"):
        list(read_frames(media))


def test_a_video_that_declares_16k_is_refused(tmp_path, write_video):
    path = write_video(tmp_path / "a.avi", [np.zeros((64, 96, 3), np.uint8)] * 3, codec="rawvideo", pix_fmt="bgr24")
    data = bytearray(path.read_bytes())
    place = data.index(b"strf") + 12
    assert struct.unpack_from("<ii", data, place) in [(96, 64), (96, -64)]
    struct.pack_into("<ii", data, place, 16_000, 16_000)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"at most 160 megapixels, but got 16000 x 16000 .*a\.avi.* --max-megapixels"):
        probe(clip_of(path), 25)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_within_the_default_and_beyond_a_lower_limit(tmp_path, write_video, suffix):
    path = write_video(tmp_path / f"a{suffix}", [np.zeros((64, 96, 3), np.uint8)] * 3)
    assert probe(clip_of(path), 25).width == 96
    with pytest.raises(InputError, match=r"at most 0.005 megapixels, but got 96 x 64"):
        probe(clip_of(path), 25, SMALL)


def test_a_frame_larger_than_the_video_declares_is_not_decoded(tmp_path):
    """Motion JPEG: each frame states its own size, which a decoder would allocate."""
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for number, (width, height) in enumerate([(96, 64), (320, 240), (96, 64)]):
            packet = av.Packet(cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
            container.mux(packet)

    def sizes(limits):
        frames = read_frames(probe(clip_of(path), 25, limits))
        return [frame.image is not None and (frame.fitted_from or frame.image.shape[1::-1]) for frame in frames]

    assert sizes(LimitsConfig()) == [(96, 64), (320, 240), (96, 64)]
    assert sizes(LimitsConfig(max_megapixels=0.01)) == [(96, 64), False, (96, 64)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_with_more_frames_than_the_limit_is_refused(tmp_path, write_video, suffix):
    """MP4 states its number of frames in the header, Matroska does not."""
    path = write_video(tmp_path / f"a{suffix}", [np.zeros((64, 96, 3), np.uint8)] * 9)
    assert len(list(read_frames(probe(clip_of(path), 25, LimitsConfig(max_frames=9))))) == 9
    limits = LimitsConfig(max_frames=8)
    with pytest.raises(InputError, match=r"at most 8 frames, but .* has 9 or more\. .*--max-frames"):
        list(read_frames(probe(clip_of(path), 25, limits)))
    if suffix == ".mkv":
        assert read_timeline(probe(clip_of(path), 25, limits)) is None
        config = PreprocessConfig(DetectConfig(segment_s=0.1), limits=limits)
        assert cut_clip(survey_clip(clip_of(path), config)) == []


def test_an_image_sequence_with_more_frames_than_the_limit_is_refused(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="at most 2 frames"):
        probe(clip_of(tmp_path), 25, LimitsConfig(max_frames=2))


def test_extract_clip_takes_the_limits(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", [np.zeros((64, 96, 3), np.uint8)] * 3)
    with pytest.raises(InputError, match="--max-megapixels"):
        extract_clip(
            survey_clip(clip_of(path), PreprocessConfig(align=AlignConfig(size=16), limits=SMALL)), tmp_path / "part.h5"
        )
    assert not (tmp_path / "part.h5").exists()


def test_preprocess_has_the_limits_as_options_and_as_a_table(tmp_path):
    (tmp_path / "in").mkdir()
    arguments = ["preprocess", str(tmp_path / "in"), str(tmp_path / "out")]
    (tmp_path / "a.toml").write_text("[limits]\nmax_frames = 0\n")
    for options in (["--max-megapixels", "-1"], ["--max-frames", "0"], ["--config", str(tmp_path / "a.toml")]):
        result = CliRunner().invoke(cli, arguments + options)
        assert isinstance(result.exception, SettingError), result.output


def test_limits_are_no_part_of_what_decides_whether_a_clip_is_done():
    assert not set(LimitsConfig.model_fields) & (set(DetectConfig.model_fields) | set(AlignConfig.model_fields))


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.avi\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.avi\n#EXT-X-ENDLIST\n",
        "[playlist]\nFile1=other.avi\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
    ids=["concat", "hls", "pls", "sdp"],
)
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_playlist_that_is_called_a_video_is_none(tmp_path, write_video, text, suffix):
    """FFmpeg would play what the list names: another user's file, or a network address."""
    write_video(tmp_path / "other.avi", [np.full((64, 96, 3), 99, np.uint8)] * 3)
    path = tmp_path / f"list{suffix}"
    path.write_text(text)
    with pytest.raises(InputError, match="Expected a video, but cannot decode"):
        probe(clip_of(path), 25)


def test_a_relative_path_with_a_colon_is_no_address(tmp_path, write_video, monkeypatch):
    write_video(tmp_path / "http:a.mp4", [np.zeros((64, 96, 3), np.uint8)] * 3)
    monkeypatch.chdir(tmp_path)
    assert probe(clip_of(Path("http:a.mp4")), 25).n_expected == 3


def test_named_pipes_called_video_image_or_table_do_not_keep_us_waiting(tmp_path):
    for name in ("a.mp4", "1.png"):
        os.mkfifo(tmp_path / name)
    for name, message in (("a.mp4", "not a regular file"), ("1.png", "cannot decode any")):
        with pytest.raises(InputError, match=message):
            probe(clip_of(tmp_path / name), 25)
        with pytest.raises(InputError, match="regular file"):
            clip_of(tmp_path / name).sha256()
    assert list(sample_frames(ClipMedia(clip_of(tmp_path / "a.mp4"), 25, 8, 8, 0, 25), 3)) == []
