"""What a task reads, a clip or a segment of a long one, and the facts known about the clip.

Facts are found once per clip. The task of each segment gets them, with its part of the timeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tclr.pipeline.sources import Clip
from tclr.pipeline.tracking import Scouted
from tclr.pipeline.video import ClipMedia, Frame, Timeline, probe, read_frames, read_rows, read_timeline
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import InputError, TruncatedError
from tclr.schemas.store import TABLE_CHUNK

LEAD_S = 2.0
"""How much earlier reading begins, for the tracker to settle; docs/long-videos.md has the differences at seams."""
MAX_CHANGES = 4
"""Changes of the picture's size that a warning lists."""
Rows = tuple[int, int]
"""First row of a segment, and the row after its last."""


@dataclass(frozen=True)
class Piece:
    """A clip, or a segment of it, before its frames are read."""

    config: PreprocessConfig
    media: ClipMedia
    fingerprint: str  # of the source
    detected: Path | None = None  # a store file with the clip's landmarks
    scouted: Scouted | None = None  # who is in the clip; None if unknown
    rows: Rows | None = None  # of a segment; None for the whole clip
    lead: int = 0  # first row read for a segment
    timeline: Timeline | None = None  # of all rows read for a segment

    @property
    def clip(self) -> Clip:
        """The clip."""
        return self.media.clip

    @property
    def segment(self) -> str:
        """The rows as a segment's file records them; "" for the whole clip."""
        return f"{self.rows[0]}:{self.rows[1]}" if self.rows else ""

    @property
    def kept(self) -> range | None:
        """Which of the frames read, counted from 0, are written; ``None`` for all."""
        return range(self.rows[0] - self.lead, self.rows[1] - self.lead) if self.rows else None

    @property
    def n_expected(self) -> int:
        """Number of rows; 0 if unknown."""
        return len(self.kept) if self.kept else self.media.n_expected

    def sha256(self) -> str:
        """Return the source's hash; "" for all segments but the first, so that the source is hashed once."""
        return self.clip.sha256() if self.rows is None or self.rows[0] == 0 else ""

    def check_unchanged(self) -> None:
        """Raise ``InputError`` if the source has changed since it was surveyed."""
        if self.clip.fingerprint() != self.fingerprint:
            raise InputError(f"{self.clip.path} changed while it was read. Run the same command again.")

    def without_margins(self) -> Piece:
        """Return the same without the rows around a segment."""
        if self.rows is None or self.timeline is None:
            return self
        start, stop = self.rows
        return replace(self, lead=start, timeline=self.timeline.part(start - self.lead, stop - self.lead))


class PictureSizes:
    """Where the pictures of a clip change their size."""

    def __init__(self, width: int, height: int) -> None:
        self._first = self._last = (width, height)
        self._changes: list[str] = []
        self._n_more = 0

    def add(self, frame: Frame) -> None:
        """Take the next frame."""
        size = frame.fitted_from or self._first
        if frame.image is None or size == self._last:
            return
        self._last = size
        if len(self._changes) < MAX_CHANGES:
            self._changes.append(f"{size[0]}x{size[1]} from frame {frame.index} on")
        else:
            self._n_more += 1

    def describe(self) -> str:
        """Return the changes in words, "" if there are none."""
        if not self._changes:
            return ""
        first, more = "{}x{}".format(*self._first), f", and {self._n_more} more changes" if self._n_more else ""
        return f"pictures of several sizes, all fitted into {first}: {', '.join(self._changes)}{more}"


class PieceFrames:
    """The frames of a piece, up to where its clip is truncated: ``error`` then says so."""

    def __init__(self, piece: Piece, reduction: int) -> None:
        self._piece = piece
        self.reduction = reduction
        self.error: TruncatedError | None = None
        self.sizes = PictureSizes(piece.media.width, piece.media.height)

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._read():
            self.sizes.add(frame)
            yield frame

    def _read(self) -> Iterator[Frame]:
        media, timeline = self._piece.media, self._piece.timeline
        if timeline is not None:
            yield from read_rows(media, timeline, 0, len(timeline), reduction=self.reduction)
            return
        try:
            yield from read_frames(media, self._piece.config.detect.fps, reduction=self.reduction)
        except TruncatedError as error:
            self.error = error


def survey_clip(clip: Clip, config: PreprocessConfig, detected: Path | None = None) -> Piece:
    """Return a clip as one piece, with what is known before decoding.

    ``detected`` is a store file that has the clip's landmarks.

    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.schemas.config import PreprocessConfig
    >>> survey_clip(find_clips(Path("clips"))[0], PreprocessConfig()).n_expected
    16
    """
    fingerprint = clip.fingerprint()  # before anything is read
    return Piece(config, probe(clip, config.detect.image_fps, config.limits), fingerprint, detected)


def cut_clip(whole: Piece) -> list[Piece]:
    """Return the segments to extract a clip in; none if it is extracted in one piece.

    That is so if it is short, if everyone in it is followed, or if its frames are unknown before decoding. Segments
    follow from the clip and the settings alone, so the arrays do not depend on the workers.
    """
    media, detect = whole.media, whole.config.detect
    is_short = media.fps and 0 < media.n_expected / media.fps < detect.segment_s
    if not detect.segment_s or detect.faces == "all" or whole.clip.stills or is_short:
        return []
    timeline = read_timeline(media, detect.fps)
    if timeline is None or len(timeline) < 2:
        return []
    n_rows = len(timeline)
    rate = (n_rows - 1) / max(float(timeline.times_s[-1]), 1e-9)
    # whole chunks, which are joined unchanged
    step = max(round(detect.segment_s * rate / TABLE_CHUNK), 1) * TABLE_CHUNK
    starts = [step * i for i in range(round(n_rows / step))]
    all_rows = zip(starts, [*starts[1:], n_rows], strict=True) if len(starts) > 1 else ()
    return [_segment(whole, timeline, rows) for rows in all_rows]


def _segment(whole: Piece, timeline: Timeline, rows: Rows) -> Piece:
    """Return a segment, with the rows around it that tracking and gaps need."""
    times_s, max_gap_s = timeline.times_s, whole.config.detect.max_gap_s
    lead = int(np.searchsorted(times_s, times_s[rows[0]] - LEAD_S - max_gap_s))
    lead = min(lead, max(rows[0] - 1, 0))
    tail = int(np.searchsorted(times_s, times_s[rows[1] - 1] + max_gap_s, side="right"))
    return replace(whole, rows=rows, lead=lead, timeline=timeline.part(lead, tail))
