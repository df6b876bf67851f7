"""The only decoder: frames with exact timestamps, from a video, an image sequence or a still image.

Frames stream one at a time; nothing is held. A frame that cannot be decoded keeps its place, with no image.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tclr.pipeline.sources.clip import Clip, is_video, numbered_images
from tclr.schemas.errors import InputError, TruncatedError

TRUNCATION_SLACK_FRAMES = 2
"""Frames that a container may promise beyond what decodes: counts of some writers are off by one or two."""

TRUNCATION_SLACK_S = 0.5
"""The same in time, for formats that state a duration and no count of frames."""


@dataclass(frozen=True)
class Frame:
    """One source frame.

    Attributes
    ----------
    index : int
        Position in a video from 0; the number in the file name for image sequences.
    timestamp_s : float
        Seconds from the clip's start.
    image : ndarray or None
        (H, W, 3) uint8 RGB; ``None`` if the frame cannot be decoded.
    name : str
        File name of a still.
    """

    index: int
    timestamp_s: float
    image: np.ndarray | None
    name: str = ""


@dataclass(frozen=True)
class ClipMedia:
    """What the source says about a clip before it is decoded. ``n_expected`` is 0 where it does not say."""

    clip: Clip
    fps: float
    width: int
    height: int
    n_expected: int
    image_fps: float


def _not_a_video(path: Path, reason: object) -> InputError:
    return InputError(
        f"Expected a video, but cannot decode {path}: {reason}. Check the file, or take it out of the source folder."
    )


@contextmanager
def _open_video(path: Path) -> Iterator[av.container.InputContainer]:
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise _not_a_video(path, error.strerror or error) from error
    with container:
        if not container.streams.video:
            raise _not_a_video(path, "it has no video stream")
        container.streams.video[0].thread_type = "AUTO"
        yield container


def _list_images(clip: Clip) -> list[tuple[int, Path]]:
    """Return the numbered images of a clip that is no video, rising."""
    if clip.stills:
        return list(enumerate(clip.stills, start=clip.first))
    return numbered_images(clip.path) if clip.path.is_dir() else [(0, clip.path)]


def _is_video_clip(clip: Clip) -> bool:
    return not clip.stills and is_video(clip.path) and not clip.path.is_dir()


def probe(clip: Clip, image_fps: float) -> ClipMedia:
    """Return what is known of a clip without decoding all of it.

    Parameters
    ----------
    clip : Clip
        A video, an image sequence, or stills.
    image_fps : float
        Frames a second of image sequences of a dataset that does not fix it.

    Raises
    ------
    InputError
        If it is no video or image, or the folder has no numbered image.
    """
    path = clip.path
    if not _is_video_clip(clip):
        images = _list_images(clip)
        if not images:
            raise InputError(f"Expected numbered images (0001.jpg), but found none in {path}.")
        first = next((image for _, file in images if (image := _read_image(file)) is not None), None)
        if first is None:
            raise InputError(f"Expected an image, but none can be decoded in {path}. Check the files.")
        height, width = first.shape[:2]
        rate = clip.image_fps or image_fps
        return ClipMedia(clip, rate, width, height, len(images), rate)
    with _open_video(path) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.base_rate or 0)
        return ClipMedia(clip, rate, stream.width, stream.height, stream.frames, image_fps)


def _read_image(path: Path) -> np.ndarray | None:
    """Return an image as 8-bit RGB, turned as its EXIF says; ``None`` if it cannot be decoded."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError:
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH) if data.size else None
    if image is not None and image.dtype == np.uint16:
        image = (image // 256).astype(np.uint8)
    return image


def _image_frames(media: ClipMedia) -> Iterator[Frame]:
    images = _list_images(media.clip)
    for number, path in images:
        timestamp_s = 0.0 if media.clip.stills else (number - images[0][0]) / media.image_fps
        yield Frame(number, timestamp_s, _read_image(path), path.name)


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """Return a decoded frame as (H, W, 3) uint8 RGB, upright: the display rotation is applied."""
    image = frame.to_ndarray(format="rgb24")
    return np.rot90(image, frame.rotation // 90) if frame.rotation else image


class _LostFrames:
    """Finds the timestamps of frames that the decoder failed on, so that their rows keep their place.

    Decoders give frames in order of time, late and from several packets at once, so a failing packet does not
    tell which frame is lost. A timestamp that was sent, is older than a frame that came out, and has not come
    out itself, is lost; but only as many as there were errors, since some formats hold packets that show nothing.
    """

    def __init__(self) -> None:
        self._sent: list[float] = []
        self._errors = 0
        self.n_discarded = 0

    def sent(self, packet: av.Packet) -> None:
        """Note a packet given to the decoder; those outside the edit list are only counted."""
        self.n_discarded += packet.is_discard
        if packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._sent, float(packet.pts * packet.time_base))

    def failed(self) -> None:
        """Note that the decoder raised an error."""
        self._errors += 1

    def before(self, time_s: float) -> list[float]:
        """Return the timestamps lost before a frame that came out at ``time_s``; forget them."""
        lost = []
        while self._sent and self._sent[0] <= time_s:
            oldest = heapq.heappop(self._sent)
            if oldest < time_s and self._errors:
                self._errors -= 1
                lost.append(oldest)
        return lost


def _decode(container: av.container.InputContainer, lost: _LostFrames) -> Iterator[tuple[float | None, Any]]:
    """Yield the container's time in s and the frame, or None if it is lost."""
    packets = container.demux(container.streams.video[0])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            break
        lost.sent(packet)
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            lost.failed()
            continue
        for frame in frames:
            for time_s in lost.before(frame.time) if frame.time is not None else ():
                yield time_s, None
            yield frame.time, None if frame.is_corrupt else frame
    for time_s in lost.before(math.inf):
        yield time_s, None


def _duration_s(container: av.container.InputContainer) -> float:
    """Return how long the video says it is, 0 if it does not: of formats without a frame count, Matroska does."""
    text = container.streams.video[0].metadata.get("DURATION", "")
    try:
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except ValueError:
        return 0.0


def _video_frames(media: ClipMedia) -> Iterator[Frame]:
    index, start_s, last_s = 0, 0.0, 0.0
    lost = _LostFrames()
    step_s = 1 / (media.fps or media.image_fps)
    with _open_video(media.clip.path) as container:
        duration_s = _duration_s(container)
        for time_s, frame in _decode(container, lost):
            if index == 0:
                start_s = time_s or 0.0
            # a frame without a timestamp follows the last one at the nominal rate
            last_s = max(last_s, time_s - start_s) if time_s is not None else last_s + step_s * bool(index)
            yield Frame(index, last_s, None if frame is None else _to_rgb(frame))
            index += 1
    if index == 0:
        raise _not_a_video(media.clip.path, "it holds no frame")
    expected = media.n_expected - lost.n_discarded
    if media.n_expected and index < expected - TRUNCATION_SLACK_FRAMES:
        raise _truncated(media, f"{expected} frames", f"ends after {index}")
    end_s = start_s + last_s + step_s
    if end_s < duration_s - TRUNCATION_SLACK_S:
        raise _truncated(media, f"{duration_s:.2f} s", f"ends after {end_s:.2f} s")


def _truncated(media: ClipMedia, expected: str, got: str) -> TruncatedError:
    return TruncatedError(
        f"Expected {expected}, but the video {got}: {media.clip.path} is damaged or truncated. "
        "Copy or convert it again, or keep what is there with --allow-truncated."
    )


def trim(frames: Iterator[Frame], start_s: float, end_s: float) -> Iterator[Frame]:
    """Yield the frames from ``start_s`` up to, not including, ``end_s``; time counts from ``start_s``."""
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


def resample(frames: Iterator[Frame], fps: float) -> Iterator[Frame]:
    """Yield, for each tick k / fps, the frame nearest in time; no frame twice.

    Frames keep their own index and timestamp. Where the source is slower than ``fps`` all its frames are kept.
    """
    held: Frame | None = None
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


def read_frames(media: ClipMedia, fps: float = 0) -> Iterator[Frame]:
    """Decode a clip once, frame by frame.

    Parameters
    ----------
    media : ClipMedia
        See ``probe``.
    fps : float
        Frames a second to take, by time; 0 takes all.

    Yields
    ------
    Frame
        In order of time.

    Raises
    ------
    InputError
        If nothing can be decoded.
    TruncatedError
        After the last frame, if the container promised more.
    """
    clip = media.clip
    frames = _video_frames(media) if _is_video_clip(clip) else _image_frames(media)
    if clip.start_s > 0 or clip.end_s < math.inf:
        frames = trim(frames, clip.start_s, clip.end_s)
    return resample(frames, fps) if fps and not clip.stills else frames
