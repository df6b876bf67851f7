"""People's frames on the way to the file: gaps are filled, crops cut, rows gathered into blocks and written.

One clip a person followed. Memory is a block of rows and the few frames that gaps and smoothing hold; where everyone is
followed, also the number and time of every frame, for who comes late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tclr.pipeline.crops import CropCutter, CroppedFrame
from tclr.pipeline.gaps import GapFiller
from tclr.pipeline.sources import Labels
from tclr.pipeline.store import ClipLayout, ClipWriter
from tclr.pipeline.text import encodable
from tclr.pipeline.tracking import TrackedFrame, without_face
from tclr.pipeline.video import Frame
from tclr.schemas.config import AlignConfig
from tclr.schemas.store import CHUNK_FRAMES, CLIP_FIELDS, NO_TRACK

BLOCK_FRAMES = 4 * CHUNK_FRAMES
"""Frames written at once; a multiple of the chunk, so that each chunk is compressed once."""


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
    """Writes one person's frames.

    Parameters
    ----------
    writer : ClipWriter
        Where to.
    align : AlignConfig
        How crops are cut.
    gaps : GapFiller or None
        ``None`` leaves gaps as they are.
    labels : Labels or None
        The person's AU labels.
    kept : range or None
        Which of the frames given, counted from 0, are written; ``None`` for all.
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

    def add(self, item: TrackedFrame) -> None:
        """Take the next frame."""
        for settled in self._gaps.add(item) if self._gaps is not None else (item,):
            self._cut(settled)

    def close(self) -> None:
        """Write what is still held: no frame follows."""
        for settled in self._gaps.flush() if self._gaps is not None else ():
            self._cut(settled)
        self._write(self._cutter.flush())
        self._flush()

    def _cut(self, item: TrackedFrame) -> None:
        """Cut a frame that is kept: smoothing sees no other, so that aligning again from what is stored is the same."""
        position, self._n_settled = self._n_settled, self._n_settled + 1
        if self._kept is None or position in self._kept:
            if item.track != NO_TRACK and self._first_track == NO_TRACK:
                self._first_track = item.track
            self._write(self._cutter.add(item))
        elif position < self._kept.start and item.track != NO_TRACK:
            self._track_before = item.track

    @property
    def goes_on(self) -> bool:
        """Whether the first track that is written began before what is kept."""
        return self._first_track == self._track_before != NO_TRACK

    def _write(self, cropped: Iterable[CroppedFrame]) -> None:
        for item in cropped:
            self._rows.append(_to_row(item))
            if len(self._rows) == BLOCK_FRAMES:
                self._flush()

    def _flush(self) -> None:
        if self._rows:
            self.writer.append(_fill_block(self._rows, self.writer.layout, self._labels))
            self._rows.clear()


class PeopleSinks:
    """A sink for the subject, or for everyone who is seen; who comes late gets rows for the frames before.

    Parameters
    ----------
    open_sink : callable
        Opens the sink of a person, by number.
    everyone : bool
        Whether others than the subject, who is 0, are written.
    """

    def __init__(self, open_sink: Callable[[int], PersonSink], *, everyone: bool) -> None:
        self._open_sink = open_sink
        self._everyone = everyone
        self._past: list[TrackedFrame] = []
        self.n_frames = 0
        self.sinks = {0: open_sink(0)}

    def add(self, frame: Frame, found: Mapping[int, TrackedFrame]) -> None:
        """Take the next frame with the faces in it."""
        for person in sorted(found.keys() - self.sinks.keys()) if self._everyone else ():
            self.sinks[person] = self._open_sink(person)
            for item in self._past:
                self.sinks[person].add(item)
        absent = without_face(frame)
        for person, sink in self.sinks.items():
            sink.add(found.get(person, absent))
        if self._everyone:  # without the picture
            bare = Frame(frame.index, frame.timestamp_s, None, frame.name)
            self._past.append(TrackedFrame(bare, absent.status))
        self.n_frames += 1

    def close(self) -> None:
        """Write what is still held: no frame follows."""
        for sink in self.sinks.values():
            sink.close()
