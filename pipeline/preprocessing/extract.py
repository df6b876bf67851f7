"""One clip, or a segment of one: its faces are followed, their crops cut and streamed to a file.

Frames flow one at a time; memory does not grow with the clip's length (but for 0.3 kB per frame where everyone is
followed). A segment is read from a little before, so that the tracker has settled where the segment's rows begin, to a
little behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack, closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tclr.pipeline.preprocessing.layout import file_attrs
from tclr.pipeline.preprocessing.pieces import Piece, name_rows, survey_clip
from tclr.pipeline.preprocessing.rows import PeopleSinks, PersonSink
from tclr.pipeline.preprocessing.tracks import Tracks, open_tracks
from tclr.pipeline.sources import Clip, Labels
from tclr.pipeline.store import ClipLayout, PartWriter, write_part
from tclr.pipeline.system import begun, encodable, run_ahead
from tclr.pipeline.tracking import GapFiller
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import TimelineError

MIN_PERSON_S = 0.5
"""People seen for less than this, and not in all of a shorter clip, get no clip of their own; chosen by us: they are
passers-by and false finds."""
BLOCKS_AHEAD = 2
"""Blocks of crops that may wait to be written; chosen by us: cutting goes on meanwhile, and each is 5 MB."""

Report = Callable[[int, int], None]
"""Called with the number of frames done so far and the number expected (0 if the source does not say)."""


def extract_clip(
    clip: Clip,
    part: Path,
    config: PreprocessConfig,
    *,
    detected: Path | None = None,
    n_ahead: int = 0,
    report: Report = lambda n_frames, n_expected: None,
) -> None:
    """Extract one clip into a part file of the store; see ``extract_piece``.

    ``detected`` is a store file with this clip's landmarks, found under the same settings: they are not looked for
    again.
    """
    extract_piece(survey_clip(clip, config, detected), part, config, n_ahead, report)


def extract_piece(piece: Piece, part: Path, config: PreprocessConfig, n_ahead: int, report: Report) -> None:
    """Extract a clip or a segment into a part file of the store.

    Parameters
    ----------
    piece : Piece
        What to read.
    part : Path
        The file to write; it appears only when it is complete.
    config : PreprocessConfig
        Settings.
    n_ahead : int
        How many frames decoding and landmarks may be ahead (``run_ahead``); they, cutting, writing and hashing the
        source then have threads of their own. 0 for none.
    report : callable
        See ``Report``.

    Raises
    ------
    InputError
        If the clip or its labels cannot be read, or the source has changed since the piece was planned.
    TimelineError
        If a segment's frames are not where they should be: the clip is then to be done in one piece.
    OutputError
        If the part cannot be written.
    """
    clip = piece.clip
    labels = clip.read_labels(clip.label_paths) if clip.label_paths and clip.read_labels else None
    try:
        with ExitStack() as stack:
            tracks = stack.enter_context(open_tracks(piece, config, n_ahead))
            sha256 = stack.enter_context(begun(piece.sha256, n_ahead))
            file = stack.enter_context(write_part(part, file_attrs(clip, config)))
            people = _open_people(file, tracks, labels, config)
            with closing(run_ahead(people.blocks(tracks.tracked), min(n_ahead, BLOCKS_AHEAD))) as blocks:
                for block in blocks:
                    block.write()
                    report(people.sinks[0].writer.n_frames, piece.n_expected)
            if tracks.frames.error is not None and not config.allow_truncated:
                raise tracks.frames.error
            _finish(file, people, tracks, config, sha256())
    except TimelineError:
        piece.check_unchanged()  # if it has not changed, it cannot be cut
        raise


def _name(clip: Clip, person: int, config: PreprocessConfig) -> str:
    return f"{clip.clip}#{person + 1}" if config.detect.faces == "all" else clip.clip


def _open_people(file: PartWriter, tracks: Tracks, labels: Labels | None, config: PreprocessConfig) -> PeopleSinks:
    """Return what makes rows of tracked frames, one clip per person; labels are the subject's."""
    clip, align = tracks.piece.clip, config.align
    if clip.stills:  # smoothing knows no time between them
        align = align.model_copy(update={"smooth_s": 0.0})

    def open_sink(person: int) -> PersonSink:
        own = labels if person == 0 else None
        names = own.names if own else ()
        layout = ClipLayout(
            config.align,
            tracks.n_landmarks,
            tracks.blendshape_names,
            au_names=names,
            au_intensity_names=names if own and own.intensity is not None else (),
            has_source_names=bool(clip.stills),
        )
        return PersonSink(
            file.add_clip(_name(clip, person, config), layout),
            align,
            gaps=None if tracks.are_filled else GapFiller(config.detect.max_gap_s),
            labels=own,
            kept=tracks.piece.kept,
            track_before=tracks.track_before,
        )

    return PeopleSinks(open_sink, everyone=config.detect.faces == "all")


def _finish(file: PartWriter, people: PeopleSinks, tracks: Tracks, config: PreprocessConfig, sha256: str) -> None:
    """Write the clips' attributes; people hardly seen are dropped, and the others counted from 1."""
    piece, media, error, sinks = tracks.piece, tracks.piece.media, tracks.frames.error, people.sinks
    clip, n_frames = piece.clip, sinks[0].writer.n_frames
    rate = min(config.detect.fps or math.inf, 1 / media.step_s)
    least = 1 if clip.stills else min(MIN_PERSON_S * rate, n_frames)
    # the subject stays in any case: the first clip and the labels are theirs
    seen = sorted(person for person, sink in sinks.items() if person == 0 or sink.writer.n_faces >= least)
    warning = f"truncated: {n_frames} frames could be decoded" if error else ""
    if error and not clip.pseudonyms:  # an error tells the path
        warning += encodable(f" ({error})")
    piece.check_unchanged()
    attrs: dict[str, Any] = {
        "source": clip.source,
        "source_sha256": sha256,
        "source_fingerprint": piece.fingerprint,
        "tclr_version": version("tclr-face"),
        "source_clip": clip.clip,
        "n_people": len(seen),
        "reduction": tracks.frames.reduction,
        "fps": media.fps,
        "width": media.width,
        "height": media.height,
        "detector": tracks.detector,
        "warning": warning,
    }
    for person in seen:
        if piece.rows is not None:
            attrs |= {"segment": name_rows(piece.rows), "goes_on": sinks[person].goes_on}
        sinks[person].writer.finish(attrs)
    file.keep({_name(clip, person, config): _name(clip, place, config) for place, person in enumerate(seen)})
