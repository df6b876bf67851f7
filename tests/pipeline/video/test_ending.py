"""Videos that are cut off: told of each container, and of no whole one."""

import av
import numpy as np
import pytest

from tclr.pipeline.sources import Clip
from tclr.pipeline.video import probe, read_frames, read_timeline
from tclr.pipeline.video.ending import is_file_cut
from tclr.schemas.errors import TruncatedError

N_FRAMES = 50
TS_PACKET = 188
"""Bytes of a packet of MPEG-TS."""
VP8 = {"codec": "libvpx", "codec_options": {"deadline": "realtime", "cpu-used": "8"}}
CONTAINERS = {
    "fragmented.mp4": {"options": {"movflags": "frag_keyframe+empty_moov"}, "codec_options": {"g": "10"}},
    "first_fragment_counted.mp4": {"options": {"movflags": "frag_keyframe"}, "codec_options": {"g": "10"}},
    "faststart.mp4": {"options": {"movflags": "faststart"}},
    "a.mkv": {},
    "live.mkv": {"options": {"live": "1"}},
    "live.webm": VP8 | {"options": {"live": "1"}},
    "a.webm": VP8,
    "a.flv": {},
    "a.wmv": {"codec": "wmv2"},
    "a.ogv": {"codec": "libvpx"},
    "a.mxf": {"codec": "mpeg2video"},
    "a.avi": {"codec": "mpeg4"},
}


def noise():
    """Pictures that do not compress, so that every part of a file is frames."""
    return list(np.random.default_rng(0).integers(0, 255, (N_FRAMES, 64, 96, 3), np.uint8))


def media_of(path):
    return probe(Clip("folder", "s", "c", path, path.name), 25)


def read(path):
    """Return the number of frames, and the error after the last one."""
    n_frames = 0
    try:
        for _ in read_frames(media_of(path)):
            n_frames += 1
    except TruncatedError as error:
        return n_frames, str(error)
    return n_frames, ""


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_cut_is_told_in_each_container_and_whole_files_pass(tmp_path, write_video, name):
    path = write_video(tmp_path / name, noise(), **CONTAINERS[name])
    data = path.read_bytes()
    assert read(path) == (N_FRAMES, "")
    for share in (0.55, 0.7, 0.9):
        path.write_bytes(data[: int(share * len(data))])
        n_frames, error = read(path)
        assert 0.4 * N_FRAMES < n_frames < 0.95 * N_FRAMES
        assert "but the video ends after" in error and "--allow-truncated" in error
        assert read_timeline(media_of(path)) is None


def test_a_recorded_broadcast_may_end_anywhere(tmp_path, write_video):
    path = write_video(tmp_path / "a.ts", noise())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    n_frames, error = read(path)
    assert N_FRAMES / 2 < n_frames < N_FRAMES and not error
    path.write_bytes(data[: -4 * TS_PACKET] + data[-3 * TS_PACKET :])  # a loss in the last frame
    assert not read(path)[1]


def test_the_last_packet_is_told_to_be_cut_before_the_count_shows_it(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", noise(), options={"movflags": "faststart"}, codec_options={"bf": "0"})
    path.write_bytes(path.read_bytes()[:-100])
    assert "before its container does" in read(path)[1]


@pytest.mark.parametrize("name", ["a.ogv", "a.mp4"])
def test_a_tag_of_duration_from_another_file_is_no_truncation(tmp_path, write_video, name):
    def tag(stream):
        stream.metadata["DURATION"] = "00:00:09.000000000"

    path = write_video(tmp_path / name, noise(), tune=tag, **CONTAINERS.get(name, {}))
    assert read(path) == (N_FRAMES, "")


def test_ogg_whose_last_page_is_missing_is_told(tmp_path, write_video):
    path = write_video(tmp_path / "a.ogv", noise(), **VP8)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"OggS")])
    assert read(path)[1]


def test_an_error_of_the_demuxer_is_told(tmp_path, write_video):
    images = list(np.random.default_rng(0).integers(0, 255, (60, 240, 320, 3), np.uint8))
    options = {"g": "10", "preset": "ultrafast"}
    path = write_video(tmp_path / "a.mp4", images, **CONTAINERS["fragmented.mp4"] | {"codec_options": options})
    data = bytearray(path.read_bytes())
    place = data.index(b"trun", len(data) * 3 // 4)
    data[place + 4 : place + 8] = b"\xff\xff\xff\xff"  # the flags that say what the fragment states of each frame
    path.write_bytes(data)
    with av.open(str(path)) as container, pytest.raises(av.error.FFmpegError):
        list(container.demux(video=0))
    n_frames, error = read(path)
    assert 30 <= n_frames < 60 and "but the video cannot be read after" in error


@pytest.mark.parametrize("padding", [b"", bytes(5), bytes(4000)])
@pytest.mark.parametrize("name", ["a.mkv", "a.flv", "a.wmv", "fragmented.mp4", "a.mp4"])
def test_padding_after_the_end_is_no_truncation(tmp_path, write_video, name, padding):
    path = write_video(tmp_path / name, noise()[:10], **CONTAINERS.get(name, {}))
    path.write_bytes(path.read_bytes() + padding)
    assert read(path) == (10, "")


@pytest.mark.parametrize("name", ["matroska,webm", "mov,mp4", "flv", "asf", "ogg", "mxf"])
def test_no_bytes_break_the_search_for_the_end(tmp_path, name):
    rng, path = np.random.default_rng(0), tmp_path / "a"
    for n_bytes in (0, 1, 7, 30, 300, 3000):
        path.write_bytes(rng.integers(0, 256, n_bytes, np.uint8).tobytes())
        assert is_file_cut(path, name) in (True, False)


@pytest.mark.parametrize("name", ["trunc_vp9.webm", "trunc_x.flv", "trunc_x.wmv", "trunc_fmp4.mp4"])
def test_shared_videos_that_were_cut_off_are_told(shared_data, name):
    n_frames, error = read(shared_data / "hard" / name)
    assert n_frames > 25 and "--allow-truncated" in error


@pytest.mark.parametrize(("name", "n_frames"), [("stale_duration.ogv", 30), ("starts_negative.mkv", 60)])
def test_shared_videos_that_are_whole_are_read(shared_data, name, n_frames):
    assert read(shared_data / "hard" / name) == (n_frames, "")
