"""The only module that opens and decodes videos: packets in, frames with timestamps out.

Of several video streams one is read, see ``video_stream``.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
from av.stream import Disposition

from tclr.pipeline.system import check_size
from tclr.pipeline.video.deinterlace import Decoded
from tclr.pipeline.video.ending import Ending
from tclr.schemas.config import DEFAULT_LIMITS, LimitsConfig
from tclr.schemas.errors import InputError

MICROSECONDS = 1_000_000
"""Units per second of a container's duration."""
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2 matroska,webm avi mpegts mpeg mpegvideo asf flv live_flv ogg mxf m4v h264 hevc obu av1 "
    "ivf vc1 dv mjpeg nut wtv rm gif vvc yuv4mpegpipe gxf dhav"
)
"""FFmpeg formats that contain the video itself; playlists and scripts (hls, concat, ...) would read other files."""
OPEN = {"format_whitelist": FORMATS.replace(" ", ","), "protocol_whitelist": "file"}
"""Options for opening a container."""
Pts = TypeVar("Pts", float, np.ndarray)


def not_a_video(path: Path, reason: object) -> InputError:
    """Return the error for a file that is not a video."""
    return InputError(
        f"Expected a video, but cannot decode {path}: {reason}. Check the file, or take it out of the source folder."
    )


def list_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Return a file's video streams, but for attached pictures, such as cover art, and unknown codecs."""
    videos = (stream for stream in container.streams.video if stream.codec_context is not None)
    return [stream for stream in videos if not stream.disposition & Disposition.attached_pic]


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """Return the video stream that is read: the first that the file marks as default, or else the first."""
    streams = list_streams(container)
    return next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])


@contextmanager
def open_video(path: Path, limits: LimitsConfig = DEFAULT_LIMITS) -> Iterator[av.container.InputContainer]:
    """Open a video, with its video stream set to be decoded on all cores.

    Only this file is read: formats that refer to other files or addresses do not count as video. The decoder refuses
    frames larger than the limit.

    Raises
    ------
    InputError
        If it is not a video, or is larger than the limit.
    """
    if not path.is_file():  # opening a named pipe would block
        raise not_a_video(path, "it is not a regular file" if path.exists() else "there is no such file")
    try:
        container = av.open(str(path.absolute()), container_options=OPEN)
    except (av.error.FFmpegError, OSError) as error:
        raise not_a_video(path, error.strerror or error) from error
    with container:
        if not list_streams(container):
            others = ", only attached pictures or unknown codecs" if container.streams.video else ""
            raise not_a_video(path, f"it has no video stream{others}")
        stream = video_stream(container)
        check_size(stream.width, stream.height, limits, path)
        stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}
        stream.thread_type = "AUTO"
        yield container


def read_duration_s(container: av.container.InputContainer) -> float:
    """Return a video's duration from its header; 0 if it states none."""
    stream = video_stream(container)
    if stream.duration:
        return to_seconds(stream.duration, stream)
    return (container.duration or 0) / MICROSECONDS


def count_frames(container: av.container.InputContainer) -> int:
    """Return the number of frames that a video shows, from its header; 0 if it states none."""
    stream = video_stream(container)
    if stream.frames and "mp4" in container.format.name:  # the edit list may hide some
        return sum(not entry.is_discard for entry in stream.index_entries)
    return stream.frames


class _SentTimes:
    """The timestamps sent to the decoder. They show which frames it lost, so that lost frames keep their rows.

    A decoder returns frames in order of time, late and from several packets at once, so a failed packet does not
    show which frame is lost. A timestamp is lost if it was sent, is older than a returned frame, and was not returned.
    At most one is lost per error, since some formats have packets that show nothing.

    AVI stores no display times, only the decoding order at a fixed rate. There the n-th frame returned is shown at the
    n-th time, whichever packet it came from.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        self._sent: list[int] = []
        self._errors = 0
        self._in_turn = container.format.name == "avi" and video_stream(container).codec_context.has_b_frames

    def add(self, packet: av.Packet) -> None:
        """Record a packet sent to the decoder; those outside the edit list show nothing."""
        if packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._sent, packet.pts)

    def failed(self) -> None:
        """Record that the decoder raised an error."""
        self._errors += 1

    def place(self, pts: int | None) -> Iterator[tuple[int | None, bool]]:
        """Yield and forget the timestamps up to a returned frame at ``pts``, each with whether it has a frame."""
        if self._in_turn and self._sent:
            while self._errors and len(self._sent) > 1:
                self._errors -= 1
                yield heapq.heappop(self._sent), False
            yield heapq.heappop(self._sent), True
            return
        if pts is not None:
            yield from self._lost(pts)
        yield pts, True

    def rest(self) -> Iterator[tuple[int | None, bool]]:
        """Yield the timestamps lost after the last frame."""
        yield from self._lost(math.inf)

    def _lost(self, pts: float) -> Iterator[tuple[int, bool]]:
        while self._sent and self._sent[0] <= pts:
            oldest = heapq.heappop(self._sent)
            if oldest < pts and self._errors:
                self._errors -= 1
                yield oldest, False


def decode(container: av.container.InputContainer, ending: Ending | None = None) -> Iterator[Decoded]:
    """Yield the frames from a container's current position, with their timestamps; ``None`` for lost frames.

    ``ending`` is filled with what the demuxer says of the end.
    """
    ending = ending or Ending()
    sent = _SentTimes(container)
    packets = container.demux(video_stream(container))
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            break
        except av.error.FFmpegError as error:
            ending.error = error.strerror or str(error)
            break
        if packet.size:
            ending.is_cut = packet.is_corrupt
        sent.add(packet)
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            sent.failed()
            continue
        for frame in frames:
            for pts, is_there in sent.place(frame.pts):
                yield pts, frame if is_there and not frame.is_corrupt else None
    for pts, _ in sent.rest():
        yield pts, None


def to_seconds(pts: Pts, stream: av.stream.Stream) -> Pts:
    """Convert timestamps of a stream to seconds."""
    time_base = stream.time_base or Fraction(1)
    return pts * time_base.numerator / time_base.denominator
