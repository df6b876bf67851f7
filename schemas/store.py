"""The store: one HDF5 file per subject. This docstring specifies formats 1 and 2.

History
-------
1 : first format.
2 : as 1, but clips may lack crops (``"frames": false`` in ``align_config``: neither ``frames`` nor ``frames_jpeg``),
    and names may be pseudonyms (``pseudonym_key``). Only files that need it are written as 2: an older tclr refuses
    them, since it would write names next to pseudonyms, and reads all others.

Layout
------
::

    STORE/subjects/<subject>.h5     one file per subject, written under another name and renamed
    STORE/manifest.parquet          one row per clip (``schemas/manifest.py``)
    STORE/run.json                  settings and versions of the last run
    STORE/parts/<subject>/<clip>.h5 clips extracted but not yet assembled (none after a complete run);
                                    <clip>~<row>.h5 a segment of a long one
    STORE/old/<subject>.h5          a file that was replaced since it was damaged or had other settings; never read
    STORE/damage.json               clips found damaged by verifying, until they are repaired
    STORE/.lock                     held by the run that writes the store, and there only while it runs; empty

A subject file::

    /              attrs: those of ``RootAttrs``; checksum, the SHA-256 of these and of the names of the clips;
                   complete, written last: a file without it is refused
    /clips/<clip>/ the datasets of ``CLIP_FIELDS``; T frames, every source frame has its row
                   attrs: those of ``ClipAttrs``; checksums, a JSON object with the SHA-256 of each dataset as stored
                   and, under ``attributes``, of these attributes

An attribute that has a default may be absent. Every dataset carries the attributes ``dims`` and ``units``; ``au``,
``au_intensity``, ``blendshapes`` and ``status`` also carry ``names``.

Files of tclr 0.1.0 and before have neither ``checksum`` and ``checksums`` nor a clip's ``tclr_version``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as typed_dataclass

from tclr.schemas.config import MAX_CLIP_FRAMES, AlignConfig, parse_settings
from tclr.schemas.errors import NewerFormatError, SettingError, StoreError

FORMAT = "tclr-store"
FORMAT_VERSION = 2
"""The newest format; see ``needed_version``."""
CHUNK_FRAMES = 8
"""Frames per chunk of ``frames``: a random 12-frame window touches 2 or 3 chunks (DESIGN.md, section 3)."""
TABLE_CHUNK = 256
"""Rows per chunk of the small datasets: 1.5 MB of landmarks."""


class Status(IntEnum):
    """Outcome of detection for a frame: uint8 in the store, the name in the features."""

    ok = 0
    interpolated = 1
    no_face = 2
    low_confidence = 3
    unreadable = 4


FACE_STATUSES = (Status.ok, Status.interpolated, Status.low_confidence)
"""Statuses of frames that have landmarks and a crop."""

CHECKSUMS, ROOT_CHECKSUM = "checksums", "checksum"
"""Attributes of a clip and of a file that hold their checksums."""
PSEUDONYM_KEY = "pseudonym_key"
"""Entry of ``run.json`` that identifies the key of the pseudonyms, as the attribute of a file does."""

NO_TRACK = -1
"""``track`` of a frame without a face."""


@dataclass(frozen=True)
class Dataset:
    """One dataset of a clip: ``missing`` fills rows without a face, ``None`` where a row is never missing."""

    name: str
    dims: tuple[str, ...]  # a name per axis; ``frame`` has the clip's length T
    dtype: str
    units: str
    missing: float | int | str | None
    required: bool = True


CLIP_FIELDS: dict[str, Dataset] = {
    field.name: field
    for field in (
        Dataset("frames", ("frame", "y", "x", "rgb"), "uint8", "intensity 0..255", 0, required=False),
        Dataset("frames_jpeg", ("frame",), "vlen uint8", "JPEG file, empty = no face", None, required=False),
        Dataset("timestamp", ("frame",), "float64", "s from the clip's start", None),
        Dataset("source_frame", ("frame",), "int64", "index in the source", None),
        Dataset("source_name", ("frame",), "vlen str", "file name below the clip's folder", "", required=False),
        Dataset("status", ("frame",), "uint8", "enum", None),
        Dataset("track", ("frame",), "int32", "count from 0; new after a cut or a loss; of stills the frame", NO_TRACK),
        Dataset("score", ("frame",), "float32", "0..1", np.nan),
        Dataset("sharpness", ("frame",), "float32", "variance of the crop's Laplacian", np.nan),
        Dataset("bbox", ("frame", "x0 y0 x1 y1"), "float32", "source px", np.nan),
        Dataset("landmarks", ("frame", "landmark", "x y z"), "float32", "source px", np.nan),
        Dataset("transform", ("frame", "row", "column"), "float64", "source px -> crop px", np.nan),
        Dataset("pose", ("frame", "pitch yaw roll"), "float32", "rad", np.nan),
        Dataset("blendshapes", ("frame", "blendshape"), "float32", "0..1", np.nan, required=False),
        Dataset("au", ("frame", "au"), "int8", "1 present, 0 absent, -1 unknown", -1, required=False),
        Dataset("au_intensity", ("frame", "au"), "float32", "0..5", np.nan, required=False),
    )
}

MOTIONLESS = "the face does not move: a photograph, or frozen video?"
"""Warning of a clip whose face does not move."""


def join_warnings(*warnings: str) -> str:
    """Return the ``warning`` that says all of several, each once.

    >>> join_warnings("", MOTIONLESS, MOTIONLESS) == MOTIONLESS
    True
    """
    return "; ".join(dict.fromkeys(part for warning in warnings for part in split_warning(warning)))


def split_warning(warning: str) -> list[str]:
    """Return the parts of a clip's ``warning``."""
    return [part for part in warning.split("; ") if part]


_TYPED = ConfigDict(strict=True, extra="ignore")
A = TypeVar("A", "ClipAttrs", "RootAttrs")


@typed_dataclass(frozen=True, kw_only=True, slots=True, config=_TYPED)
class RecordingAttrs:
    """The attributes of a clip that describe its source and how it was read."""

    source: str = Field(description="Path of the video or folder of images, below the source folder.")
    source_sha256: str = Field(description="SHA-256 of the source's bytes.")
    source_fingerprint: str = Field(
        description="Digest of the clip's files, labels included: if it changes, the clip is redone."
    )
    tclr_version: str = Field(
        default="", description="Version of tclr that made the clip; clips of 0.1.0 may have none."
    )
    source_clip: str = Field(description="The clip's name in the source; all people of --faces all share it.")
    n_people: int = Field(description="Clips made of this recording: people with --faces all, else 1.")
    reduction: int = Field(description="2 where JPEG images were decoded at half size, 4 at a quarter, else 1.")
    fps: float = Field(description="Frames per second of the source.")
    width: int = Field(description="Width of the picture as shown, in pixels.")
    height: int = Field(description="Height of the picture as shown, in pixels.")
    start_s: float = Field(
        default=0.0,
        description="Seconds by which the video's first frame is later than its first sound; 0 if it is not.",
    )
    detector: str = Field(description="Detector and the weights it had.")
    rotation: int = Field(
        default=0,
        description="Degrees clockwise, 0, 90, 180 or 270, by which the picture was turned for faces to be upright. "
        "Landmarks are in the picture as shown; pose is that of the turned picture.",
    )
    warning: str = Field(description="What is unusual about the clip; empty if nothing is.")
    segment: str = Field(default="", description="Only in the part file of a segment: its rows as start:stop.")
    goes_on: bool | None = Field(
        default=None,
        description="Only in the part file of a segment: whether its first track began before it.",
    )
    moves: bool | None = Field(
        default=None,
        description="Only in the part file of a segment: whether the face moves; absent if that is not known.",
    )


@typed_dataclass(frozen=True, kw_only=True, slots=True, config=_TYPED)
class ClipAttrs(RecordingAttrs):
    """The attributes of a clip: those of its recording, then counts and quality."""

    n_ok: int = Field(description="Frames with status ok.")
    n_interpolated: int = Field(description="Frames with status interpolated.")
    n_no_face: int = Field(description="Frames with status no_face.")
    n_low_confidence: int = Field(description="Frames with status low_confidence.")
    n_unreadable: int = Field(description="Frames with status unreadable.")
    n_tracks: int = Field(description="Tracks: one more than there are cuts and losses.")
    duration_s: float = Field(description="Time from the first frame to the last, in seconds.")
    median_score: float = Field(description="Median score of the frames with a face; NaN without any.")
    median_sharpness: float = Field(description="Median sharpness of the frames with a face; NaN without any.")
    median_face_px: float = Field(
        description="Median larger side of the face's box in source pixels; NaN without any face."
    )
    median_abs_yaw: float = Field(
        description="Median of the head's turn to either side in radians; NaN without any face."
    )
    n_frames: int = Field(description="Frames of the clip: rows of each dataset.")


COUNT_ATTRS = (*(f"n_{status.name}" for status in Status), "n_tracks")
"""The counts of a clip except ``n_frames``: frames of each status, and tracks."""
QUALITY_ATTRS = tuple(name for name, kind in ClipAttrs.__annotations__.items() if kind == "float")
"""The measures of quality, of the frames with a face."""


@typed_dataclass(frozen=True, kw_only=True, config=_TYPED)
class RootAttrs:
    """The attributes of a subject file or part file."""

    format: str = Field(description="tclr-store.")
    format_version: int = Field(description="Version of the format; newer ones are refused.")
    dataset: str = Field(description="Layout of the source: bp4d, disfa, emotionet, voxceleb2 or folder.")
    subject: str = Field(description="The person.")
    created: str = Field(description="When the file was assembled, in UTC (ISO 8601).")
    tclr_version: str = Field(description="Version of tclr that assembled it.")
    detect_config: str = Field(description="Settings of detection, as JSON.")
    align_config: str = Field(description="Settings of alignment, as JSON.")
    detect_hash: str = Field(description="Digest of detect_config.")
    align_hash: str = Field(description="Digest of align_config.")
    pseudonym_key: str = Field(
        default="", description="Identifies the key of the pseudonyms; absent where there are none."
    )

    @cached_property
    def align(self) -> AlignConfig:
        """The settings of alignment; raises ``StoreError`` if one of them is unknown to this version."""
        try:
            return parse_settings(AlignConfig, self.settings["align"], f"AlignConfig of subject {self.subject}")
        except SettingError as error:
            raise StoreError(f"{error} Run 'tclr preprocess' again.") from error

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings of ``detect`` and ``align`` as stored, including those unknown to this version."""
        return {"detect": json.loads(self.detect_config), "align": json.loads(self.align_config)}


MAX_NAME_BYTES = 200
"""Of names of subjects and clips: with its suffixes, the name of a file stays below 255 bytes."""


def needed_version(*, has_frames: bool, has_pseudonyms: bool) -> int:
    """Return the format that a file needs: 1 wherever an older tclr reads it correctly."""
    return 1 if has_frames and not has_pseudonyms else 2


TRAILING_SHAPES = {"bbox": (4,), "transform": (2, 3), "pose": (3,)}
"""Trailing shapes that do not depend on backend or settings."""


def check_name(name: object, where: str) -> None:
    """Raise ``StoreError`` unless the name of a subject or clip is safe in a path and in a terminal."""
    good = isinstance(name, str) and re.fullmatch(r"[\w+#@-][\w.+#@-]*", name) and len(name.encode()) <= MAX_NAME_BYTES
    if not good:
        raise StoreError(
            f"Expected a name of letters, digits and ._+#@-, but got {str(name)[:100]!r} in {where}. "
            "Rebuild the store with 'tclr preprocess'."
        )


def to_attributes(attrs: RecordingAttrs | RootAttrs) -> dict[str, Any]:
    """Return what is written to a file: all except defaults."""
    return TypeAdapter(type(attrs)).dump_python(attrs, exclude_defaults=True)


def _parse(kind: type[A], attrs: Mapping[str, Any], where: str) -> A:
    try:
        return kind(**attrs)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        name = str(problem["loc"][0])
        if name not in attrs:
            raise StoreError(f"Missing attribute {name!r} in {where}. Run 'tclr preprocess' again.") from error
        wanted = "a text" if problem["type"] == "string_type" else "a number"
        raise StoreError(
            f"Expected attribute {name!r} to be {wanted}, but got {type(attrs[name]).__name__} in {where}. "
            "Run 'tclr preprocess' again."
        ) from error


def parse_clip_attrs(attrs: Mapping[str, Any], n_frames: int, where: str) -> ClipAttrs:
    """Return the attributes of a clip with ``n_frames`` rows; raises ``StoreError`` if they are not valid."""
    parsed = _parse(ClipAttrs, attrs, where)
    if parsed.n_frames != n_frames or n_frames > MAX_CLIP_FRAMES:
        raise StoreError(
            f"Expected attribute 'n_frames' to be {n_frames}, the number of rows, and at most {MAX_CLIP_FRAMES}, but "
            f"got {parsed.n_frames} in {where}. Run 'tclr preprocess' again."
        )
    return parsed


def parse_root_attrs(attrs: Mapping[str, Any], where: str) -> RootAttrs:
    """Return the attributes of a subject file.

    Raises
    ------
    StoreError
        If it is not a tclr store, of a newer format, incomplete, or an attribute is missing or of another type.
    """
    if attrs.get("format") != FORMAT:
        raise StoreError(
            f"Expected a file of format {FORMAT!r}, but got {attrs.get('format')!r}: {where}. "
            "Give a folder that 'tclr preprocess' wrote."
        )
    version = int(attrs.get("format_version", 0))
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"Expected store format {FORMAT_VERSION} or older, but got {version}: {where}. Upgrade tclr to read it."
        )
    if not attrs.get("complete"):
        raise StoreError(f"Store file is incomplete (no 'complete' attribute): {where}. Run 'tclr preprocess' again.")
    parsed = _parse(RootAttrs, attrs, where)
    check_name(parsed.subject, where)
    for name, text in (("detect_config", parsed.detect_config), ("align_config", parsed.align_config)):
        try:
            settings = json.loads(text)
        except (ValueError, RecursionError):
            settings = None
        if not isinstance(settings, dict) or any(isinstance(value, dict | list) for value in settings.values()):
            raise StoreError(
                f"Expected settings as a flat JSON object in {name!r} of {where}. Run 'tclr preprocess' again."
            )
    return parsed


def check_clip(
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    n_frames: int,
    where: str,
    *,
    has_frames: bool = True,
) -> None:
    """Check names, shapes and dtypes of a clip's datasets against ``CLIP_FIELDS``.

    ``has_frames`` says whether the settings demand crops; ``where``, for messages, is the file and clip. ``StoreError``
    is raised at the first difference.
    """

    def demand(is_right: bool, problem: str) -> None:
        if not is_right:
            raise StoreError(f"{problem} in {where}. Run 'tclr preprocess' again.")

    for name, field in CLIP_FIELDS.items():
        demand(not field.required or name in shapes, f"Missing dataset {name!r}")
    for name in shapes:
        demand(name in CLIP_FIELDS, f"Unknown dataset {name!r}")
    problem = "Missing" if has_frames else "Expected no crops by its settings, but got a"
    has_crops = "frames" in shapes or "frames_jpeg" in shapes
    demand(has_frames == has_crops, f"{problem} dataset 'frames' or 'frames_jpeg'")
    for name, shape in shapes.items():
        field = CLIP_FIELDS[name]
        wanted = (n_frames, *TRAILING_SHAPES.get(name, shape[1:]))
        is_right = len(shape) == len(field.dims) and shape == wanted
        demand(is_right, f"Expected {name!r} to have shape {wanted} ({', '.join(field.dims)}), but got {shape}")
        is_right = field.dtype.startswith("vlen") or dtypes[name] == field.dtype
        demand(is_right, f"Expected {name!r} of dtype {field.dtype}, but got {dtypes[name]}")


def check_values(name: str, values: np.ndarray, where: str) -> None:
    """Raise ``StoreError`` at the first value of a dataset that the format does not allow."""
    bad = {
        "status": lambda: ~np.isin(values, [int(status) for status in Status]),
        "timestamp": lambda: np.diff(values, prepend=-np.inf) < 0,
        "source_frame": lambda: np.diff(values, prepend=-1) <= 0,
        "au": lambda: ~np.isin(values, (-1, 0, 1)),
        "score": lambda: (values < 0) | (values > 1),
        "au_intensity": lambda: (values < 0) | (values > 5),
    }.get(name)
    if bad is not None and (wrong := np.argwhere(bad())).size:
        row = int(wrong[0][0])
        raise StoreError(
            f"Value {values[row]!r} of {name!r} at row {row} is outside the format in {where}. "
            "Run 'tclr preprocess' again."
        )
