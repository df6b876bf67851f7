"""People's frames on the way to the file: gaps are filled, crops cut, rows gathered into blocks that can be written.

One clip a person followed. Memory is a block of rows and the few frames that gaps and smoothing hold; where everyone is
followed, also the number and time of every frame, for who comes late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tclr.pipeline.sources import Labels
from tclr.pipeline.store import ClipLayout, ClipWriter
from tclr.pipeline.system import encodable
from tclr.pipeline.tracking import CropCutter, CroppedFrame, GapFiller, TrackedFrame, without_face
from tclr.pipeline.video import Frame
from tclr.schemas.config import AlignConfig
from tclr.schemas.store import CHUNK_FRAMES, CLIP_FIELDS, NO_TRACK

BLOCK_FRAMES = 4 * CHUNK_FRAMES
"""Frames written at once; a multiple of the chunk, so that each chunk is compressed once."""


@dataclass(frozen=True)
class Block:
    """Rows of a clip that are complete, by dataset, and who writes them."""

    writer: ClipWriter
    values: Mapping[str, np.ndarray]

    def write(self) -> None:
        """Append the rows to the clip."""
        self.writer.append(self.values)


def _to_row(cropped: CroppedFrame) -> dict[str, Any]:
    """Return the values of one row; what is missing is left out."""
    tracked = cropped.tracked
    frame, face = tracked.frame, tracked.face
    row: dict[str, Any] = {
        "timestamp": frame.timestamp_s,
        "source_frame": frame.index,
        "source_name": encodable(frame.name),
        "status": tracked.status,
        "track": tracked.track,
    }
    if face is not None:
        row |= {"score": tracked.score, "bbox": face.bbox, "landmarks": face.landmarks, "pose": face.pose}
        row |= {"blendshapes": face.blendshapes, "transform": cropped.transform, "frames": cropped.crop}
        row["sharpness"] = cropped.sharpness
    return row


def _array_dtype(name: str) -> str:
    return "object" if CLIP_FIELDS[name].dtype.startswith("vlen") else CLIP_FIELDS[name].dtype


def _empty_block(layout: ClipLayout, n_rows: int) -> dict[str, np.ndarray]:
    """Return arrays for ``n_rows`` frames without a face."""
    shapes = layout.shapes()
    if shapes.pop("frames_jpeg", None) is not None:
        shapes["frames"] = (layout.align.size, layout.align.size, 3)
    return {
        name: np.full((n_rows, *shape), CLIP_FIELDS[name].missing or 0, _array_dtype(name))
        for name, shape in shapes.items()
    }


def _fill_block(rows: list[dict[str, Any]], layout: ClipLayout, labels: Labels | None) -> dict[str, np.ndarray]:
    """Turn rows into a block of arrays, labels looked up by frame number."""
    block = _empty_block(layout, len(rows))
    for position, row in enumerate(rows):
        for name, value in row.items():
            if name in block and value is not None:
                block[name][position] = value
    if labels is not None and "au" in block:
        block["au"] = labels.at(block["source_frame"])
    if labels is not None and "au_intensity" in block:
        block["au_intensity"] = labels.intensity_at(block["source_frame"])
    return block


class PersonSink:
    """Makes one person's frames into blocks.

    Parameters
    ----------
    writer : ClipWriter
        What the blocks are for.
    align : AlignConfig
        How crops are cut.
    gaps : GapFiller or None
        ``None`` leaves gaps as they are.
    labels : Labels or None
        The person's AU labels.
    kept : range or None
        Which of the frames given, counted from 0, are kept; ``None`` for all.
    track_before : int
        The last track before the frames given.
    """

    def __init__(
        self,
        writer: ClipWriter,
        align: AlignConfig,
        *,
        gaps: GapFiller | None = None,
        labels: Labels | None = None,
        kept: range | None = None,
        track_before: int = NO_TRACK,
    ) -> None:
        self.writer = writer
        self._gaps = gaps
        self._cutter = CropCutter(align)
        self._labels = labels
        self._kept = kept
        self._n_settled = 0
        self._track_before = track_before
        self._first_track = NO_TRACK
        self._rows: list[dict[str, Any]] = []

    def add(self, item: TrackedFrame) -> Iterator[Block]:
        """Take the next frame; yield what is complete."""
        for settled in self._gaps.add(item) if self._gaps is not None else (item,):
            yield from self._cut(settled)

    def flush(self) -> Iterator[Block]:
        """Yield what is still held: no frame follows."""
        for settled in self._gaps.flush() if self._gaps is not None else ():
            yield from self._cut(settled)
        yield from self._gather(self._cutter.flush())
        if self._rows:
            yield self._complete()

    def _cut(self, item: TrackedFrame) -> Iterator[Block]:
        """Cut a frame that is kept: smoothing sees no other, so that aligning again from what is stored is the same."""
        position, self._n_settled = self._n_settled, self._n_settled + 1
        if self._kept is None or position in self._kept:
            if item.track != NO_TRACK and self._first_track == NO_TRACK:
                self._first_track = item.track
            yield from self._gather(self._cutter.add(item))
        elif position < self._kept.start and item.track != NO_TRACK:
            self._track_before = item.track

    @property
    def goes_on(self) -> bool:
        """Whether the first track that is kept began before what is kept."""
        return self._first_track == self._track_before != NO_TRACK

    def _gather(self, cropped: Iterable[CroppedFrame]) -> Iterator[Block]:
        for item in cropped:
            self._rows.append(_to_row(item))
            if len(self._rows) == BLOCK_FRAMES:
                yield self._complete()

    def _complete(self) -> Block:
        block = Block(self.writer, _fill_block(self._rows, self.writer.layout, self._labels))
        self._rows.clear()
        return block


class PeopleSinks:
    """A sink for the subject, or for everyone who is seen; who comes late gets rows for the frames before.

    Parameters
    ----------
    open_sink : callable
        Opens the sink of a person, by number.
    everyone : bool
        Whether others than the subject, who is 0, have sinks.
    """

    def __init__(self, open_sink: Callable[[int], PersonSink], *, everyone: bool) -> None:
        self._open_sink = open_sink
        self._everyone = everyone
        self._past: list[TrackedFrame] = []
        self.sinks = {0: open_sink(0)}

    def blocks(self, tracked: Iterable[tuple[Frame, Mapping[int, TrackedFrame]]]) -> Iterator[Block]:
        """Yield the blocks of frames, given with the faces in them by person, to be written in this order."""
        for frame, found in tracked:
            yield from self._add(frame, found)
        for sink in self.sinks.values():
            yield from sink.flush()

    def _add(self, frame: Frame, found: Mapping[int, TrackedFrame]) -> Iterator[Block]:
        for person in sorted(found.keys() - self.sinks.keys()) if self._everyone else ():
            self.sinks[person] = self._open_sink(person)
            for item in self._past:
                yield from self.sinks[person].add(item)
        absent = without_face(frame)
        for person, sink in self.sinks.items():
            yield from sink.add(found.get(person, absent))
        if self._everyone:  # without the picture
            bare = Frame(frame.index, frame.timestamp_s, None, frame.name)
            self._past.append(TrackedFrame(bare, absent.status))
