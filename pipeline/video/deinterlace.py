"""Deinterlace decoded frames: one whole picture from the two fields of each frame flagged as interlaced.

The number of frames and their timestamps do not change. A video without such frames passes through unchanged.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import av
import av.filter

Decoded = tuple[int | None, av.VideoFrame | None]
"""A frame's timestamp in the stream's time base, ``None`` if it has none, and the frame, ``None`` if it is lost."""


class _Deinterlacer:
    """FFmpeg's bwdif. It uses the frames before and after, so each frame comes out one frame late."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._kind = self._kind_of(frame)
        self._waiting: deque[Decoded] = deque()
        self._graph = av.filter.Graph()
        source = self._graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1:"
            f"colorspace={frame.colorspace}:range={frame.color_range}",
        )
        self._graph.link_nodes(
            source, self._graph.add("bwdif", "mode=send_frame:deint=interlaced"), self._graph.add("buffersink")
        ).configure()

    @staticmethod
    def _kind_of(frame: av.VideoFrame) -> tuple[int, int, str, int, int]:
        return frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range

    def fits(self, frame: av.VideoFrame) -> bool:
        """Return whether a frame has the size and format of the first."""
        return self._kind_of(frame) == self._kind

    def push(self, decoded: Decoded) -> Iterator[Decoded]:
        """Add a frame; yield those that are ready."""
        self._waiting.append(decoded)
        if decoded[1] is not None:
            self._graph.vpush(decoded[1])
        yield from self._ready()

    def flush(self) -> Iterator[Decoded]:
        """Yield the remaining frames."""
        self._graph.vpush(None)
        yield from self._ready()
        yield from self._waiting  # lost frames after the last one

    def _ready(self) -> Iterator[Decoded]:
        while True:
            try:
                picture = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            while self._waiting[0][1] is None:
                yield self._waiting.popleft()
            yield self._waiting.popleft()[0], picture


def deinterlace(frames: Iterable[Decoded]) -> Iterator[Decoded]:
    """Yield decoded frames; from the first interlaced one, all of them go through the filter."""
    worker: _Deinterlacer | None = None
    for decoded in frames:
        frame = decoded[1]
        if worker is not None and frame is not None and not worker.fits(frame):
            yield from worker.flush()
            worker = None
        if worker is None and frame is not None and frame.interlaced_frame:
            worker = _Deinterlacer(frame)
        if worker is None:
            yield decoded
        else:
            yield from worker.push(decoded)
    if worker is not None:
        yield from worker.flush()
