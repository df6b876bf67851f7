"""Turns people's frames into blocks of rows: gaps are filled and crops cut.

Each person followed gets a clip. Memory holds a block of rows and the few frames that gaps and smoothing need; where
everyone is followed, also the number and time of every frame, for people who appear later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tclr.pipeline.preprocessing.tracks import Tracks
from tclr.pipeline.sources import Labels
from tclr.pipeline.store import ClipLayout, ClipWriter, PartWriter
from tclr.pipeline.system import encodable
from tclr.pipeline.tracking import CropCutter, CroppedFrame, GapFiller, MotionMeter, TrackedFrame, without_face
from tclr.pipeline.video import Frame
from tclr.schemas.store import (
    CHUNK_FRAMES,
    CLIP_FIELDS,
    MOTIONLESS,
    NO_TRACK,
    RecordingAttrs,
    Status,
    join_warnings,
)

BLOCK_FRAMES = 4 * CHUNK_FRAMES
"""Frames written at a time: a multiple of the chunk, so that each chunk is compressed once."""
Block = Callable[[], None]
"""Appends complete rows to their clip."""


def _to_row(cropped: CroppedFrame) -> dict[str, Any]:
    """Return the values of one row except those that are missing."""
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


def _fill_block(rows: list[dict[str, Any]], layout: ClipLayout, labels: Labels | None) -> dict[str, np.ndarray]:
    """Turn rows into arrays by dataset; labels are looked up by frame number."""
    shapes, block = layout.shapes(), {}
    if shapes.pop("frames_jpeg", None) is not None:
        shapes["frames"] = (layout.align.size, layout.align.size, 3)
    for name, shape in shapes.items():
        spec = CLIP_FIELDS[name]
        dtype = "object" if spec.dtype.startswith("vlen") else spec.dtype
        block[name] = np.full((len(rows), *shape), spec.missing or 0, dtype)
        for position, row in enumerate(rows):
            if row.get(name) is not None:
                block[name][position] = row[name]
    if labels is not None and "au" in block:
        block["au"] = labels.at(block["source_frame"])
    if labels is not None and "au_intensity" in block:
        block["au_intensity"] = labels.intensity_at(block["source_frame"])
    return block


def fill_rows(cropped: Sequence[CroppedFrame], layout: ClipLayout) -> dict[str, np.ndarray]:
    """Return some frames as a store would hold them: arrays by dataset, one row per frame, see ``CLIP_FIELDS``.

    >>> from tclr.pipeline.store import ClipLayout
    >>> from tclr.schemas.config import AlignConfig
    >>> fill_rows([], ClipLayout(AlignConfig(), n_landmarks=478))["landmarks"].shape
    (0, 478, 3)
    """
    return _fill_block([_to_row(item) for item in cropped], layout, None)


class PersonRows:
    """Turns one person's frames into blocks."""

    def __init__(self, writer: ClipWriter, tracks: Tracks, labels: Labels | None) -> None:
        config = tracks.piece.config
        align = config.align
        if tracks.piece.clip.stills:  # there is no time to smooth over
            align = align.model_copy(update={"smooth_s": 0.0})
        self.writer = writer
        self._gaps = None if tracks.are_filled else GapFiller(config.detect.max_gap_s)
        self._cutter = CropCutter(align)
        self._labels = labels
        self._kept = tracks.piece.kept
        self._motion = None if tracks.piece.clip.stills else MotionMeter()
        self._n_settled = 0
        self._track_before = tracks.track_before
        self._first_track = NO_TRACK
        self._rows: list[dict[str, Any]] = []

    def add(self, item: TrackedFrame) -> Iterator[Block]:
        """Take the next frame; yield complete blocks."""
        for settled in self._gaps.add(item) if self._gaps is not None else (item,):
            yield from self._cut(settled)

    def flush(self) -> Iterator[Block]:
        """Yield what is left after the last frame."""
        for settled in self._gaps.flush() if self._gaps is not None else ():
            yield from self._cut(settled)
        yield from self._gather(self._cutter.flush())
        if self._rows:
            yield self._complete()

    def _cut(self, item: TrackedFrame) -> Iterator[Block]:
        """Cut a frame if it is kept: smoothing must not see others, so that aligning from the store gives the same."""
        position, self._n_settled = self._n_settled, self._n_settled + 1
        if self._kept is None or position in self._kept:
            if item.track != NO_TRACK and self._first_track == NO_TRACK:
                self._first_track = item.track
            if self._motion is not None and item.status == Status.ok and item.face is not None:
                self._motion.add(item.face.landmarks, item.frame.timestamp_s, item.track)
            yield from self._gather(self._cutter.add(item))
        elif position < self._kept.start and item.track != NO_TRACK:
            self._track_before = item.track

    def finish(self, recording: RecordingAttrs, note: str) -> None:
        """Write the clip's attributes, with a note and a warning of a face that does not move."""
        moves = None if self._motion is None else self._motion.moves
        if recording.segment:  # the whole clip is judged when its segments are joined
            goes_on = self._first_track == self._track_before != NO_TRACK  # the first track kept began before
            recording = replace(recording, goes_on=goes_on, moves=moves)
        motionless = MOTIONLESS if moves is False and not recording.segment else ""
        self.writer.finish(replace(recording, warning=join_warnings(recording.warning, note, motionless)))

    def _gather(self, cropped: Iterable[CroppedFrame]) -> Iterator[Block]:
        for item in cropped:
            self._rows.append(_to_row(item))
            if len(self._rows) == BLOCK_FRAMES:
                yield self._complete()

    def _complete(self) -> Block:
        rows, self._rows = self._rows, []
        return partial(self.writer.append, _fill_block(rows, self.writer.layout, self._labels))


class PeopleRows:
    """Turns the frames of a piece into blocks, for the subject, person 0, or for everyone.

    Someone who appears later gets rows for the frames before. Labels are the subject's.
    """

    def __init__(self, file: PartWriter, tracks: Tracks, labels: Labels | None) -> None:
        self._file = file
        self._tracks = tracks
        self._labels = labels
        self._everyone = tracks.piece.config.detect.faces == "all"
        self._past: list[TrackedFrame] = []
        self.people = {0: self._open(0)}

    def name(self, person: int) -> str:
        """Return the name of a person's clip."""
        clip = self._tracks.piece.clip.clip
        return f"{clip}#{person + 1}" if self._everyone else clip

    def _open(self, person: int) -> PersonRows:
        tracks, labels = self._tracks, self._labels if person == 0 else None
        names = labels.names if labels else ()
        layout = ClipLayout(
            tracks.piece.config.align,
            tracks.n_landmarks,
            tracks.blendshape_names,
            au_names=names,
            au_intensity_names=names if labels and labels.intensity is not None else (),
            has_source_names=bool(tracks.piece.clip.stills),
        )
        return PersonRows(self._file.add_clip(self.name(person), layout), tracks, labels)

    def blocks(self) -> Iterator[Block]:
        """Yield blocks in the order in which to write them."""
        for frame, found in self._tracks.tracked:
            for person in sorted(found.keys() - self.people.keys()) if self._everyone else ():
                self.people[person] = self._open(person)
                for item in self._past:
                    yield from self.people[person].add(item)
            absent = without_face(frame)
            for person, rows in self.people.items():
                yield from rows.add(found.get(person, absent))
            if self._everyone:  # without the image
                bare = Frame(frame.index, frame.timestamp_s, None, frame.name)
                self._past.append(TrackedFrame(bare, absent.status))
        for rows in self.people.values():
            yield from rows.flush()
