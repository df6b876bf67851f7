"""Parts of a clip: a list of its frames without decoding, or an estimate of their number, and any rows, bit for bit.

A video is cut at its keyframes. If that may go wrong, the video has no timeline and is read in one piece: containers
other than MP4, MOV, Matroska, WebM and AVI; untested codecs; packets without a time, or two with the same time;
interlaced frames, which need their neighbours; truncated files. Pictures that change their size show while a part is
decoded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import av
import numpy as np

from tclr.pipeline.sources import Clip
from tclr.pipeline.video.animation import describe_animation
from tclr.pipeline.video.decoding import (
    count_frames,
    decode,
    open_video,
    read_duration_s,
    to_seconds,
    video_stream,
)
from tclr.pipeline.video.deinterlace import Decoded
from tclr.pipeline.video.frames import ClipMedia, Frame, Moment
from tclr.pipeline.video.images import FrameConverter
from tclr.pipeline.video.reading import (
    check_whole,
    is_animation,
    is_video_clip,
    list_image_files,
    list_images,
    load_images,
    select,
)
from tclr.schemas.config import DetectConfig, LimitsConfig
from tclr.schemas.errors import TimelineError, TruncatedError

CUTTABLE_CONTAINERS = frozenset({"mov", "matroska", "avi"})

CUTTABLE_CODECS = frozenset({"av1", "h264", "hevc", "mjpeg", "mpeg4", "prores", "vp8", "vp9"})
"""Codecs that have one frame per packet and start afresh at a keyframe, as tests show."""

PROGRESSIVE_ORDERS = frozenset({0, 1})
"""``AV_FIELD_UNKNOWN`` and ``AV_FIELD_PROGRESSIVE``."""

SEEK_TRIES = 3
"""Keyframes to try, each before the last: formats that seek by decoding time may land too late."""

VP8_SHOWN = 0x10
"""Bit of a VP8 packet's first byte; packets without it give no frame (RFC 6386, 9.1)."""

NO_PTS = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Timeline:
    """The N frames that ``read_frames`` yields for a clip; arrays are increasing."""

    times_s: np.ndarray
    """(N,) float64: ``timestamp_s`` of each."""
    index: np.ndarray
    """(N,) int64: ``index`` of each."""
    pts: np.ndarray
    """(M,) int64: timestamps of all frames of a video, selected or not, in its time base. Empty for images."""
    key_pts: np.ndarray
    """(K,) int64: timestamps of its keyframes."""
    first: int
    """``index`` of the first frame in ``pts``."""
    end: int
    """``index`` after the last frame that is decoded."""
    stands_alone: bool
    """Whether each frame of the video is a keyframe."""

    def __len__(self) -> int:
        """Return N."""
        return len(self.times_s)

    def part(self, start: int, stop: int) -> Timeline:
        """Return what ``read_rows`` needs for the rows ``start`` to ``stop`` (not included) alone, counted from 0."""
        part = replace(self, times_s=self.times_s[start:stop], index=self.index[start:stop])
        if not len(self.pts):
            return part
        end = int(self.index[stop]) if stop < len(self) else self.end
        n_before = int(np.searchsorted(self.key_pts, self.pts[part.index[0] - self.first], side="right"))
        place = int(np.searchsorted(self.pts, self.key_pts[n_before - 1]))
        pts, key_pts = self.pts[place : end - self.first], self.key_pts[max(n_before - SEEK_TRIES, 0) :]
        return replace(part, pts=pts, key_pts=key_pts[key_pts <= pts[-1]], first=self.first + place, end=end)


def read_timeline(media: ClipMedia, fps: float = 0) -> Timeline | None:
    """Return the frames that ``read_frames(media, fps)`` yields, without decoding.

    Return ``None`` if they are uncertain, or if the clip consists of stills or is an animated picture.

    Raises
    ------
    InputError
        If the clip is a part of a video that has no frames there.

    Examples
    --------
    >>> from tclr.pipeline.sources import find_clips
    >>> read_timeline(probe(find_clips(Path("clips"))[0], image_fps=25)).index[:3]
    array([966, 967, 968])
    """
    if media.clip.stills or is_animation(media.clip):
        return None
    if not is_video_clip(media.clip):
        return _timeline(media, fps, list(list_image_files(media)), NO_PTS, NO_PTS)
    with open_video(media.clip.path, media.limits) as container:
        if not _can_be_cut(container):
            return None
        found = _scan(container, media.limits.max_frames)
        if found is None:
            return None
        pts, key_pts = found
        times_s = to_seconds(pts, video_stream(container))
        try:
            check_whole(container, media, len(pts), times_s[-1] + media.step_s)
        except TruncatedError:
            return None
        if count_frames(container) not in (0, len(pts)):
            return None
    moments = [Moment(i, time_s) for i, time_s in enumerate((times_s - times_s[0]).tolist())]
    return _timeline(media, fps, moments, pts, key_pts)


def _timeline(
    media: ClipMedia, fps: float, moments: Sequence[Moment], pts: np.ndarray, key_pts: np.ndarray
) -> Timeline | None:
    """Return the timeline of all frames of a source, ``None`` if two have the same time."""
    if any(np.diff([moment.timestamp_s for moment in moments]) <= 0):
        return None
    rows = list(select(iter(moments), media.clip, fps))
    times_s, index = np.array([row.timestamp_s for row in rows]), np.array([row.index for row in rows], np.int64)
    return Timeline(times_s, index, pts, key_pts, 0, rows[-1].index + 1, len(key_pts) >= len(pts))


def _can_be_cut(container: av.container.InputContainer) -> bool:
    codec = video_stream(container).codec_context
    name = container.format.name.split(",")[0]
    return (
        name in CUTTABLE_CONTAINERS
        and codec.codec.canonical_name in CUTTABLE_CODECS
        and codec.field_order in PROGRESSIVE_ORDERS
        and not (name == "avi" and codec.has_b_frames)  # AVI does not state when each packet is shown
    )


def _scan(container: av.container.InputContainer, max_frames: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the timestamps of a video's frames and keyframes, increasing; ``None`` if doubtful or too many."""
    stream = video_stream(container)
    is_vp8 = stream.codec_context.codec.canonical_name == "vp8"
    pts, keys = [], []
    try:
        for packet in container.demux(stream):
            if not packet.size:
                continue
            if packet.pts is None or packet.is_corrupt or (is_vp8 and not memoryview(packet)[0] & VP8_SHOWN):
                return None
            if packet.is_keyframe:
                keys.append(packet.pts)  # an edit list may hide it but show frames that depend on it
            if not packet.is_discard:
                pts.append(packet.pts)
            if len(pts) > max_frames:
                return None
    except av.error.FFmpegError:
        return None
    rising = np.unique(np.array(pts, np.int64))
    if not len(pts) or len(rising) < len(pts) or not keys or min(keys) > rising[0]:
        return None
    return rising, np.array(sorted(keys), np.int64)


def read_rows(media: ClipMedia, timeline: Timeline, start: int, stop: int, *, reduction: int = 1) -> Iterator[Frame]:
    """Decode the rows ``start`` to ``stop`` (excluded) of a clip's timeline, and little else.

    Frames equal those of ``read_frames``, bit for bit.

    Raises
    ------
    TimelineError
        If the video does not decode as its timeline states: read it in one piece.

    Examples
    --------
    >>> from tclr.pipeline.sources import find_clips
    >>> media = probe(find_clips(Path("clips"))[0], image_fps=25)
    >>> [frame.index for frame in read_rows(media, read_timeline(media), 2, 5)]
    [968, 969, 970]
    """
    rows = range(len(timeline))[start:stop]
    if not len(rows):
        return
    if is_video_clip(media.clip):
        yield from _read_video_rows(media, timeline, rows)
        return
    wanted = set(timeline.index[rows.start : rows.stop].tolist())
    yield from load_images((moment for moment in list_image_files(media) if moment.index in wanted), reduction)


def _disagrees(media: ClipMedia, reason: str) -> TimelineError:
    return TimelineError(
        f"Expected {media.clip.path} to decode as its packets announce, but {reason}. Read it in one piece."
    )


def _read_video_rows(media: ClipMedia, timeline: Timeline, rows: range) -> Iterator[Frame]:
    wanted = {int(timeline.index[row]): row for row in rows}
    first = int(timeline.index[rows.start]) - timeline.first
    # up to the next part's first frame, so that the parts together decode every frame
    end = int(timeline.index[rows.stop]) if rows.stop < len(timeline) else timeline.end
    keys = timeline.key_pts[timeline.key_pts <= timeline.pts[first]].tolist()
    place = int(np.searchsorted(timeline.pts, keys[-1]))
    position, expected = timeline.first + place, timeline.pts[place : end - timeline.first]
    with open_video(media.clip.path, media.limits) as container:
        converter = FrameConverter(video_stream(container), media.clip.path, (media.width, media.height))
        for frame in _decode_at(media, container, keys, expected, timeline.stands_alone):
            if position in wanted:
                row = wanted[position]
                if frame is not None and converter.fitted_from(frame):
                    raise _disagrees(media, "pictures change their size")  # which is reported of the whole clip
                image = None if frame is None else converter.convert(frame)
                yield Frame(position, float(timeline.times_s[row]), image)
            position += 1


def _decode_at(
    media: ClipMedia, container: av.container.InputContainer, keys: list[int], expected: np.ndarray, stands_alone: bool
) -> Iterator[av.VideoFrame | None]:
    """Yield the frames at the expected timestamps, of which the first is the last of ``keys``.

    If every frame ``stands_alone``, a damaged one is ``None``. Otherwise it is an error: what follows would depend on
    where decoding began.
    """
    for pts, frame in _decode_from(container, keys):
        if pts is not None and pts < keys[-1]:
            continue  # depends on frames before the keyframe
        if pts != expected[0]:
            raise _disagrees(media, f"there is a frame at {pts} instead of {expected[0]}")
        if frame is None and not stands_alone:
            raise _disagrees(media, "it is damaged, and later frames depend on earlier ones")
        if frame is not None and frame.interlaced_frame:
            raise _disagrees(media, "it is interlaced")
        yield frame
        expected = expected[1:]
        if not len(expected):
            return
    raise _disagrees(media, f"it ends before {expected[0]}")


def _decode_from(container: av.container.InputContainer, keys: list[int]) -> Iterator[Decoded]:
    """Yield decoded frames from the last of ``keys``, or from an earlier one."""
    stream = video_stream(container)
    for target in keys[: -1 - SEEK_TRIES : -1]:
        with suppress(av.error.FFmpegError):
            container.seek(target, stream=stream)
            packet = next(container.demux(stream))
            if packet.pts is not None and packet.pts <= keys[-1]:
                container.seek(target, stream=stream)
                return decode(container)
    return iter(())


def estimate_frames(clip: Clip, detect: DetectConfig, limits: LimitsConfig) -> float:
    """Return about how many frames a clip will have in the store; 0 if its header does not state it.

    Raises
    ------
    InputError
        If it is not a video, or is larger than the limit.

    Examples
    --------
    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.schemas.config import DEFAULT_LIMITS, DetectConfig
    >>> estimate_frames(find_clips(Path("clips"))[0], DetectConfig(fps=5), DEFAULT_LIMITS)
    3.2
    """
    if clip.stills:
        return len(clip.stills)
    n_frames, rate = _read_header(clip, detect, limits)
    if not rate:
        return n_frames
    n_frames = max(min(n_frames, clip.end_s * rate) - clip.start_s * rate, 0)
    return n_frames * min(detect.fps / rate, 1) if detect.fps else n_frames


def _read_header(clip: Clip, detect: DetectConfig, limits: LimitsConfig) -> tuple[float, float]:
    """Return the number of frames and their rate per second."""
    if is_animation(clip):
        _, _, n_frames, rate = describe_animation(clip, limits)
        return n_frames, rate
    if not is_video_clip(clip):
        return len(list_images(clip)), clip.image_fps or detect.image_fps
    with open_video(clip.path, limits) as container:
        rate = float(video_stream(container).average_rate or 0)
        return count_frames(container) or math.floor(read_duration_s(container) * rate), rate
