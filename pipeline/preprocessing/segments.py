"""The segments of a long clip: where it is cut, and which rows around a segment are read for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tclr.pipeline.sources import Clip
from tclr.pipeline.video import (
    ClipMedia,
    Timeline,
    probe,
    read_timeline,
)
from tclr.schemas.config import DEFAULT_LIMITS, DetectConfig, LimitsConfig
from tclr.schemas.errors import TimelineError
from tclr.schemas.store import TABLE_CHUNK

LEAD_S = 2.0
"""How much earlier a segment is read, for the tracker to settle; docs/long-videos.md has what differs at the seams."""
Rows = tuple[int, int]
"""First row of a segment, and the one behind its last."""


@dataclass(frozen=True)
class _Span:
    """Rows ``start:stop`` of a clip's timeline, for which ``lead:tail`` are read."""

    timeline: Timeline
    start: int
    stop: int
    lead: int
    tail: int

    @property
    def kept(self) -> range:
        """Which of the rows read are written."""
        return range(self.start - self.lead, self.stop - self.lead)


def plan_segments(clip: Clip, detect: DetectConfig, limits: LimitsConfig = DEFAULT_LIMITS) -> list[Rows]:
    """Return the rows ``(start, stop)`` of the segments that a clip is to be extracted in.

    They follow from the clip and the settings alone, so the arrays do not depend on the workers. Empty where the clip
    is done in one piece: if it is short, if everybody in it is followed, or if its frames cannot be told without
    decoding.
    """
    if not detect.segment_s or detect.faces == "all" or clip.stills:
        return []
    media = probe(clip, detect.image_fps, limits)
    if media.fps and 0 < media.n_expected / media.fps < detect.segment_s:
        return []
    timeline = read_timeline(media, detect.fps)
    if timeline is None or len(timeline) < 2:
        return []
    n_rows = len(timeline)
    rate = (n_rows - 1) / max(float(timeline.times_s[-1]), 1e-9)
    # whole chunks, so that they are joined as they are
    step = max(round(detect.segment_s * rate / TABLE_CHUNK), 1) * TABLE_CHUNK
    starts = [step * i for i in range(max(round(n_rows / step), 1))]
    return list(zip(starts, [*starts[1:], n_rows], strict=True)) if len(starts) > 1 else []


def _read_span(media: ClipMedia, detect: DetectConfig, rows: Rows, *, around: bool) -> _Span:
    """Return a segment, with the rows around it that tracking and gaps need."""
    timeline = read_timeline(media, detect.fps)
    if timeline is None or rows[1] > len(timeline):
        raise TimelineError(f"{media.clip.path} has changed while it was read. Run the same command again.")
    if not around:
        return _Span(timeline, *rows, *rows)
    times_s = timeline.times_s
    lead = int(np.searchsorted(times_s, times_s[rows[0]] - LEAD_S - detect.max_gap_s))
    lead = min(lead, max(rows[0] - 1, 0))
    tail = int(np.searchsorted(times_s, times_s[rows[1] - 1] + detect.max_gap_s, side="right"))
    return _Span(timeline, *rows, lead, tail)
