"""Extracts a clip or a segment: reads frames, follows faces, cuts crops and streams them to a file.

Frames flow one at a time, so memory does not grow with the clip, except for 0.3 kB per frame where everyone is
followed. Reading begins a little before a segment, so that the tracker has settled at its first row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path

from tclr.pipeline.preprocessing.layout import file_attrs
from tclr.pipeline.preprocessing.pieces import Piece
from tclr.pipeline.preprocessing.rows import PeopleRows
from tclr.pipeline.preprocessing.tracks import Tracks, open_tracks
from tclr.pipeline.store import PartWriter, write_part
from tclr.pipeline.system import begun, encodable, run_ahead
from tclr.schemas.errors import TimelineError
from tclr.schemas.store import RecordingAttrs, join_warnings

MIN_PERSON_S = 0.5
"""People seen for less than this get no clip of their own unless they are seen in all of a shorter clip: they are
passers-by and false detections."""
BLOCKS_AHEAD = 2
"""Blocks of crops, of 5 MB each, that may wait to be written while cutting continues."""


def extract_clip(
    piece: Piece, part: Path, n_ahead: int = 0, report: Callable[[int, int], None] = lambda done, expected: None
) -> None:
    """Extract a clip or a segment into a part file of the store.

    Parameters
    ----------
    piece : Piece
        What to read, see ``survey_clip``.
    part : Path
        The file, which appears only when it is complete.
    n_ahead : int
        How many frames decoding and landmarks may be ahead. With more than 0, they, cutting, writing and hashing the
        source run in separate threads.
    report : callable
        Called with the numbers of frames done and expected (0 if unknown).

    Raises
    ------
    InputError
        If the clip or its labels cannot be read, or the source has changed since it was surveyed.
    TimelineError
        If a segment's frames are not where they should be: the clip must then be extracted in one piece.
    OutputError
        If the part cannot be written.

    Examples
    --------
    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.schemas.config import PreprocessConfig
    >>> piece = survey_clip(find_clips(Path("clips"))[0], PreprocessConfig())
    >>> extract_clip(piece, Path("part.h5"))
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
        piece.check_unchanged()  # if it has, that is the reason
        raise


def _warnings(tracks: Tracks, n_frames: int) -> Iterator[str]:
    """Yield what is unusual about the clip; a truncation comes first, by which later runs know it."""
    piece, error = tracks.piece, tracks.frames.error
    if error:
        reason = "" if piece.clip.pseudonyms else encodable(f" ({error})")  # an error names the path
        yield f"truncated: {n_frames} frames could be decoded{reason}"
    if piece.media.note:
        yield piece.media.note
    if sizes := tracks.frames.sizes.describe():
        yield sizes
    if tracks.rotation and piece.config.detect.rotate == "auto":
        lie = "are upside down" if tracks.rotation == 180 else "lie on their side"
        yield f"the faces {lie}: turned by {tracks.rotation} degrees clockwise to detect them"


def _finish(file: PartWriter, rows: PeopleRows, tracks: Tracks, sha256: str) -> None:
    """Write the clips' attributes; people hardly seen are dropped, the others numbered from 1."""
    piece, media = tracks.piece, tracks.piece.media
    clip, n_frames = piece.clip, rows.people[0].writer.n_frames
    rate = min(piece.config.detect.fps or math.inf, 1 / media.step_s)
    least = 1 if clip.stills else min(MIN_PERSON_S * rate, n_frames)
    # the subject always stays: the labels are theirs
    seen = sorted(person for person, its in rows.people.items() if person == 0 or its.writer.n_faces >= least)
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
        start_s=media.start_s,
        detector=tracks.detector,
        rotation=tracks.rotation,
        warning=join_warnings(*_warnings(tracks, n_frames)),
        segment=piece.segment,
    )
    for person in seen:
        rows.people[person].finish(recording, tracks.note if person == 0 else "")
    file.keep({rows.name(person): rows.name(place) for place, person in enumerate(seen)})
