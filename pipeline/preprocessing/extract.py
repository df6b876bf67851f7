"""One clip, or a segment of one: frames are read, faces followed, crops cut and streamed to a file.

Frames flow one at a time; memory does not grow with the clip's length (but for 0.3 kB per frame where everyone is
followed). A segment is read from a little before, so that the tracker has settled where the segment's rows begin, to a
little behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from tclr.pipeline.preprocessing.layout import file_attrs
from tclr.pipeline.preprocessing.pieces import Piece, name_rows
from tclr.pipeline.preprocessing.rows import PeopleRows
from tclr.pipeline.preprocessing.tracks import Tracks, open_tracks
from tclr.pipeline.store import PartWriter, write_part
from tclr.pipeline.system import begun, encodable, run_ahead
from tclr.schemas.errors import TimelineError
from tclr.schemas.store import RecordingAttrs

MIN_PERSON_S = 0.5
"""People seen for less than this, and not in all of a shorter clip, get no clip of their own; chosen by us: they are
passers-by and false finds."""
BLOCKS_AHEAD = 2
"""Blocks of crops that may wait to be written; chosen by us: cutting goes on meanwhile, and each is 5 MB."""
Report = Callable[[int, int], None]
"""Called with the number of frames done so far and the number expected (0 if the source does not say)."""


def _ignore(n_frames: int, n_expected: int) -> None:
    """Report to nobody."""


def extract_clip(piece: Piece, part: Path, n_ahead: int = 0, report: Report = _ignore) -> None:
    """Extract a clip or a segment into a part file of the store, which appears only when it is complete.

    Decoding and landmarks may be ``n_ahead`` frames ahead (``run_ahead``); they, cutting, writing and hashing the
    source then have threads of their own.

    Raises
    ------
    InputError
        If the clip or its labels cannot be read, or the source is no longer what it was when it was surveyed.
    TimelineError
        If a segment's frames are not where they should be: the clip is then to be done in one piece.
    OutputError
        If the part cannot be written.
    """
    clip, config = piece.clip, piece.config
    labels = clip.read_labels(clip.label_paths) if clip.label_paths and clip.read_labels else None
    try:
        with ExitStack() as stack:
            tracks = stack.enter_context(open_tracks(piece, n_ahead))
            sha256 = stack.enter_context(begun(piece.sha256, n_ahead))
            file = stack.enter_context(write_part(part, file_attrs(clip, config)))
            rows = PeopleRows(file, tracks, labels)
            with closing(run_ahead(rows.blocks(), min(n_ahead, BLOCKS_AHEAD))) as blocks:
                for write in blocks:
                    write()
                    report(rows.people[0].writer.n_frames, piece.n_expected)
            if tracks.frames.error is not None and not config.allow_truncated:
                raise tracks.frames.error
            _finish(file, rows, tracks, sha256())
    except TimelineError:
        piece.check_unchanged()  # if it has not changed, it cannot be cut
        raise


def _finish(file: PartWriter, rows: PeopleRows, tracks: Tracks, sha256: str) -> None:
    """Write the clips' attributes; people hardly seen are dropped, and the others counted from 1."""
    piece, media, error = tracks.piece, tracks.piece.media, tracks.frames.error
    clip, n_frames = piece.clip, rows.people[0].writer.n_frames
    rate = min(piece.config.detect.fps or math.inf, 1 / media.step_s)
    least = 1 if clip.stills else min(MIN_PERSON_S * rate, n_frames)
    # the subject stays in any case: the first clip and the labels are theirs
    seen = sorted(person for person, its in rows.people.items() if person == 0 or its.writer.n_faces >= least)
    warning = f"truncated: {n_frames} frames could be decoded" if error else ""
    if error and not clip.pseudonyms:  # an error tells the path
        warning += encodable(f" ({error})")
    piece.check_unchanged()
    recording = RecordingAttrs(
        source=clip.source,
        source_sha256=sha256,
        source_fingerprint=piece.fingerprint,
        tclr_version=version("tclr-face"),
        source_clip=clip.clip,
        n_people=len(seen),
        reduction=tracks.frames.reduction,
        fps=media.fps,
        width=media.width,
        height=media.height,
        detector=tracks.detector,
        warning=warning,
    )
    for person in seen:
        if piece.rows is not None:
            recording = replace(recording, segment=name_rows(piece.rows), goes_on=rows.people[person].goes_on)
        rows.people[person].writer.finish(recording)
    file.keep({rows.name(person): rows.name(place) for place, person in enumerate(seen)})
