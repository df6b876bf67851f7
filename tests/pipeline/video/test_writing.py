from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from tclr.pipeline.video import VideoWriter
from tclr.schemas.errors import InputError

RATE = 16_000


def grey(level, width=64, height=48):
    return np.full((height, width, 3), level, np.uint8)


@pytest.fixture(scope="module")
def with_tone(tmp_path_factory):
    """Two seconds of black at 25/s, silent but for a tone from 1.0 to 1.5 s."""
    path = tmp_path_factory.mktemp("sound") / "tone.mp4"
    time = np.arange(2 * RATE) / RATE
    wave = np.where((time >= 1) & (time < 1.5), 0.5 * np.sin(2 * np.pi * 440 * time), 0).astype(np.float32)
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=RATE)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio.layout = "mono"
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(grey(0), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        for start in range(0, len(wave), 1000):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1000], format="fltp", layout="mono")
            frame.pts, frame.sample_rate, frame.time_base = start, RATE, Fraction(1, RATE)
            container.mux(audio.encode(frame))
        container.mux(video.encode())
        container.mux(audio.encode())
    return path


def hear(path):
    """Return the loudness of each 20 ms, by time from the first picture."""
    loud = np.zeros(200)
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            wave = frame.to_ndarray()[0]
            for place, sample in zip(
                (frame.time + np.arange(len(wave)) / frame.sample_rate) // 0.02, wave, strict=True
            ):
                if 0 <= place < 200:
                    loud[int(place)] = max(loud[int(place)], abs(sample))
    return loud


def test_frames_keep_their_colours_and_irregular_times(tmp_path):
    times_s = [0, 0.04, 0.1, 0.11, 0.5, 0.5333]
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128), (250, 250, 250), (5, 5, 5)]
    with VideoWriter(tmp_path / "a.mp4", 64, 48, crf=10) as writer:
        for time_s, colour in zip(times_s, colours, strict=True):
            writer.write(np.full((48, 64, 3), colour, np.uint8), time_s)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264" and not container.streams.audio
        frames = list(container.decode(video=0))
    np.testing.assert_allclose([frame.time for frame in frames], times_s, atol=2e-5)
    for frame, colour in zip(frames, colours, strict=True):
        np.testing.assert_allclose(frame.to_ndarray(format="rgb24")[24, 32], colour, atol=6)


def test_times_always_rise(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 64, 48, crf=20) as writer:
        for time_s in (0, 0.04, 0.04):
            writer.write(grey(90), time_s)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert all(a < b for a, b in pairwise(frame.time for frame in container.decode(video=0)))


@pytest.mark.parametrize("start_s", [0.0, 0.6])
def test_sound_stays_with_its_pictures(tmp_path, with_tone, start_s):
    with VideoWriter(tmp_path / "a.mp4", 64, 48, crf=30, sound=with_tone, sound_start_s=start_s) as writer:
        for i in range(35):
            writer.write(grey(i), i / 25)
    heard = np.flatnonzero(hear(tmp_path / "a.mp4") > 0.2) * 0.02
    assert heard[0] == pytest.approx(1 - start_s, abs=0.05)
    assert heard[-1] == pytest.approx(min(1.5 - start_s, 1.4), abs=0.08)


def test_a_file_without_sound_is_silent(tmp_path, write_video):
    source = write_video(tmp_path / "in.mp4", [grey(9)] * 3)
    with VideoWriter(tmp_path / "a.mp4", 64, 48, crf=30, sound=source) as writer:
        writer.write(grey(9), 0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert not container.streams.audio


def test_damaged_sound_is_an_error_that_says_what_to_do(tmp_path, with_tone):
    data = bytearray(with_tone.read_bytes())
    with av.open(str(with_tone)) as container:
        for packet in container.demux(audio=0):
            if packet.size:
                data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    (tmp_path / "damaged.mp4").write_bytes(data)
    with pytest.raises(InputError, match="--no-audio"):
        with VideoWriter(tmp_path / "a.mp4", 64, 48, crf=30, sound=tmp_path / "damaged.mp4") as writer:
            for i in range(50):
                writer.write(grey(3), i / 25)
