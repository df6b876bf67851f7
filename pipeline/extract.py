"""One clip: decode once, find the landmarks, follow the subject's face, cut crops, stream them to a part file.

Memory is one block of frames, whatever the clip's length.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.align import align_transform, compute_sharpness, warp_crop
from tclr.pipeline.faces import Detector, Face, open_detector
from tclr.pipeline.sources import Clip, Labels
from tclr.pipeline.store import ClipLayout, ClipWriter, root_attrs, write_clip
from tclr.pipeline.tracking import choose_face
from tclr.pipeline.video import ClipMedia, Frame, probe, read_frames
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.errors import TruncatedError
from tclr.schemas.store import CHUNK_FRAMES, CLIP_FIELDS, QUALITY_ATTRS, Status

BLOCK_FRAMES = 4 * CHUNK_FRAMES
"""Frames written at once; a multiple of the chunk, so that each chunk is compressed once."""


class _Quality:
    """Collects the few numbers a frame that a clip's summary is made of."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, float, float]] = []
        self._last_s = 0.0

    def add(self, row: dict[str, Any]) -> None:
        """Note one row."""
        self._last_s = row["timestamp"]
        if "face_px" in row:
            self._rows.append((row["score"], row["sharpness"], row["face_px"], abs(float(row["pose"][1]))))

    def attrs(self) -> dict[str, float]:
        """Return the clip's ``QUALITY_ATTRS``."""
        medians = np.median(self._rows, axis=0) if self._rows else np.full(4, np.nan)
        return dict(zip(QUALITY_ATTRS, (self._last_s, *map(float, medians)), strict=True))


class _Subject:
    """Follows the subject's face through a clip and scores it."""

    def __init__(self, detector: Detector, detect: DetectConfig, align: AlignConfig, *, tracked: bool) -> None:
        self._tracked = tracked
        self._detector = detector
        self._detect = detect
        self._align = align
        self._bbox: np.ndarray | None = None
        self._score = 0.0
        self._since_check = 0

    def row(self, frame: Frame) -> dict[str, Any]:
        """Return the row of one frame; what is missing is left out."""
        row: dict[str, Any] = {"timestamp": frame.timestamp_s, "source_frame": frame.index, "source_name": frame.name}
        if frame.image is None:
            return {**row, "status": Status.unreadable}
        if not self._tracked:
            self._bbox = None
        face = choose_face(self._detector.detect(frame.image, frame.timestamp_s), self._bbox)
        if face is None:
            self._bbox = None
            return {**row, "status": Status.no_face}
        return {**row, **self._face_row(frame.image, face)}

    def _face_row(self, image: np.ndarray, face: Face) -> dict[str, Any]:
        transform = align_transform(face.landmarks, self._align.size, self._align.margin)
        crop = warp_crop(image, transform, self._align.size)
        if self._bbox is None or self._since_check >= self._detect.score_every:
            self._score = self._detector.score_crop(crop)
            self._since_check = 0
        self._since_check += 1
        self._bbox = face.bbox
        low = self._score < self._detect.min_score or face.size_px < self._detect.min_face_px
        return {
            "status": Status.low_confidence if low else Status.ok,
            "score": self._score,
            "sharpness": compute_sharpness(crop),
            "bbox": face.bbox,
            "face_px": face.size_px,
            "landmarks": face.landmarks,
            "transform": transform,
            "pose": face.pose,
            "blendshapes": face.blendshapes,
            "frames": crop,
        }


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


def _stream(
    media: ClipMedia,
    fps: float,
    subject: _Subject,
    writer: ClipWriter,
    quality: _Quality,
    labels: Labels | None,
    report: Callable[[int, int], None],
) -> None:
    """Write the rows of all frames, also of those before an error."""
    rows: list[dict[str, Any]] = []
    try:
        for frame in read_frames(media, fps):
            rows.append(subject.row(frame))
            quality.add(rows[-1])
            if len(rows) == BLOCK_FRAMES:
                writer.append(_fill_block(rows, writer.layout, labels))
                rows.clear()
                report(writer.n_frames, media.n_expected)
    finally:
        if rows:
            writer.append(_fill_block(rows, writer.layout, labels))


def _clip_attrs(clip: Clip, media: ClipMedia, detector: Detector) -> dict[str, Any]:
    return {
        "source": clip.source,
        "source_sha256": clip.sha256(),
        "source_fingerprint": clip.fingerprint(),
        "fps": media.fps,
        "width": media.width,
        "height": media.height,
        "detector": detector.name,
    }


def extract_clip(
    clip: Clip,
    part: Path,
    detect: DetectConfig,
    align: AlignConfig,
    version: str,
    *,
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
    media = probe(clip, detect.image_fps)
    labels = clip.read_labels(clip.label_paths) if clip.label_paths and clip.read_labels else None
    with closing(open_detector(detect, video=not clip.stills)) as detector:
        names = labels.names if labels else ()
        layout = ClipLayout(
            align,
            detector.n_landmarks,
            detector.blendshape_names,
            au_names=names,
            has_source_names=bool(clip.stills),
            au_intensity_names=names if labels and labels.intensity is not None else (),
        )
        attrs = root_attrs(clip.dataset, clip.subject, detect, align, version)
        with write_clip(part, clip.clip, layout, attrs) as writer:
            warning, quality = "", _Quality()
            subject = _Subject(detector, detect, align, tracked=not clip.stills)
            try:
                _stream(media, detect.fps, subject, writer, quality, labels, report)
            except TruncatedError as error:
                if not allow_truncated:
                    raise
                warning = f"truncated: {writer.n_frames} frames could be decoded ({error})"
            if not warning and writer.n_faces == 0:
                warning = f"no face in any of {writer.n_frames} frames"
            writer.finish({**_clip_attrs(clip, media, detector), **quality.attrs(), "warning": warning})
