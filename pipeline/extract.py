"""One clip: decode once, find the landmarks, follow the subject's face, cut crops, stream them to a part file.

Frames flow through generators, one at a time; memory is one block of frames, whatever the clip's length. Detection
does not depend on alignment: where the landmarks are stored already, only the crops are cut anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.crops import CroppedFrame, cut_crops
from tclr.pipeline.faces import Face, open_detector
from tclr.pipeline.sources import Clip, Labels
from tclr.pipeline.store import ClipInfo, ClipLayout, ClipWriter, Store, root_attrs, write_clip
from tclr.pipeline.tracking import SubjectTracker, TrackedFrame, fill_gaps
from tclr.pipeline.video import ClipMedia, Frame, probe, read_frames
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.errors import InputError, TruncatedError
from tclr.schemas.store import CHUNK_FRAMES, CLIP_FIELDS, FACE_STATUSES, QUALITY_ATTRS, Status

BLOCK_FRAMES = 4 * CHUNK_FRAMES
"""Frames written at once; a multiple of the chunk, so that each chunk is compressed once."""


class _Quality:
    """Collects the few numbers a frame that a clip's summary is made of."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, float, float]] = []
        self._last_s = 0.0

    def add(self, cropped: CroppedFrame) -> None:
        """Note one frame."""
        tracked = cropped.tracked
        self._last_s = tracked.frame.timestamp_s
        if tracked.face is not None:
            yaw = abs(float(tracked.face.pose[1]))
            self._rows.append((tracked.score, cropped.sharpness, tracked.face.size_px, yaw))

    def attrs(self) -> dict[str, float]:
        """Return the clip's ``QUALITY_ATTRS``."""
        medians = np.median(self._rows, axis=0) if self._rows else np.full(4, np.nan)
        return dict(zip(QUALITY_ATTRS, (self._last_s, *map(float, medians)), strict=True))


class _Frames:
    """The frames of a clip, up to where it may be truncated: what came before is kept."""

    def __init__(self, media: ClipMedia, fps: float) -> None:
        self._media = media
        self._fps = fps
        self.error: TruncatedError | None = None

    def __iter__(self) -> Iterator[Frame]:
        try:
            yield from read_frames(self._media, self._fps)
        except TruncatedError as error:
            self.error = error


def replay_track(frames: Iterable[Frame], store: Store, info: ClipInfo) -> Iterator[TrackedFrame]:
    """Yield decoded frames with the faces that a store already has of them.

    Raises
    ------
    InputError
        If the source has other frames than the store.
    """
    has_blendshapes = bool(store.names(info, "blendshapes"))
    fields = ["source_frame", "status", "score", "landmarks", "pose", *(["blendshapes"] * has_blendshapes)]
    block: dict[str, np.ndarray] = {}
    for row, frame in enumerate(frames):
        place = row % BLOCK_FRAMES
        if place == 0:
            block = {name: store.read(info, name, row, row + BLOCK_FRAMES) for name in fields}
        if place >= len(block["status"]) or block["source_frame"][place] != frame.index:
            raise InputError(f"The source of clip {info.name} has changed while it was aligned again. Run again.")
        status = Status(int(block["status"][place]))
        if status not in FACE_STATUSES:
            yield TrackedFrame(frame, status)
            continue
        shapes = block["blendshapes"][place] if has_blendshapes else None
        face = Face(block["landmarks"][place], block["pose"][place], shapes)
        yield TrackedFrame(frame, status, float(block["score"][place]), face)


def _to_row(cropped: CroppedFrame) -> dict[str, Any]:
    """Return the values of one row; what is missing is left out."""
    tracked = cropped.tracked
    frame, face = tracked.frame, tracked.face
    row: dict[str, Any] = {
        "timestamp": frame.timestamp_s,
        "source_frame": frame.index,
        "source_name": frame.name,
        "status": tracked.status,
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
    shapes = {**layout.shapes(), "frames": (layout.align.size, layout.align.size, 3)}
    shapes.pop("frames_jpeg", None)
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


def _write_rows(
    cropped: Iterable[CroppedFrame], writer: ClipWriter, labels: Labels | None, report: Callable[[int], None]
) -> _Quality:
    """Write all frames, block by block; return what they are like."""
    quality = _Quality()
    rows: list[dict[str, Any]] = []
    for item in cropped:
        quality.add(item)
        rows.append(_to_row(item))
        if len(rows) == BLOCK_FRAMES:
            writer.append(_fill_block(rows, writer.layout, labels))
            rows.clear()
            report(writer.n_frames)
    if rows:
        writer.append(_fill_block(rows, writer.layout, labels))
    return quality


def _warning(writer: ClipWriter, truncated: TruncatedError | None) -> str:
    if truncated is not None:
        return f"truncated: {writer.n_frames} frames could be decoded ({truncated})"
    return "" if writer.n_faces else f"no face in any of {writer.n_frames} frames"


def _clip_attrs(clip: Clip, media: ClipMedia) -> dict[str, Any]:
    return {
        "source": clip.source,
        "source_sha256": clip.sha256(),
        "source_fingerprint": clip.fingerprint(),
        "fps": media.fps,
        "width": media.width,
        "height": media.height,
    }


class _ClipJob:
    """One clip on its way to a part file."""

    def __init__(self, clip: Clip, part: Path, detect: DetectConfig, align: AlignConfig, version: str) -> None:
        self.clip = clip
        self.part = part
        self.detect = detect
        self.align = align if not clip.stills else align.model_copy(update={"smooth_s": 0.0})
        self.stored_align = align
        self.version = version
        self.media = probe(clip, detect.image_fps)
        self.labels = clip.read_labels(clip.label_paths) if clip.label_paths and clip.read_labels else None
        self.frames = _Frames(self.media, detect.fps)

    def write(
        self,
        tracked: Iterable[TrackedFrame],
        detector_name: str,
        n_landmarks: int,
        blendshape_names: tuple[str, ...],
        report: Callable[[int, int], None],
        *,
        allow_truncated: bool,
    ) -> None:
        """Cut and write the crops of tracked frames."""
        names = self.labels.names if self.labels else ()
        layout = ClipLayout(
            self.stored_align,
            n_landmarks,
            blendshape_names,
            au_names=names,
            au_intensity_names=names if self.labels and self.labels.intensity is not None else (),
            has_source_names=bool(self.clip.stills),
        )
        attrs = root_attrs(self.clip.dataset, self.clip.subject, self.detect, self.stored_align, self.version)
        with write_clip(self.part, self.clip.clip, layout, attrs) as writer:
            cropped = cut_crops(tracked, self.align)
            quality = _write_rows(cropped, writer, self.labels, lambda n: report(n, self.media.n_expected))
            if self.frames.error is not None and not allow_truncated:
                raise self.frames.error
            warning = {"warning": _warning(writer, self.frames.error)}
            facts = _clip_attrs(self.clip, self.media)
            writer.finish({**facts, **quality.attrs(), **warning, "detector": detector_name})


def extract_clip(
    clip: Clip,
    part: Path,
    detect: DetectConfig,
    align: AlignConfig,
    version: str,
    *,
    detected: Path | None = None,
    allow_truncated: bool = False,
    report: Callable[[int, int], None] = lambda n_frames, n_expected: None,
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
    allow_truncated : bool
        Keep what decodes of a truncated video, with a warning, instead of an error.
    report : callable
        Called with the number of frames written so far and the number expected (0 if the source does not say).

    Raises
    ------
    InputError
        If the clip or its labels cannot be read.
    OutputError
        If the part cannot be written.
    """
    job = _ClipJob(clip, part, detect, align, version)
    if detected is not None:
        with Store(detected) as store:
            info = next(info for info in store.clips if info.clip == clip.clip)
            replayed = replay_track(job.frames, store, info)
            n_landmarks = store.read(info, "landmarks", 0, 1).shape[1]
            shapes = tuple(store.names(info, "blendshapes"))
            name = info.attrs["detector"]
            job.write(replayed, name, n_landmarks, shapes, report, allow_truncated=allow_truncated)
        return
    with closing(open_detector(detect, video=not clip.stills)) as detector:
        tracked = SubjectTracker(detector, detect, tracked=not clip.stills).track(job.frames)
        if not clip.stills:
            tracked = fill_gaps(tracked, detect.max_gap_s)
        names = detector.blendshape_names
        job.write(tracked, detector.name, detector.n_landmarks, names, report, allow_truncated=allow_truncated)
