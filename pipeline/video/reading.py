"""Frames with exact timestamps from a video, an animated picture, an image sequence or a still image.

Frames stream one at a time and are not kept. A frame that cannot be decoded keeps its place, without an image.
docs/time.md describes how each kind of video is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import av

from tclr.pipeline.sources import Clip, is_animated, is_image, numbered_images
from tclr.pipeline.video.animation import describe_animation, read_animation
from tclr.pipeline.video.decoding import (
    count_frames,
    decode,
    list_streams,
    not_a_video,
    open_video,
    read_duration_s,
    to_seconds,
    video_stream,
)
from tclr.pipeline.video.deinterlace import deinterlace
from tclr.pipeline.video.ending import Ending, is_file_cut
from tclr.pipeline.video.frames import ClipMedia, DecodedFrame, Frame, ImageFile, Moments
from tclr.pipeline.video.images import FrameConverter, read_image
from tclr.pipeline.video.start import find_delay_s, find_origin_s
from tclr.schemas.config import DEFAULT_LIMITS, LimitsConfig
from tclr.schemas.errors import InputError, TruncatedError

TRUNCATION_SLACK_FRAMES = 2
"""Frames that may be missing from a container's count: some writers are off by one or two."""


def _too_long(path: Path, limits: LimitsConfig, n_frames: int) -> InputError:
    return InputError(
        f"Expected clips of at most {limits.max_frames} frames, but {path} has {n_frames} or more. "
        "Cut it, take it out of the source folder, or raise --max-frames."
    )


def list_images(clip: Clip) -> list[tuple[int, Path]]:
    """Return the numbers and files of an image clip, sorted by number."""
    if clip.stills:
        return list(enumerate(clip.stills, start=clip.first))
    return numbered_images(clip.path) if clip.path.is_dir() else [(0, clip.path)]


def is_video_clip(clip: Clip) -> bool:
    """Return whether a clip is a video rather than images.

    >>> from tclr.pipeline.sources import find_clips
    >>> is_video_clip(find_clips(Path("clips"))[0])
    False
    """
    return not clip.stills and clip.memory is None and not is_image(clip.path) and not clip.path.is_dir()


def is_animation(clip: Clip) -> bool:
    """Return whether a clip is an animated picture, or frames in memory, which are read like one."""
    return clip.memory is not None or (not clip.stills and is_animated(clip.path))


def probe(clip: Clip, image_fps: float, limits: LimitsConfig = DEFAULT_LIMITS) -> ClipMedia:
    """Describe a clip without decoding more than its first image.

    ``image_fps`` is the frame rate of image sequences whose dataset does not fix one.

    Raises
    ------
    InputError
        If the clip is not a video or image, its folder has no numbered image, its frames cannot be shown upright, or
        its header exceeds a limit.

    Examples
    --------
    >>> from tclr.pipeline.sources import find_clips
    >>> media = probe(find_clips(Path("clips"))[0], image_fps=25)
    >>> media.width, media.height, media.n_expected
    (480, 480, 16)
    """
    if is_animation(clip):
        return _probe_animation(clip, image_fps, limits)
    return (_probe_video if is_video_clip(clip) else _probe_images)(clip, image_fps, limits)


def _probe_images(clip: Clip, image_fps: float, limits: LimitsConfig) -> ClipMedia:
    images = list_images(clip)
    if not images:
        raise InputError(f"Expected numbered images (0001.jpg), but found none in {clip.path}.")
    if len(images) > limits.max_frames:
        raise _too_long(clip.path, limits, len(images))
    first = next((image for _, file in images if (image := read_image(file, 1, limits)[0]) is not None), None)
    if first is None:
        raise InputError(f"Expected an image, but cannot decode any in {clip.path}. Check the files.")
    height, width = first.shape[:2]
    rate = clip.image_fps or image_fps
    return ClipMedia(clip, rate, width, height, len(images), rate, limits=limits)


def _probe_animation(clip: Clip, image_fps: float, limits: LimitsConfig) -> ClipMedia:
    width, height, n_frames, rate = describe_animation(clip, limits)
    if n_frames > limits.max_frames:
        raise _too_long(clip.path, limits, n_frames)
    return ClipMedia(clip, rate, width, height, n_frames, image_fps, limits=limits)


def _probe_video(clip: Clip, image_fps: float, limits: LimitsConfig) -> ClipMedia:
    with open_video(clip.path, limits) as container:
        stream = video_stream(container)
        rate = float(stream.average_rate or stream.base_rate or 0)
        n_expected = count_frames(container)
        if n_expected > limits.max_frames:
            raise _too_long(clip.path, limits, n_expected)
        decoded = decode(container)
        pts, shown = next(decoded, (0, None))
        shown = shown or next((frame for _, frame in decoded if frame is not None), None)
        size = (stream.width, stream.height) if shown is None else FrameConverter(stream, clip.path).size(shown)
        media = ClipMedia(clip, rate, *size, n_expected, image_fps, read_duration_s(container), limits)
        origin_s = find_origin_s(media, container, pts)
        delay_s = find_delay_s(container, origin_s)
        return replace(media, origin_s=origin_s, start_s=delay_s, note=_describe_streams(container))


def _describe_streams(container: av.container.InputContainer) -> str:
    """Return which of several video streams is read; "" for one."""
    streams, taken = list_streams(container), video_stream(container)
    if len(streams) == 1:
        return ""
    place = f"number {streams.index(taken) + 1}" if taken.index != streams[0].index else "the first"
    return f"{len(streams)} video streams: {place}, {taken.width}x{taken.height}, was read"


def check_whole(
    container: av.container.InputContainer, media: ClipMedia, n_frames: int, end_s: float, ending: Ending | None = None
) -> None:
    """Raise ``TruncatedError`` if a video has fewer frames than its header states, or its file has no end.

    AVI counts frames that were dropped, which have no packet: there it is the time that must agree.
    """
    if container.format.name == "avi" and media.fps:
        promised_s = media.n_expected / media.fps
        if end_s < promised_s - TRUNCATION_SLACK_FRAMES / media.fps:
            raise _truncated(media, f"{promised_s:.2f} s", f"ends after {end_s:.2f} s")
    elif n_frames < media.n_expected - TRUNCATION_SLACK_FRAMES:
        raise _truncated(media, f"{media.n_expected} frames", f"ends after {n_frames}")
    promised = f"{media.duration_s:.2f} s" if media.duration_s > end_s else "a complete file"
    if ending is not None and ending.error:
        raise _truncated(media, promised, f"cannot be read after {end_s:.2f} s ({ending.error})")
    if (ending is not None and ending.is_cut) or is_file_cut(media.clip.path, container.format.name):
        raise _truncated(media, promised, f"ends after {end_s:.2f} s, before its container does")


def _truncated(media: ClipMedia, expected: str, got: str) -> TruncatedError:
    return TruncatedError(
        f"Expected {expected}, but the video {got}: {media.clip.path} is damaged or truncated. "
        "Copy or convert it again, or keep what is there with --allow-truncated."
    )


def _next_time_s(media: ClipMedia, time_s: float | None, last_s: float | None) -> float:
    """Return the time of the frame after one at ``last_s``, which is never earlier.

    A step back of more than half a frame is an error; a smaller one is jitter of the clock.
    """
    if last_s is None:
        return 0.0
    if time_s is None:  # a frame without a timestamp follows the last one at the nominal rate
        return last_s + media.step_s
    if time_s < last_s - media.step_s / 2:
        raise InputError(
            f"Expected frames in order of time, but {media.clip.path} goes back from {last_s:g} to {time_s:g} s. "
            "Give it new timestamps, for instance with ffmpeg -fflags +igndts -i IN -fps_mode vfr OUT."
        )
    return max(last_s, time_s)


def _decode_all(media: ClipMedia, container: av.container.InputContainer) -> Iterator[DecodedFrame]:
    stream, ending = video_stream(container), Ending()
    last_s, n_frames = None, 0
    for n_frames, (pts, frame) in enumerate(deinterlace(decode(container, ending)), start=1):
        if n_frames > media.limits.max_frames:
            raise _too_long(media.clip.path, media.limits, n_frames)
        last_s = _next_time_s(media, None if pts is None else to_seconds(pts, stream) - media.origin_s, last_s)
        yield DecodedFrame(n_frames - 1, last_s, frame)
    if last_s is None:
        raise not_a_video(media.clip.path, "it has no frames")
    check_whole(container, media, n_frames, media.origin_s + last_s + media.step_s, ending)


def _read_video(media: ClipMedia, fps: float) -> Iterator[Frame]:
    with open_video(media.clip.path, media.limits) as container:
        converter = FrameConverter(video_stream(container), media.clip.path, (media.width, media.height))
        for row in select(_decode_all(media, container), media.clip, fps):
            if row.picture is None:
                yield Frame(row.index, row.timestamp_s, None)
                continue
            fitted_from = converter.fitted_from(row.picture)
            yield Frame(row.index, row.timestamp_s, converter.convert(row.picture), fitted_from=fitted_from)


def animation_frames(media: ClipMedia) -> Iterator[Frame]:
    """Yield all frames of an animated picture."""
    for index, (time_s, image) in enumerate(read_animation(media.clip, media.limits)):
        yield Frame(index, time_s, image)


def list_image_files(media: ClipMedia) -> Iterator[ImageFile]:
    """Yield the files of an image clip, with their times."""
    images = list_images(media.clip)
    for number, path in images:
        timestamp_s = 0.0 if media.clip.stills else (number - images[0][0]) / media.image_fps
        yield ImageFile(number, timestamp_s, path, media.clip.still_name(path), media.limits)


def load_images(files: Iterable[ImageFile], reduction: int) -> Iterator[Frame]:
    """Decode image files, one at a time."""
    for file in files:
        image, applied = read_image(file.path, reduction, file.limits)
        yield Frame(file.index, file.timestamp_s, image, file.name, applied)


def trim(frames: Iterator[Moments], start_s: float, end_s: float) -> Iterator[Moments]:
    """Yield the frames from ``start_s`` to ``end_s`` (excluded); time counts from ``start_s``."""
    found, last_s = False, 0.0
    for frame in frames:
        last_s = frame.timestamp_s
        if last_s >= end_s:
            break
        if last_s >= start_s:
            found = True
            yield replace(frame, timestamp_s=frame.timestamp_s - start_s)
    if not found:
        raise InputError(f"Expected frames from {start_s} to {end_s} s, but the video ends at {last_s:g} s.")


def resample(frames: Iterator[Moments], fps: float) -> Iterator[Moments]:
    """Yield the frame nearest in time to each tick k / fps, and no frame twice.

    Frames keep their index and timestamp. A source slower than ``fps`` keeps all its frames.
    """
    held: Moments | None = None
    tick = 0
    for frame in frames:
        if held is not None:
            until_s = (held.timestamp_s + frame.timestamp_s) / 2
            if tick / fps <= until_s:
                yield held
                tick = math.floor(until_s * fps) + 1
        held = frame
    if held is not None and tick / fps <= held.timestamp_s + 0.5 / fps:
        yield held


def select(frames: Iterator[Moments], clip: Clip, fps: float) -> Iterator[Moments]:
    """Yield a clip's frames: its part of the source by time, at ``fps`` frames per second."""
    if clip.start_s > 0 or clip.end_s < math.inf:
        frames = trim(frames, clip.start_s, clip.end_s)
    return resample(frames, fps) if fps and not clip.stills else frames


def read_frames(media: ClipMedia, fps: float = 0, *, reduction: int = 1) -> Iterator[Frame]:
    """Decode a clip once, frame by frame, in order of time.

    Takes ``fps`` frames per second, by time; 0 takes all. JPEG images are decoded at 1 / ``reduction`` (1, 2, 4 or 8)
    of their size; other images and videos keep theirs.

    Raises
    ------
    InputError
        If nothing can be decoded, or the frames are not in order of time.
    TruncatedError
        After the last frame, if the container states more.

    Examples
    --------
    >>> from tclr.pipeline.sources import find_clips
    >>> media = probe(find_clips(Path("clips"))[0], image_fps=25)
    >>> [(frame.index, frame.timestamp_s) for frame in read_frames(media, fps=5)]
    [(966, 0.0), (971, 0.2), (976, 0.4), (981, 0.6)]
    """
    if is_video_clip(media.clip):
        return _read_video(media, fps)
    if is_animation(media.clip):
        return select(animation_frames(media), media.clip, fps)
    return load_images(select(list_image_files(media), media.clip, fps), reduction)
