"""A few frames from across a clip, at little cost, to see what it shows before it is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain, takewhile

import av

from tclr.pipeline.video.decoding import decode, open_video, to_seconds, video_stream
from tclr.pipeline.video.deinterlace import Decoded, deinterlace
from tclr.pipeline.video.frames import ClipMedia, DecodedFrame, Frame
from tclr.pipeline.video.images import FrameConverter
from tclr.pipeline.video.reading import (
    animation_frames,
    is_animation,
    is_video_clip,
    list_image_files,
    load_images,
    resample,
    select,
)
from tclr.schemas.errors import InputError

UNKNOWN_INDEX = -1
"""``index`` of a frame reached by seeking."""

SEEK_BACK_S = (0.0, 2.0, 10.0, math.inf)
"""How far before a time to seek, tried in turn: some formats land after the requested time."""


def sample_frames(media: ClipMedia, n: int, *, reduction: int = 1) -> Iterator[Frame]:
    """Yield up to ``n`` frames spread evenly over a clip, in order of time; the same call gives the same frames.

    A video gives its first frame and keyframes near the other times. With few keyframes it gives few frames, and none
    if it cannot be decoded. ``index`` is -1 for keyframes, whose position is unknown; ``image`` is ``None`` for an
    image file that cannot be decoded.

    >>> from tclr.pipeline.sources import find_clips
    >>> media = probe(find_clips(Path("clips"))[0], image_fps=25)
    >>> [frame.index for frame in sample_frames(media, 4)]
    [966, 970, 974, 978]
    """
    if n < 1:
        raise ValueError(f"Expected 'n' to be at least 1, but got {n}.")
    if is_video_clip(media.clip):
        yield from _sample_video(media, n)
        return
    if is_animation(media.clip):
        yield from _sample_animation(media, n)
        return
    rows = list(select(list_image_files(media), media.clip, 0))
    places = sorted({k * len(rows) // n for k in range(n)})
    yield from load_images((rows[place] for place in places), reduction)


def sample_start(media: ClipMedia, seconds: float, fps: float) -> Iterator[Frame]:
    """Yield frames of a clip's first seconds, ``fps`` per second; those that cannot be decoded are left out.

    >>> from tclr.pipeline.sources import find_clips
    >>> media = probe(find_clips(Path("clips"))[0], image_fps=25)
    >>> [frame.index for frame in sample_start(media, seconds=0.5, fps=5)]
    [966, 971, 976]
    """
    if is_animation(media.clip):
        yield from takewhile(
            lambda frame: frame.timestamp_s < seconds, select(animation_frames(media), media.clip, fps)
        )
        return
    if not is_video_clip(media.clip):
        rows = takewhile(lambda row: row.timestamp_s < seconds, select(list_image_files(media), media.clip, fps))
        yield from load_images(rows, 1)
        return
    with suppress(InputError, av.error.FFmpegError), open_video(media.clip.path, media.limits) as container:
        yield from _Sampler(media, container).start(seconds, fps)


def _sample_animation(media: ClipMedia, n: int) -> Iterator[Frame]:
    places = {k * media.n_expected // n for k in range(n)}
    with suppress(InputError):
        for row, frame in enumerate(select(animation_frames(media), media.clip, 0)):
            if row in places:
                yield frame


class _Sampler:
    """Seeks in the part of a video that a clip covers; times count from the start of that part."""

    def __init__(self, media: ClipMedia, container: av.container.InputContainer) -> None:
        self._clip = media.clip
        self._container = container
        self._stream = video_stream(container)
        self._convert = FrameConverter(self._stream, media.clip.path, (media.width, media.height)).convert
        self._start_s = 0.0
        self.end_s = min(media.clip.end_s, media.duration_s) - media.clip.start_s

    def _time_s(self, pts: int | None) -> float:
        return to_seconds(pts or 0, self._stream) - self._start_s - self._clip.start_s

    def _seek(self, time_s: float) -> None:
        offset_s = self._start_s + self._clip.start_s + time_s
        self._container.seek(round(offset_s / to_seconds(1, self._stream)), stream=self._stream)

    def _frame(self, pts: int | None, frame: av.VideoFrame, index: int) -> Frame:
        return Frame(index, self._time_s(pts), self._convert(frame))

    def first(self) -> Frame | None:
        """Return the clip's first frame that can be decoded."""
        return next((self._show(row) for row in self._from_start()), None)

    def start(self, seconds: float, fps: float) -> Iterator[Frame]:
        """Yield frames of the clip's first seconds that can be decoded, ``fps`` per second."""
        end_s = min(seconds, self._clip.end_s - self._clip.start_s)
        rows = takewhile(lambda row: row.timestamp_s < end_s, self._from_start())
        return map(self._show, resample(rows, fps))

    def _from_start(self) -> Iterator[DecodedFrame]:
        start, decoded = self._decode()
        self._start_s = to_seconds(start[0] or 0, self._stream)
        index = 0
        if self._clip.start_s > 0:
            index = UNKNOWN_INDEX
            start, decoded = self._decode_to_start(start, decoded)
        for pts, picture in chain([start], decoded):
            if picture is not None and self._time_s(pts) >= 0:
                yield DecodedFrame(index, self._time_s(pts), picture)

    def _show(self, row: DecodedFrame) -> Frame:
        return Frame(row.index, row.timestamp_s, None if row.picture is None else self._convert(row.picture))

    def _decode(self) -> tuple[Decoded, Iterator[Decoded]]:
        """Return the next frame and those that follow."""
        decoded = deinterlace(decode(self._container))
        return next(decoded, (None, None)), decoded

    def _decode_to_start(self, start: Decoded, decoded: Iterator[Decoded]) -> tuple[Decoded, Iterator[Decoded]]:
        """Return the same from at or before the clip's start; some formats must seek further back."""
        for back_s in SEEK_BACK_S:
            with suppress(av.error.FFmpegError):
                self._seek(-min(back_s, self._clip.start_s))
                start, decoded = self._decode()
            if start[0] is not None and self._time_s(start[0]) <= 0:
                break
        return start, decoded

    def keyframe_near(self, time_s: float) -> Frame | None:
        """Return the keyframe at or before a time, or in some formats the next one; ``None`` on failure."""
        with suppress(av.error.FFmpegError):
            self._seek(time_s)
            for packet in self._container.demux(self._stream):
                if packet.is_keyframe and packet.size:
                    frames = packet.decode() or self._stream.decode(None)
                    sound = ((frame.pts, frame) for frame in frames[:1] if not frame.is_corrupt)
                    pictures = (self._frame(pts, frame, UNKNOWN_INDEX) for pts, frame in deinterlace(sound) if frame)
                    return next(pictures, None)
        return None


def _sample_video(media: ClipMedia, n: int) -> Iterator[Frame]:
    with suppress(InputError), open_video(media.clip.path, media.limits) as container:
        sampler = _Sampler(media, container)
        last = sampler.first()
        if last is None:
            return
        yield last
        for k in range(1, n):
            frame = sampler.keyframe_near(k * sampler.end_s / n)
            if frame is not None and last.timestamp_s < frame.timestamp_s < sampler.end_s:
                yield frame
                last = frame
