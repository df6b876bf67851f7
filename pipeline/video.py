"""The only decoder: frames with exact timestamps, from a video, an image sequence or a still image.

Frames stream one at a time; nothing is held. A frame that cannot be decoded keeps its place, with no image.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tclr.pipeline.sources.clip import is_video, numbered_images
from tclr.schemas.errors import InputError, TruncatedError

TRUNCATION_SLACK_FRAMES = 2
"""Frames that a container may promise beyond what decodes: counts of some writers are off by one or two."""


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
    """

    index: int
    timestamp_s: float
    image: np.ndarray | None


@dataclass(frozen=True)
class ClipMedia:
    """What the source says about a clip before it is decoded. ``n_expected`` is 0 where it does not say."""

    path: Path
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


def probe(path: Path, image_fps: float) -> ClipMedia:
    """Return what is known of a clip without decoding all of it.

    Parameters
    ----------
    path : Path
        Video file, still image or folder of numbered images.
    image_fps : float
        Frames a second that image sequences are taken at.

    Raises
    ------
    InputError
        If it is no video or image, or the folder has no numbered image.
    """
    if path.is_dir() or not is_video(path):
        images = numbered_images(path) if path.is_dir() else [(0, path)]
        if not images:
            raise InputError(f"Expected numbered images (0001.jpg), but found none in {path}.")
        first = next((image for _, file in images if (image := _read_image(file)) is not None), None)
        if first is None:
            raise InputError(f"Expected an image, but none can be decoded in {path}. Check the files.")
        height, width = first.shape[:2]
        return ClipMedia(path, image_fps, width, height, len(images), image_fps)
    with _open_video(path) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.base_rate or 0)
        return ClipMedia(path, rate, stream.width, stream.height, stream.frames, image_fps)


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
    images = numbered_images(media.path) if media.path.is_dir() else [(0, media.path)]
    for number, path in images:
        yield Frame(number, (number - images[0][0]) / media.image_fps, _read_image(path))


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


def _video_frames(media: ClipMedia) -> Iterator[Frame]:
    index, start_s, last_s = 0, 0.0, 0.0
    lost = _LostFrames()
    step_s = 1 / media.fps if media.fps else 0.0
    with _open_video(media.path) as container:
        for time_s, frame in _decode(container, lost):
            if index == 0:
                start_s = time_s or 0.0
            # a frame without a timestamp follows the last one at the nominal rate
            last_s = max(last_s, time_s - start_s) if time_s is not None else last_s + step_s * bool(index)
            yield Frame(index, last_s, None if frame is None else _to_rgb(frame))
            index += 1
    if index == 0:
        raise _not_a_video(media.path, "it holds no frame")
    expected = media.n_expected - lost.n_discarded
    if index < expected - TRUNCATION_SLACK_FRAMES:
        raise TruncatedError(
            f"Expected {expected} frames, but the video ends after {index}: {media.path} is truncated. "
            "Copy or convert it again, or keep what is there with --allow-truncated."
        )


def read_frames(media: ClipMedia) -> Iterator[Frame]:
    """Decode a clip once, frame by frame.

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
    return _video_frames(media) if is_video(media.path) and media.path.is_file() else _image_frames(media)
