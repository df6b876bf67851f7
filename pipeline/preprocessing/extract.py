"""One clip: look who is in it, decode once, find the landmarks, follow the faces, cut crops, stream them to a file.

Frames flow one at a time; memory does not grow with the clip's length (but for 0.3 kB a frame where everyone is
followed). Detection does not depend on alignment, except for how far large JPEG images are reduced: where the landmarks
are stored already, only the crops are cut anew. A long clip can be done in segments: each is read from
a little before, so that the tracker has settled where the segment's rows begin, to a little behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cache
from itertools import repeat
from pathlib import Path

import numpy as np

from tclr.pipeline.faces import Detector, open_detector
from tclr.pipeline.preprocessing.replay import Tracked, replay_tracks
from tclr.pipeline.preprocessing.rows import PeopleSinks, PersonSink
from tclr.pipeline.preprocessing.segments import Rows, _read_span, _Span
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import ClipInfo, ClipLayout, PartWriter, Store, root_attrs, write_part
from tclr.pipeline.system import begun, encodable, run_ahead
from tclr.pipeline.tracking import (
    GapFiller,
    PeopleTracker,
    Scouted,
    count_samples,
    rank_faces,
    score_faces,
    scout_people,
)
from tclr.pipeline.video import (
    REDUCTIONS,
    ClipMedia,
    Frame,
    number_shots,
    probe,
    read_frames,
    read_rows,
    sample_frames,
)
from tclr.schemas.config import DEFAULT_LIMITS, AlignConfig, DetectConfig, LimitsConfig
from tclr.schemas.errors import InputError, TruncatedError
from tclr.schemas.store import NO_TRACK, RecordingAttrs

MIN_PERSON_S = 0.5
"""People seen for less than this, and not in all of a shorter clip, get no clip of their own; chosen by us: they are
passers-by and false finds."""
MIN_SIDE_PX = 224
"""Images are not reduced so far that an aligned face spans less than this, however small the crops: the landmark model
looks at 256 pixels."""

BLOCKS_AHEAD = 2
"""Blocks of crops that may wait to be written; chosen by us: cutting goes on meanwhile, and each is 5 MB."""

Report = Callable[[int, int], None]
"""Called with the number of frames done so far and the number expected (0 if the source does not say)."""


def _scale(align: AlignConfig) -> float:
    """Return what the side of a crop with margin 1 is multiplied by to tell how far an image may be reduced."""
    return align.margin / max(align.size, MIN_SIDE_PX)


class _Frames:
    """The frames of a clip, up to where it may be truncated: what came before is kept."""

    def __init__(self, media: ClipMedia, fps: float, reduction: int, span: _Span | None) -> None:
        self._media = media
        self._fps = fps
        self._span = span
        self.reduction = reduction
        self.error: TruncatedError | None = None

    def __iter__(self) -> Iterator[Frame]:
        if self._span is not None:
            span = self._span
            yield from read_rows(self._media, span.timeline, span.lead, span.tail, reduction=self.reduction)
            return
        try:
            yield from read_frames(self._media, self._fps, reduction=self.reduction)
        except TruncatedError as error:
            self.error = error


class _ClipJob:
    """One clip on its way to a part file."""

    def __init__(
        self,
        clip: Clip,
        part: Path,
        detect: DetectConfig,
        align: AlignConfig,
        version: str,
        rows: Rows | None,
        report: Report,
        allow_truncated: bool,
        limits: LimitsConfig,
        n_ahead: int,
    ) -> None:
        self.n_ahead = n_ahead
        self.allow_truncated = allow_truncated
        self.clip = clip
        self.part = part
        self.detect = detect
        self.align = align if not clip.stills else align.model_copy(update={"smooth_s": 0.0})
        self.stored_align = align
        self.version = version
        self.report = report
        self.everyone = detect.faces == "all"
        self.fingerprint = clip.fingerprint()
        self.media = probe(clip, detect.image_fps, limits)
        self.is_jpeg = clip.files()[0].suffix.lower() in (".jpg", ".jpeg")
        self.rows = rows
        self.span: _Span | None = None
        self.labels = clip.read_labels(clip.label_paths) if clip.label_paths and clip.read_labels else None

    def detect_and_align(self) -> None:
        """Find the faces, follow them and cut their crops."""
        if self.rows is not None:
            self.span = _read_span(self.media, self.detect, self.rows, around=True)
        with ExitStack() as stack:
            detector = stack.enter_context(closing(open_detector(self.detect, video=not self.clip.stills)))
            scouted = self._scout(detector)
            frames = _Frames(self.media, self.detect.fps, self._reduction(scouted), self.span)
            numbered = zip(frames, repeat(0)) if self.clip.stills else number_shots(frames)
            score_crop = self._open_scorer(stack) if self.n_ahead else detector.score_crop
            shots = stack.enter_context(closing(run_ahead(numbered, self.n_ahead)))
            followed = stack.enter_context(closing(run_ahead(self._follow(shots, detector, scouted), self.n_ahead)))
            tracked = score_faces(followed, score_crop, self.detect.min_score)
            self._write(tracked, frames, detector.n_landmarks, detector.blendshape_names, detector.name, fill=True)

    def _open_scorer(self, stack: ExitStack) -> Callable[[np.ndarray], float]:
        """Return what scores crops by a detector of its own, opened when it is asked: another thread has the first."""

        @cache
        def scorer() -> Detector:
            return stack.enter_context(closing(open_detector(self.detect, video=False)))

        return lambda crop: scorer().score_crop(crop)

    def align_again(self, detected: Path) -> bool:
        """Cut crops anew from stored landmarks; return whether they hold.

        They do not if images are to be reduced otherwise than when they were found.
        """
        if self.rows is not None:
            self.span = _read_span(self.media, self.detect, self.rows, around=False)
        with Store(detected) as store:
            infos = [info for info in store.clips if info.attrs.source_clip == self.clip.clip]
            infos.sort(key=lambda info: (len(info.clip), info.clip))  # #2 before #10
            if not infos:
                return False
            reduction = self._reduction_again(infos[0])
            if any(info.attrs.reduction != reduction for info in infos):
                return False
            frames = _Frames(self.media, self.detect.fps, reduction, self.span)
            n_landmarks = store.read(infos[0], "landmarks", 0, 1).shape[1]
            shapes = tuple(store.names(infos[0], "blendshapes"))
            before = store.read(infos[0], "track", 0, self.span.start).max(initial=NO_TRACK) if self.span else NO_TRACK
            name = infos[0].attrs.detector
            with closing(run_ahead(frames, self.n_ahead)) as decoded:
                tracked = replay_tracks(decoded, store, infos, self.span.lead if self.span else 0)
                self._write(tracked, frames, n_landmarks, shapes, name, fill=False, track_before=int(before))
        return True

    def _scout(self, detector: Detector) -> Scouted:
        """Look who is in the clip, where there can be several people or images to reduce."""
        if self.clip.stills or (self.detect.max_faces == 1 and not self.is_jpeg):
            return Scouted()
        with closing(run_ahead(sample_frames(self.media, count_samples(self.media)), self.n_ahead)) as samples:
            return scout_people(samples, detector)

    def _reduction(self, scouted: Scouted) -> int:
        """Return how far images are reduced: JPEG as far as crops of the smallest face seen stay as sharp."""
        people = scouted.people if self.everyone else scouted.people[:1]
        sides = [side for person in people for side in person.sides_px]
        if not sides or not self.is_jpeg:
            return 1
        room = min(sides) * _scale(self.align)
        return max(factor for factor in REDUCTIONS if factor <= max(room, 1))

    def _reduction_again(self, before: ClipInfo) -> int:
        """Return the same for a clip that is stored; one looks who is in it only where that can change anything."""
        if not self.is_jpeg or self.clip.stills:
            return 1
        if _scale(before.root.align) == _scale(self.align):
            return before.attrs.reduction
        with closing(open_detector(self.detect, video=False)) as detector:
            return self._reduction(self._scout(detector))

    def _follow(self, shots: Iterable[tuple[Frame, int]], detector: Detector, scouted: Scouted) -> Tracked:
        """Detect and track."""
        if self.clip.stills:
            return rank_faces((frame for frame, _ in shots), detector, self.detect)
        # looking for several faces takes longer, so only where there are several
        if self.detect.max_faces == 1:  # there can be only one, whoever it is
            scouted = Scouted()
        n_faces = scouted.n_faces + 1 if scouted.n_faces > 1 else 1
        detector.n_faces = self.detect.max_faces if self.everyone else min(n_faces, self.detect.max_faces)
        return PeopleTracker(detector, self.detect, scouted, everyone=self.everyone).track(shots)

    def _write(
        self,
        tracked: Tracked,
        frames: _Frames,
        n_landmarks: int,
        blendshape_names: tuple[str, ...],
        detector_name: str,
        *,
        fill: bool,
        track_before: int = NO_TRACK,
    ) -> None:
        """Cut and write the crops of tracked frames, one clip a person."""
        clip = self.clip
        settings = (self.detect, self.stored_align, self.version)
        attrs = root_attrs(clip.dataset, clip.subject, *settings, clip.pseudonym_key)
        with begun(self._sha256, self.n_ahead) as sha256, write_part(self.part, attrs) as part:

            def open_sink(person: int) -> PersonSink:
                labels = self.labels if person == 0 else None
                names = labels.names if labels else ()
                layout = ClipLayout(
                    self.stored_align,
                    n_landmarks,
                    blendshape_names,
                    au_names=names,
                    au_intensity_names=names if labels and labels.intensity is not None else (),
                    has_source_names=bool(self.clip.stills),
                )
                writer = part.add_clip(self._name(person), layout)
                gaps = GapFiller(self.detect.max_gap_s) if fill and not self.clip.stills else None
                kept = self.span.kept if self.span else None
                return PersonSink(writer, self.align, gaps=gaps, labels=labels, kept=kept, track_before=track_before)

            people = PeopleSinks(open_sink, everyone=self.everyone)
            n_expected = len(self.span.kept) if self.span else self.media.n_expected
            with closing(run_ahead(people.blocks(tracked), min(self.n_ahead, BLOCKS_AHEAD))) as blocks:
                for block in blocks:
                    block.write()
                    self.report(people.sinks[0].writer.n_frames, n_expected)
            if frames.error is not None and not self.allow_truncated:
                raise frames.error
            self._finish(part, people.sinks, frames, detector_name, sha256)

    def _name(self, person: int) -> str:
        return f"{self.clip.clip}#{person + 1}" if self.everyone else self.clip.clip

    def _sha256(self) -> str:
        """Return the source's; of a clip's segments the first one alone reads the whole file for it."""
        return self.clip.sha256() if self.span is None or self.span.start == 0 else ""

    def _finish(
        self,
        part: PartWriter,
        sinks: Mapping[int, PersonSink],
        frames: _Frames,
        detector_name: str,
        sha256: Callable[[], str],
    ) -> None:
        """Write the clips' attributes; people hardly seen are dropped, and the others counted from 1."""
        rate = min(self.detect.fps or math.inf, 1 / self.media.step_s)
        n_frames = sinks[0].writer.n_frames
        least = 1 if self.clip.stills else min(MIN_PERSON_S * rate, n_frames)
        # the subject stays in any case: the first clip and the labels are theirs
        seen = [person for person, sink in sinks.items() if person == 0 or sink.writer.n_faces >= least]
        warning = f"truncated: {n_frames} frames could be decoded" if frames.error else ""
        if frames.error and not self.clip.pseudonyms:  # an error tells the path
            warning += encodable(f" ({frames.error})")
        digest = sha256()
        if self.clip.fingerprint() != self.fingerprint:
            raise InputError(f"{self.clip.path} has changed while it was read. Run the same command again.")
        recording = RecordingAttrs(
            source=self.clip.source,
            source_sha256=digest,
            source_fingerprint=self.fingerprint,
            tclr_version=self.version,
            source_clip=self.clip.clip,
            n_people=len(seen),
            reduction=frames.reduction,
            fps=self.media.fps,
            width=self.media.width,
            height=self.media.height,
            detector=detector_name,
            warning=warning,
        )
        for person in seen:
            if self.span is not None:
                rows = f"{self.span.start}:{self.span.stop}"
                recording = replace(recording, segment=rows, goes_on=sinks[person].goes_on)
            sinks[person].writer.finish(recording)
        part.keep({self._name(person): self._name(place) for place, person in enumerate(sorted(seen))})


def extract_clip(
    clip: Clip,
    part: Path,
    detect: DetectConfig,
    align: AlignConfig,
    version: str,
    *,
    detected: Path | None = None,
    rows: Rows | None = None,
    allow_truncated: bool = False,
    limits: LimitsConfig = DEFAULT_LIMITS,
    n_ahead: int = 0,
    report: Report = lambda n_frames, n_expected: None,
) -> None:
    """Extract one clip into a part file of the store.

    Parameters
    ----------
    clip : Clip
        What to read.
    part : Path
        The file to write; it appears only when it is complete.
    detect, align : DetectConfig, AlignConfig
        Settings.
    version : str
        Version of tclr, recorded in the file.
    detected : Path, optional
        A store file with this clip's landmarks, found under the same ``detect``: they are not looked for again.
    rows : (int, int), optional
        Only this segment, one of ``plan_segments``.
    allow_truncated : bool
        Keep what decodes of a truncated video, with a warning, instead of an error.
    limits : LimitsConfig
        Largest picture and longest clip.
    n_ahead : int
        How many frames decoding and landmarks may be ahead (``run_ahead``); they, cutting, writing and hashing the
        source then have threads of their own. 0 for none.
    report : callable
        Called with the number of frames done so far and the number expected (0 if the source does not say).

    Raises
    ------
    InputError
        If the clip or its labels cannot be read.
    TimelineError
        If a segment's frames are not where they should be: the clip is then to be done in one piece.
    OutputError
        If the part cannot be written.
    """
    job = _ClipJob(clip, part, detect, align, version, rows, report, allow_truncated, limits, n_ahead)
    if detected is None or not job.align_again(detected):
        job.detect_and_align()
