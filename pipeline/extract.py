"""One clip: decode once, find the landmarks, follow the subject's face, cut crops, stream them to a part file.

Memory is one block of frames, whatever the clip's length.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.align import align_transform, warp_crop
from tclr.pipeline.faces import Detector, Face, open_detector
from tclr.pipeline.sources import Clip, Labels
from tclr.pipeline.store import ClipLayout, ClipWriter, root_attrs, write_clip
from tclr.pipeline.tracking import choose_face
from tclr.pipeline.video import ClipMedia, Frame, probe, read_frames
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.errors import TruncatedError
from tclr.schemas.store import CHUNK_FRAMES, CLIP_FIELDS, Status

BLOCK_FRAMES = 4 * CHUNK_FRAMES
"""Frames written at once; a multiple of the chunk, so that each chunk is compressed once."""


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
        row: dict[str, Any] = {"timestamp": frame.timestamp_s, "source_frame": frame.index}
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
        low = self._score < self._detect.min_score
        return {
            "status": Status.low_confidence if low else Status.ok,
            "score": self._score,
            "bbox": face.bbox,
            "landmarks": face.landmarks,
            "transform": transform,
            "pose": face.pose,
            "blendshapes": face.blendshapes,
            "frames": crop,
        }


def _empty_block(layout: ClipLayout, n_rows: int) -> dict[str, np.ndarray]:
    """Return arrays for ``n_rows`` frames without a face."""
    shapes = {**layout.shapes(), "frames": (layout.align.size, layout.align.size, 3)}
    shapes.pop("frames_jpeg", None)
    return {
        name: np.full((n_rows, *shape), CLIP_FIELDS[name].missing or 0, CLIP_FIELDS[name].dtype)
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
    labels: Labels | None,
    report: Callable[[int, int], None],
) -> None:
    """Write the rows of all frames, also of those before an error."""
    rows: list[dict[str, Any]] = []
    try:
        for frame in read_frames(media, fps):
            rows.append(subject.row(frame))
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
            au_intensity_names=names if labels and labels.intensity is not None else (),
        )
        attrs = root_attrs(clip.dataset, clip.subject, detect, align, version)
        with write_clip(part, clip.clip, layout, attrs) as writer:
            warning = ""
            try:
                _stream(
                    media,
                    detect.fps,
                    _Subject(detector, detect, align, tracked=not clip.stills),
                    writer,
                    labels,
                    report,
                )
            except TruncatedError as error:
                if not allow_truncated:
                    raise
                warning = f"truncated: {writer.n_frames} frames could be decoded ({error})"
            if not warning and writer.n_faces == 0:
                warning = f"no face in any of {writer.n_frames} frames"
            writer.finish({**_clip_attrs(clip, media, detector), "warning": warning})
