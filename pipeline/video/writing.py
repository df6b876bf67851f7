"""The only encoder: RGB frames with times in, H.264 in MP4 out, with the sound of another file.

Times may be irregular; frames keep them.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from tclr.schemas.errors import InputError

CLOCK = 90_000
"""Timestamp ticks per second, as in MPEG; frames at all usual rates last a whole number of them."""
BT709, LIMITED_RANGE = 1, 1
"""Codes of ITU-T H.273 and of FFmpeg; players would guess untagged colours from the size of the video."""


class VideoWriter:
    """Writes one MP4 of frames with even width and height; use it in a ``with`` statement.

    ``crf`` is x264's constant rate factor, 0 (lossless) to 51. The first audio stream of the file ``sound``, if any, is
    added as AAC; ``sound_start_s``, in seconds on that file's clock, becomes 0.

    >>> from tclr.pipeline.sources import find_clips
    >>> with VideoWriter(Path("grey.mp4"), width=64, height=48, crf=23) as writer:
    ...     for time_s in (0.0, 0.04, 0.1):
    ...         writer.write(np.full((48, 64, 3), 128, np.uint8), time_s)
    >>> [frame.timestamp_s for frame in read_frames(probe(*find_clips(Path("grey.mp4")), image_fps=25))]
    [0.0, 0.04, 0.1]
    """

    def __init__(
        self, path: Path, width: int, height: int, *, crf: int, sound: Path | None = None, sound_start_s: float = 0.0
    ) -> None:
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        self._stream = self._container.add_stream("libx264", options={"crf": str(crf), "preset": "veryfast"})
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.time_base = self._stream.time_base = Fraction(1, CLOCK)
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        self._last_pts = -1
        self._audio: Iterator[av.AudioFrame] = iter(())
        if sound is not None and (rate := _audio_rate(sound)):
            self._audio_stream = self._container.add_stream("aac", rate=rate)
            self._audio = _audio_frames(sound, sound_start_s)
        self._held = next(self._audio, None)

    def write(self, image: np.ndarray, timestamp_s: float) -> None:
        """Add a frame, (height, width, 3) uint8 RGB, shown later than the previous one."""
        picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        picture.pts = self._last_pts = max(round(timestamp_s * CLOCK), self._last_pts + 1)
        picture.time_base = Fraction(1, CLOCK)
        self._write_sound(timestamp_s)
        self._container.mux(self._stream.encode(picture))

    def _write_sound(self, until_s: float) -> None:
        while self._held is not None and (self._held.time or 0.0) <= until_s:
            self._container.mux(self._audio_stream.encode(self._held))
            self._held = next(self._audio, None)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())
            if self._container.streams.audio:
                self._container.mux(self._audio_stream.encode())
        self._container.close()


def _audio_rate(path: Path) -> int:
    """Return samples per second of a file's first audio stream, 0 without one."""
    with av.open(str(path)) as container:
        return container.streams.audio[0].rate if container.streams.audio else 0


def _audio_frames(path: Path, start_s: float) -> Iterator[av.AudioFrame]:
    """Yield the audio from ``start_s`` on the file's clock on; timestamps count from there."""
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(audio=0):
                time_s = (frame.time or 0.0) - start_s
                if time_s >= 0:
                    frame.pts, frame.time_base = round(time_s * frame.sample_rate), Fraction(1, frame.sample_rate)
                    yield frame
    except av.error.FFmpegError as error:
        raise InputError(
            f"Cannot decode the sound of {path}: {error.strerror}. Leave it out with --no-audio."
        ) from error
