"""The only place that opens and decodes a video: packets in, frames with their timestamps out."""

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

from tclr.pipeline.system import check_size
from tclr.pipeline.video.deinterlace import Decoded
from tclr.schemas.config import DEFAULT_LIMITS, LimitsConfig
from tclr.schemas.errors import InputError

MICROSECONDS = 1_000_000
"""A second, as containers count their duration."""
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2 matroska,webm avi mpegts mpeg mpegvideo asf flv live_flv ogg mxf m4v h264 hevc obu av1 "
    "ivf vc1 dv mjpeg nut wtv rm gif"
)
"""Formats of FFmpeg that hold a video themselves; playlists and scripts (hls, concat, ...) would read other files."""
OPEN = {"format_whitelist": FORMATS.replace(" ", ","), "protocol_whitelist": "file"}
"""Options to open a container with."""
Pts = TypeVar("Pts", float, np.ndarray)


def not_a_video(path: Path, reason: object) -> InputError:
    """Return the error of a file that is no video."""
    return InputError(
        f"Expected a video, but cannot decode {path}: {reason}. Check the file, or take it out of the source folder."
    )


@contextmanager
def open_video(path: Path, limits: LimitsConfig = DEFAULT_LIMITS) -> Iterator[av.container.InputContainer]:
    """Open a video, its first video stream ready to be decoded by all cores.

    Its content alone is read: formats that name other files or addresses to play are taken for no video. The decoder
    refuses frames larger than the limit.

    Raises
    ------
    InputError
        If it is no video, or larger than the limit.
    """
    if not path.is_file():  # a named pipe would keep us waiting
        raise not_a_video(path, "it is no regular file" if path.exists() else "there is no such file")
    try:
        container = av.open(str(path.absolute()), container_options=OPEN)
    except (av.error.FFmpegError, OSError) as error:
        raise not_a_video(path, error.strerror or error) from error
    with container:
        if not container.streams.video:
            raise not_a_video(path, "it has no video stream")
        stream = container.streams.video[0]
        check_size(stream.width, stream.height, limits, path)
        stream.codec_context.options = {"max_pixels": str(limits.max_pixels)}
        stream.thread_type = "AUTO"
        yield container


def read_duration_s(container: av.container.InputContainer) -> float:
    """Return how long a video takes by its header; 0 if it does not say."""
    stream = container.streams.video[0]
    if stream.duration:
        return to_seconds(stream.duration, stream)
    return (container.duration or 0) / MICROSECONDS


def count_frames(container: av.container.InputContainer) -> int:
    """Return the number of frames that a video shows by its header; 0 if it does not say."""
    stream = container.streams.video[0]
    if stream.frames and "mp4" in container.format.name:  # the edit list may show fewer than there are
        return sum(not entry.is_discard for entry in stream.index_entries)
    return stream.frames


class _SentTimes:
    """The timestamps given to the decoder, to find those that did not come out: their rows keep their place.

    Decoders give frames in order of time, late and from several packets at once, so a failing packet does not
    tell which frame is lost. A timestamp that was sent, is older than a frame that came out, and has not come
    out itself, is lost; but only as many as there were errors, since some formats hold packets that show nothing.

    AVI stores no time of display, only the order of decoding at a fixed rate: there the n-th frame that comes out
    is shown at the n-th time, whichever its packet was.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        self._sent: list[int] = []
        self._errors = 0
        self._in_turn = container.format.name == "avi" and container.streams.video[0].codec_context.has_b_frames

    def add(self, packet: av.Packet) -> None:
        """Note a packet given to the decoder; those outside the edit list show nothing."""
        if packet.pts is not None and not packet.is_discard:
            heapq.heappush(self._sent, packet.pts)

    def failed(self) -> None:
        """Note that the decoder raised an error."""
        self._errors += 1

    def place(self, pts: int | None) -> Iterator[tuple[int | None, bool]]:
        """Yield the timestamps up to the frame that came out as ``pts``, and whether there is a frame; forget them."""
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


def decode(container: av.container.InputContainer) -> Iterator[Decoded]:
    """Yield the frames from where a container stands, with their timestamps; ``None`` for those that are lost."""
    sent = _SentTimes(container)
    packets = container.demux(container.streams.video[0])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.error.FFmpegError):
            break
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


def to_seconds(pts: Pts, stream: av.VideoStream) -> Pts:
    """Return timestamps of a stream in seconds."""
    time_base = stream.time_base or Fraction(1)
    return pts * time_base.numerator / time_base.denominator
