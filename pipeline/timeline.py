"""A clip by parts: which frames it has, found without decoding; rows from the middle; a few frames from all over.

A video is cut at its keyframes. What cannot be cut with certainty has no timeline, and is read in one piece:
containers other than MP4, MOV, Matroska, WebM and AVI; codecs that were not tried; packets without a time or with one
that another has; interlaced frames, which need their neighbours; truncated files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

import av
import numpy as np

from tclr.pipeline.deinterlace import Decoded, deinterlace
from tclr.pipeline.images import FrameConverter
from tclr.pipeline.video import (
    ClipMedia,
    Frame,
    Moment,
    check_whole,
    count_frames,
    decode,
    image_moments,
    is_video_clip,
    load_images,
    open_video,
    select,
    to_seconds,
)
from tclr.schemas.errors import InputError, TimelineError, TruncatedError

CUTTABLE_CONTAINERS = frozenset({"mov", "matroska", "avi"})

CUTTABLE_CODECS = frozenset({"av1", "h264", "hevc", "mjpeg", "mpeg4", "prores", "vp8", "vp9"})
"""Those that give one frame a packet and start afresh at a keyframe, as tests show."""

PROGRESSIVE_ORDERS = frozenset({0, 1})
"""``AV_FIELD_UNKNOWN`` and ``AV_FIELD_PROGRESSIVE``."""

UNKNOWN_INDEX = -1
"""``index`` of a frame that was jumped to."""

SEEK_BACK_S = (0.0, 2.0, 10.0, math.inf)
"""How far before a time to seek, one after the other, in formats that may land after it; chosen by us."""

SEEK_TRIES = 3
"""Keyframes to seek to, one before the other: formats that seek by the time of decoding may land too late."""

VP8_SHOWN = 0x10
"""Bit of a VP8 packet's first byte; packets without it give no frame (RFC 6386, 9.1)."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames that ``read_frames`` gives of a clip.

    Attributes
    ----------
    times_s : ndarray
        (N,) float64, rising: ``timestamp_s`` of each.
    index : ndarray
        (N,) int64, rising: ``index`` of each.
    pts : ndarray
        (M,) int64, rising: timestamps of all frames of a video, taken or not, in units of its time base; the
        ``index`` is a position in it. Empty for images.
    key_pts : ndarray
        (K,) int64, rising: timestamps of its keyframes.
    """

    times_s: np.ndarray
    index: np.ndarray
    pts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    key_pts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        """Return N."""
        return len(self.times_s)


def read_timeline(media: ClipMedia, fps: float = 0) -> Timeline | None:
    """Find out which frames ``read_frames(media, fps)`` gives, without decoding.

    Returns
    -------
    Timeline or None
        ``None`` if it cannot be told with certainty, or the clip consists of stills.

    Raises
    ------
    InputError
        If the clip is a part of a video that has no frame there.
    """
    if media.clip.stills:
        return None
    if not is_video_clip(media.clip):
        return _timeline(media, fps, list(image_moments(media)))
    with open_video(media.clip.path) as container:
        if not _can_be_cut(container):
            return None
        found = _scan(container)
        if found is None:
            return None
        pts, key_pts = found
        times_s = to_seconds(pts, container.streams.video[0].time_base)
        count = count_frames(container)
        step_s = 1 / (media.fps or media.image_fps)
        with suppress(TruncatedError):
            check_whole(container, media, len(pts), times_s[-1] + step_s)
            if count in (0, len(pts)):
                moments = [Moment(i, time_s) for i, time_s in enumerate((times_s - times_s[0]).tolist())]
                return _timeline(media, fps, moments, pts, key_pts)
    return None


def _timeline(media: ClipMedia, fps: float, moments: Sequence[Moment], *sources: np.ndarray) -> Timeline | None:
    times_s = [moment.timestamp_s for moment in moments]
    if any(later <= sooner for sooner, later in zip(times_s, times_s[1:], strict=False)):
        return None  # numbers that are written in two ways, as 1 and 01
    rows = list(select(iter(moments), media.clip, fps))
    times_s = np.array([row.timestamp_s for row in rows], np.float64)
    return Timeline(times_s, np.array([row.index for row in rows], np.int64), *sources)


def _can_be_cut(container: av.container.InputContainer) -> bool:
    codec = container.streams.video[0].codec_context
    name = container.format.name.split(",")[0]
    return (
        name in CUTTABLE_CONTAINERS
        and codec.codec.canonical_name in CUTTABLE_CODECS
        and codec.field_order in PROGRESSIVE_ORDERS
        and not (name == "avi" and codec.has_b_frames)  # it does not say when each packet is shown
    )


def _scan(container: av.container.InputContainer) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the timestamps of the frames and of the keyframes of a video, rising; ``None`` if they are doubtful."""
    stream = container.streams.video[0]
    is_vp8 = stream.codec_context.codec.canonical_name == "vp8"
    pts, keys = [], []
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.pts is None or packet.is_corrupt or (is_vp8 and not memoryview(packet)[0] & VP8_SHOWN):
                return None
            if packet.is_keyframe:
                keys.append(packet.pts)  # an edit list may hide it and show what depends on it
            if not packet.is_discard:
                pts.append(packet.pts)
    except av.error.FFmpegError:
        return None
    rising = np.unique(np.array(pts, np.int64))
    if not len(pts) or len(rising) < len(pts) or not keys or min(keys) > rising[0]:
        return None
    return rising, np.array(sorted(keys), np.int64)


def read_rows(media: ClipMedia, timeline: Timeline, start: int, stop: int, *, reduction: int = 1) -> Iterator[Frame]:
    """Decode the rows ``start`` to ``stop`` (not included) of a clip, and little else.

    Parameters
    ----------
    media : ClipMedia
        See ``probe``.
    timeline : Timeline
        See ``read_timeline``.
    start, stop : int
        Positions in the timeline.
    reduction : int
        See ``read_frames``.

    Yields
    ------
    Frame
        The same, to the bit, as ``read_frames`` gives there.

    Raises
    ------
    TimelineError
        If the video does not decode as its timeline says: read it in one piece.
    """
    rows = range(len(timeline))[start:stop]
    if not len(rows):
        return
    if is_video_clip(media.clip):
        yield from _read_video_rows(media, timeline, rows)
        return
    wanted = set(timeline.index[rows.start : rows.stop].tolist())
    yield from load_images((moment for moment in image_moments(media) if moment.index in wanted), reduction)


def _disagrees(media: ClipMedia, reason: str) -> TimelineError:
    return TimelineError(
        f"Expected {media.clip.path} to decode as its packets announce, but {reason}. Read it in one piece."
    )


def _read_video_rows(media: ClipMedia, timeline: Timeline, rows: range) -> Iterator[Frame]:
    wanted = {int(timeline.index[row]): row for row in rows}
    first = int(timeline.index[rows.start])
    # up to the next part's first frame, so that the parts together have seen every frame
    end = int(timeline.index[rows.stop]) if rows.stop < len(timeline) else max(wanted) + 1
    keys = timeline.key_pts[timeline.key_pts <= timeline.pts[first]].tolist()
    position = int(np.searchsorted(timeline.pts, keys[-1]))
    with open_video(media.clip.path) as container:
        convert = FrameConverter(container.streams.video[0], media.clip.path).convert
        for frame in _decode_at(media, container, keys, timeline.pts[position:end]):
            if position in wanted:
                row = wanted[position]
                image = None if frame is None else convert(frame)
                yield Frame(position, float(timeline.times_s[row]), image)
            position += 1


def _decode_at(
    media: ClipMedia, container: av.container.InputContainer, keys: list[int], expected: np.ndarray
) -> Iterator[av.VideoFrame | None]:
    """Yield the frames with the expected timestamps, of which the first is the last of ``keys``."""
    for pts, frame in _decode_from(container, keys):
        if pts is not None and pts < keys[-1]:
            continue  # refers to what lies before the keyframe
        if pts != expected[0]:
            raise _disagrees(media, f"there is a frame at {pts} instead of {expected[0]}")
        if frame is None and pts == keys[-1]:
            raise _disagrees(media, "a keyframe is damaged, so that what follows depends on what came before")
        if frame is not None and frame.interlaced_frame:
            raise _disagrees(media, "it is interlaced")
        yield frame
        expected = expected[1:]
        if not len(expected):
            return
    raise _disagrees(media, f"it ends before {expected[0]}")


def _decode_from(container: av.container.InputContainer, keys: list[int]) -> Iterator[Decoded]:
    """Yield what decodes from the last of ``keys`` on, or from one before it."""
    stream = container.streams.video[0]
    for target in keys[: -1 - SEEK_TRIES : -1]:
        with suppress(av.error.FFmpegError):
            container.seek(target, stream=stream)
            packet = next(container.demux(stream))
            if packet.pts is not None and packet.pts <= keys[-1]:
                container.seek(target, stream=stream)
                return decode(container)
    return iter(())


def sample_frames(media: ClipMedia, n: int, *, reduction: int = 1) -> Iterator[Frame]:
    """Look at up to ``n`` frames spread evenly over a clip, at little cost.

    Of a video they are the first frame and keyframes near the other times, so that a video with few keyframes
    gives few frames. The same call gives the same frames.

    Yields
    ------
    Frame
        In order of time. ``index`` is -1 for keyframes of a video, whose position is not known; ``image`` is
        ``None`` for an image file that cannot be decoded. A video that cannot be decoded gives nothing.
    """
    if n < 1:
        raise ValueError(f"Expected 'n' to be at least 1, but got {n}.")
    if is_video_clip(media.clip):
        yield from _sample_video(media, n)
        return
    rows = list(select(image_moments(media), media.clip, 0))
    places = sorted({k * len(rows) // n for k in range(n)})
    yield from load_images((rows[place] for place in places), reduction)


class _Sampler:
    """Jumps about in the part of a video that a clip takes; times count from the start of that part."""

    def __init__(self, media: ClipMedia, container: av.container.InputContainer) -> None:
        self._clip = media.clip
        self._container = container
        self._stream = container.streams.video[0]
        self._convert = FrameConverter(self._stream, media.clip.path).convert
        self._start_s = 0.0
        self.end_s = min(media.clip.end_s, _duration_s(container)) - media.clip.start_s

    def _time_s(self, pts: int | None) -> float:
        return to_seconds(pts or 0, self._stream.time_base) - self._start_s - self._clip.start_s

    def _seek(self, time_s: float) -> None:
        offset = (self._start_s + self._clip.start_s + time_s) / self._stream.time_base
        self._container.seek(round(offset), stream=self._stream)

    def _frame(self, decoded: Decoded, index: int) -> Frame:
        return Frame(index, self._time_s(decoded[0]), self._convert(decoded[1]))

    def first(self) -> Frame | None:
        """Return the first frame of the clip that can be decoded."""
        start, decoded = self._decode()
        self._start_s = to_seconds(start[0] or 0, self._stream.time_base)
        index = 0
        if self._clip.start_s > 0:
            index = UNKNOWN_INDEX
            start, decoded = self._decode_to_start(start, decoded)
        for found in chain([start], decoded):
            if found[1] is not None and self._time_s(found[0]) >= 0:
                return self._frame(found, index)
        return None

    def _decode(self) -> tuple[Decoded, Iterator[Decoded]]:
        """Return the next frame and those that follow."""
        decoded = deinterlace(decode(self._container))
        return next(decoded, (None, None)), decoded

    def _decode_to_start(self, start: Decoded, decoded: Iterator[Decoded]) -> tuple[Decoded, Iterator[Decoded]]:
        """Return the same from before the clip's start on; some formats need to be sent further back."""
        for back_s in SEEK_BACK_S:
            with suppress(av.error.FFmpegError):
                self._seek(-min(back_s, self._clip.start_s))
                start, decoded = self._decode()
            if start[0] is not None and self._time_s(start[0]) <= 0:
                break
        return start, decoded

    def keyframe_near(self, time_s: float) -> Frame | None:
        """Return the keyframe at or before a time, or in some formats the next one; ``None`` if it cannot be had."""
        with suppress(av.error.FFmpegError):
            self._seek(time_s)
            for packet in self._container.demux(self._stream):
                if packet.is_keyframe and packet.size:
                    frames = packet.decode() or self._stream.decode(None)
                    pictures = deinterlace((frame.pts, frame) for frame in frames[:1] if not frame.is_corrupt)
                    return next((self._frame(picture, UNKNOWN_INDEX) for picture in pictures), None)
        return None


def _sample_video(media: ClipMedia, n: int) -> Iterator[Frame]:
    with suppress(InputError), open_video(media.clip.path) as container:
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


def _duration_s(container: av.container.InputContainer) -> float:
    """Return how long a video takes by its header; 0 if it does not say."""
    stream = container.streams.video[0]
    if stream.duration:
        return to_seconds(stream.duration, stream.time_base)
    return (container.duration or 0) / av.time_base
