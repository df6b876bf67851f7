"""The faces in a piece's frames by person: detected and followed, or read from a store that has them.

Detection does not depend on alignment, except for how far large JPEG images are reduced. Where landmarks are stored,
only crops are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from pathlib import Path

import numpy as np

from tclr.pipeline.faces import TURNS, Detector, Face, TurnedDetector, open_detector
from tclr.pipeline.preprocessing.pieces import Piece, PieceFrames
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import run_ahead
from tclr.pipeline.tracking import (
    NOTE,
    PeopleTracker,
    Scouted,
    TrackedFrame,
    choose_subject,
    count_samples,
    rank_faces,
    score_faces,
    scout_people,
)
from tclr.pipeline.video import REDUCTIONS, Frame, number_shots, sample_frames, sample_start
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.errors import InputError
from tclr.schemas.store import FACE_STATUSES, NO_TRACK, TABLE_CHUNK, Status, split_warning

MIN_SIDE_PX = 224
"""Images are reduced only so far that an aligned face spans at least this: the landmark model's input is 256 pixels."""
WATCH = (6.0, 5.0)
"""Where several people are scouted: seconds from a clip's start that are watched at most, and frames per second, to see
which of them move. A photograph shows after 3 s."""
Tracked = Iterator[tuple[Frame, Mapping[int, TrackedFrame]]]
"""Each frame with its faces by person; the subject is 0."""


@dataclass(frozen=True)
class Tracks:
    """The faces in a piece's frames, and where they come from."""

    piece: Piece
    frames: PieceFrames  # which ``tracked`` reads
    tracked: Tracked
    detector: str  # name of the detector
    n_landmarks: int
    blendshape_names: tuple[str, ...]
    are_filled: bool  # whether gaps need no filling
    track_before: int = NO_TRACK  # the subject's last track before the piece, if it is stored
    rotation: int = 0  # degrees clockwise by which faces were turned upright
    note: str = ""  # see ``Scouted``


@contextmanager
def open_tracks(piece: Piece, n_ahead: int) -> Iterator[Tracks]:
    """Open the tracks that a piece's store file has if they are valid; otherwise detect them.

    ``n_ahead`` is how many frames decoding and landmarks may be ahead, see ``run_ahead``.
    """
    if piece.detected is not None:
        with _load_tracks(piece.without_margins(), piece.detected, n_ahead) as stored:
            if stored is not None:
                yield stored
                return
    with _find_tracks(piece, n_ahead) as found:
        yield found


@contextmanager
def _find_tracks(piece: Piece, n_ahead: int) -> Iterator[Tracks]:
    """Scout the people, decode, detect landmarks, follow faces and score them."""
    detect, is_video = piece.config.detect, not piece.clip.stills
    with ExitStack() as stack:
        detector = stack.enter_context(closing(open_detector(detect, video=is_video)))
        scouted = piece.scouted or scout(piece, n_ahead, detector)
        if scouted.turn:
            detector = TurnedDetector(detector, scouted.turn)
        frames = PieceFrames(piece, _choose_reduction(piece, scouted))
        numbered = number_shots(frames) if is_video else zip(frames, repeat(0))
        shots = stack.enter_context(closing(run_ahead(numbered, n_ahead)))
        following = _follow(shots, detector, detect, scouted, is_video=is_video)
        followed = stack.enter_context(closing(run_ahead(following, n_ahead)))
        score_crop = _open_scorer(stack, detect) if n_ahead else detector.score_crop
        tracked = score_faces(followed, score_crop, detect.min_score)
        names, n_landmarks = detector.blendshape_names, detector.n_landmarks
        yield Tracks(
            piece,
            frames,
            tracked,
            detector.name,
            n_landmarks,
            names,
            are_filled=not is_video,
            rotation=scouted.turn,
            note=scouted.note,
        )


def _open_scorer(stack: ExitStack, detect: DetectConfig) -> Callable[[np.ndarray], float]:
    """Return a scorer of crops with its own detector, opened at first use: another thread uses the first."""

    @cache
    def scorer() -> Detector:
        return stack.enter_context(closing(open_detector(detect, video=False)))

    return lambda crop: scorer().score_crop(crop)


def _follow(
    shots: Iterable[tuple[Frame, int]], detector: Detector, detect: DetectConfig, scouted: Scouted, *, is_video: bool
) -> Tracked:
    if not is_video:
        return rank_faces((frame for frame, _ in shots), detector, detect)
    everyone = detect.faces == "all"
    if detect.max_faces == 1:  # there can be only one, whoever it is
        scouted = Scouted()
    # detecting several faces takes longer, so only where there are several
    n_faces = scouted.n_faces + 1 if scouted.n_faces > 1 else 1
    detector.n_faces = detect.max_faces if everyone else min(n_faces, detect.max_faces)
    return PeopleTracker(detector, detect, scouted, everyone=everyone).track(shots)


@contextmanager
def _load_tracks(piece: Piece, path: Path, n_ahead: int) -> Iterator[Tracks | None]:
    """Open the tracks of a store file; ``None`` if images must now be reduced differently."""
    with Store(path, skip_damaged=True) as store:
        infos = [info for info in store.clips if info.attrs.source_clip == piece.clip.clip]
        infos.sort(key=lambda info: (len(info.clip), info.clip))  # #2 before #10
        reduction = _reduction_again(infos[0], piece, n_ahead) if infos else 1
        if not infos or any(info.attrs.reduction != reduction for info in infos):
            yield None
            return
        frames, first = PieceFrames(piece, reduction), infos[0]
        n_landmarks, names = store.read(first, "landmarks", 0, 1).shape[1], tuple(store.names(first, "blendshapes"))
        before = int(store.read(first, "track", 0, piece.lead).max(initial=NO_TRACK))
        with closing(run_ahead(frames, n_ahead)) as decoded:
            tracked = _replay(decoded, store, infos, piece.lead)
            attrs = first.attrs
            note = "".join(part for part in split_warning(attrs.warning) if part.startswith(NOTE))
            yield Tracks(piece, frames, tracked, attrs.detector, n_landmarks, names, True, before, attrs.rotation, note)


def _replay(frames: Iterable[Frame], store: Store, infos: Sequence[ClipInfo], first_row: int) -> Tracked:
    """Yield frames, beginning with ``first_row``, with the stored faces."""
    fields = ["source_frame", "status", "track", "score", "landmarks", "pose"]
    fields += ["blendshapes"] * bool(store.names(infos[0], "blendshapes"))
    blocks: list[dict[str, np.ndarray]] = []
    for position, frame in enumerate(frames):
        place = position % TABLE_CHUNK
        if place == 0:
            row = first_row + position
            blocks = [{name: store.read(info, name, row, row + TABLE_CHUNK) for name in fields} for info in infos]
        if place >= len(blocks[0]["status"]) or blocks[0]["source_frame"][place] != frame.index:
            raise InputError(f"The source of clip {infos[0].name} changed while it was re-aligned. Run again.")
        yield frame, {person: _replay_row(frame, block, place) for person, block in enumerate(blocks)}


def _replay_row(frame: Frame, block: dict[str, np.ndarray], place: int) -> TrackedFrame:
    status = Status(int(block["status"][place]))
    if status not in FACE_STATUSES:
        return TrackedFrame(frame, status)
    shapes = block["blendshapes"][place] if "blendshapes" in block else None
    face = Face(block["landmarks"][place], block["pose"][place], shapes)
    return TrackedFrame(frame, status, float(block["score"][place]), face, int(block["track"][place]))


def _is_jpeg(clip: Clip) -> bool:
    return not clip.stills and clip.files()[0].suffix.lower() in (".jpg", ".jpeg")


def scout(piece: Piece, n_ahead: int, detector: Detector | None = None) -> Scouted:
    """Scout the people in a clip and which way up they are, and choose the subject; stills show unrelated people."""
    detect, texture = piece.config.detect, piece.config.subject_texture
    turns = TURNS if detect.rotate == "auto" else (int(detect.rotate),)
    if piece.clip.stills and (detect.subject_at or detect.subject_face):
        raise InputError(
            f"Expected a video, since 'subject_at' or 'subject_face' names its subject, but {piece.clip.path} is a set "
            "of pictures. Leave the setting out: the largest face of each is taken, or everyone with --faces all."
        )
    if piece.clip.stills:
        return Scouted(turn=turns[0])
    with ExitStack() as stack:
        if detector is None:
            detector = stack.enter_context(closing(open_detector(detect, video=False)))
        samples = sample_frames(piece.media, count_samples(piece.media))
        shown = stack.enter_context(closing(run_ahead(samples, n_ahead)))
        scouted = scout_people(shown, detector, turns, textures=texture is not None)
        start = stack.enter_context(closing(run_ahead(sample_start(piece.media, *WATCH), n_ahead)))
        return choose_subject(scouted, detect, texture, start, detector)


def _enlargement(align: AlignConfig) -> float:
    """Return how far an image may be reduced, per pixel of the side of a crop with margin 1."""
    return align.margin / max(align.size, MIN_SIDE_PX)


def _choose_reduction(piece: Piece, scouted: Scouted) -> int:
    """Return the factor to reduce images by: JPEG as far as crops of the smallest face seen stay sharp."""
    people = scouted.people if piece.config.detect.faces == "all" else scouted.people[:1]
    sides = [side for person in people for side in person.sides_px]
    if not sides or not _is_jpeg(piece.clip):
        return 1
    room = min(sides) * _enlargement(piece.config.align)
    return max(factor for factor in REDUCTIONS if factor <= max(room, 1))


def _reduction_again(before: ClipInfo, piece: Piece, n_ahead: int) -> int:
    """Return the same for a stored clip, which is scouted only where that can change the factor."""
    if not _is_jpeg(piece.clip):
        return 1
    if _enlargement(before.root.align) == _enlargement(piece.config.align):
        return before.attrs.reduction
    return _choose_reduction(piece, piece.scouted or scout(piece, n_ahead))
