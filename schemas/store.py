"""The store: one HDF5 file a subject. This docstring is the specification of formats 1 and 2.

History
-------
1 : first format.
2 : as 1, but clips may be without crops (``"frames": false`` in ``align_config``: neither ``frames`` nor
    ``frames_jpeg``), and names may be pseudonyms (``pseudonym_key``). Only files that need it are written as 2, so that
    an older tclr reads all others and refuses these by their format: it would write names beside pseudonyms.

Layout
------
::

    STORE/subjects/<subject>.h5     one file a subject, written under another name and renamed
    STORE/manifest.parquet          one row a clip (``schemas/manifest.py``)
    STORE/run.json                  settings and versions of the last run
    STORE/parts/<subject>/<clip>.h5 clips that are extracted but not yet assembled (gone after a complete run);
                                    <clip>~<row>.h5 a segment of a long one
    STORE/old/<subject>.h5          a subject that could not be made again, with other settings or damaged; not read
    STORE/damage.json               clips that verifying found damaged, until they are repaired
    STORE/.lock                     held by the run that writes the store; tells host, process and time

A subject file::

    /              attrs: format, format_version, dataset, subject, created, tclr_version,
                   detect_config, align_config (JSON), detect_hash, align_hash,
                   pseudonym_key (tells the key of the pseudonyms apart; absent where names are no pseudonyms),
                   checksum (SHA-256 of these and of the names of the clips), complete (written last)
    /clips/<clip>/ the datasets of ``CLIP_FIELDS``; T frames, every source frame has its row
                   attrs: those of ``CLIP_ATTRS``; tclr_version; checksums, a JSON object with the SHA-256 of each
                   dataset as stored and, under ``attributes``, of these attributes

Every dataset carries the attributes ``dims`` and ``units``. ``au``, ``au_intensity`` carry ``names``;
``blendshapes`` carries ``names``; ``status`` carries ``names``.

Files of tclr 0.1.0 and before have neither ``checksum`` and ``checksums`` nor a clip's ``tclr_version``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from tclr.schemas.config import MAX_CLIP_FRAMES
from tclr.schemas.errors import NewerFormatError, StoreError

FORMAT = "tclr-store"
FORMAT_VERSION = 2
"""The newest format; see ``needed_version``."""
CHUNK_FRAMES = 8
"""Frames a chunk of ``frames``: a random 12-frame window touches 2 or 3 chunks (DESIGN.md, section 3)."""
TABLE_CHUNK = 256
"""Rows a chunk of the small datasets; chosen by us: 1.5 MB of landmarks."""


class Status(IntEnum):
    """What became of a frame (uint8 in the store, its name in the features)."""

    ok = 0
    interpolated = 1
    no_face = 2
    low_confidence = 3
    unreadable = 4


FACE_STATUSES = (Status.ok, Status.interpolated, Status.low_confidence)
"""Frames that have landmarks and a crop."""


CHECKSUMS, ROOT_CHECKSUM = "checksums", "checksum"
"""Attributes of a clip and of a file that hold their checksums."""
PSEUDONYM_KEY = "pseudonym_key"
"""Attribute of a file, and entry of ``run.json``, that tells which key made the pseudonyms."""

NO_TRACK = -1
"""``track`` of a frame without a face."""


@dataclass(frozen=True)
class Field:
    """One dataset of a clip.

    ``dims`` names each axis; axes called ``frame`` have the clip's length T. ``missing`` fills rows without a
    face, ``None`` where a row is never missing.
    """

    name: str
    dims: tuple[str, ...]
    dtype: str
    units: str
    missing: float | int | str | None
    required: bool = True


CLIP_FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("frames", ("frame", "y", "x", "rgb"), "uint8", "intensity 0..255", 0, required=False),
        Field("frames_jpeg", ("frame",), "vlen uint8", "JPEG file, empty = no face", None, required=False),
        Field("timestamp", ("frame",), "float64", "s from the clip's start", None),
        Field("source_frame", ("frame",), "int64", "index in the source", None),
        Field("source_name", ("frame",), "vlen str", "file name below the clip's folder", "", required=False),
        Field("status", ("frame",), "uint8", "enum", None),
        Field("track", ("frame",), "int32", "count from 0; new after a cut or a loss; of stills the frame", NO_TRACK),
        Field("score", ("frame",), "float32", "0..1", np.nan),
        Field("sharpness", ("frame",), "float32", "variance of the crop's Laplacian", np.nan),
        Field("bbox", ("frame", "x0 y0 x1 y1"), "float32", "source px", np.nan),
        Field("landmarks", ("frame", "landmark", "x y z"), "float32", "source px", np.nan),
        Field("transform", ("frame", "row", "column"), "float64", "source px -> crop px", np.nan),
        Field("pose", ("frame", "pitch yaw roll"), "float32", "rad", np.nan),
        Field("blendshapes", ("frame", "blendshape"), "float32", "0..1", np.nan, required=False),
        Field("au", ("frame", "au"), "int8", "1 present, 0 absent, -1 unknown", -1, required=False),
        Field("au_intensity", ("frame", "au"), "float32", "0..5", np.nan, required=False),
    )
}

COUNT_ATTRS = (*(f"n_{status.name}" for status in Status), "n_tracks")
"""Frames of each status, and tracks: one more than there are cuts and losses."""
QUALITY_ATTRS = ("duration_s", "median_score", "median_sharpness", "median_face_px", "median_abs_yaw")
"""Of the frames with a face: the larger side of the box in source pixels, the yaw in radians; NaN without any."""
CLIP_ATTRS = (
    *COUNT_ATTRS,
    *QUALITY_ATTRS,
    "source",
    "source_sha256",
    "source_fingerprint",
    "source_clip",
    "n_people",
    "reduction",
    "fps",
    "width",
    "height",
    "n_frames",
    "detector",
    "warning",
)
"""``source_clip`` is the name of the clip in the source, which differs from the group's where one recording gives the
clips of ``n_people`` people (``talk#1``, ``talk#2``); ``reduction`` is 2 where images were decoded at half size."""
SEGMENT_ATTRS = ("segment", "goes_on")
"""Of a segment's part file alone: its rows as ``start:stop``, and whether its first track began before it."""
ROOT_ATTRS = (
    "format",
    "format_version",
    "dataset",
    "subject",
    "created",
    "tclr_version",
    "detect_config",
    "align_config",
    "detect_hash",
    "align_hash",
    "complete",
)


NUMBER_ATTRS = frozenset({*COUNT_ATTRS, *QUALITY_ATTRS, "n_people", "reduction", "fps", "width", "height", "n_frames"})
"""Attributes of a clip that are numbers; the others are text."""
MAX_NAME_BYTES = 200
"""Of names of subjects and clips; chosen by us: with its suffixes a file's name stays below 255."""


def needed_version(*, has_frames: bool, has_pseudonyms: bool) -> int:
    """Return the format that a file needs: 1 wherever an older tclr treats it rightly."""
    return 1 if has_frames and not has_pseudonyms else 2


TRAILING_SHAPES = {"bbox": (4,), "transform": (2, 3), "pose": (3,)}
"""Trailing shapes that do not depend on backend or settings."""


def check_name(name: object, where: str) -> None:
    """Check the name of a subject or clip: a file is called by it, and people see it in a terminal.

    Raises
    ------
    StoreError
        If it is not made of letters, digits and ``._+#@-``, as preprocessing makes names, or is too long.
    """
    good = isinstance(name, str) and re.fullmatch(r"[\w+#@-][\w.+#@-]*", name) and len(name.encode()) <= MAX_NAME_BYTES
    if not good:
        raise StoreError(
            f"Expected a name of letters, digits and ._+#@-, but got {str(name)[:100]!r} in {where}. "
            "Make the store anew with 'tclr preprocess'."
        )


def _check_attr_types(attrs: Mapping[str, Any], where: str) -> None:
    """Check that each attribute is a number or a text, whichever it should be."""
    for name, value in attrs.items():
        kind, wanted = ((int, float), "a number") if name in NUMBER_ATTRS else (str, "a text")
        known = name in CLIP_ATTRS or name in ROOT_ATTRS
        if known and name not in ("complete", "format_version") and not isinstance(value, kind):
            raise StoreError(
                f"Expected attribute {name!r} to be {wanted}, but got {type(value).__name__} in {where}. "
                "Run 'tclr preprocess' again."
            )


def check_clip_attrs(attrs: Mapping[str, Any], n_frames: int, where: str) -> None:
    """Check the attributes of a clip of ``n_frames`` frames.

    Raises
    ------
    StoreError
        If one is missing, of another type, or ``n_frames`` is another number.
    """
    absent = [name for name in CLIP_ATTRS if name not in attrs]
    if absent:
        raise StoreError(f"Missing attribute {absent[0]!r} in {where}. Run 'tclr preprocess' again.")
    _check_attr_types(attrs, where)
    if attrs["n_frames"] != n_frames or n_frames > MAX_CLIP_FRAMES:
        raise StoreError(
            f"Expected attribute 'n_frames' to be {n_frames}, as there are rows, and at most {MAX_CLIP_FRAMES}, but "
            f"got {attrs['n_frames']!r} in {where}. Run 'tclr preprocess' again."
        )


def check_root(attrs: Mapping[str, Any], where: str) -> None:
    """Check the attributes of a subject file.

    Raises
    ------
    StoreError
        If it is no tclr store, of a newer format, or was never completed.
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
    absent = [name for name in ROOT_ATTRS if name not in attrs]
    if absent or not attrs["complete"]:
        raise StoreError(
            f"Store file is incomplete (no {absent[0] if absent else 'complete'!r} attribute): {where}. "
            "Run 'tclr preprocess' again."
        )
    _check_attr_types(attrs, where)
    check_name(attrs["subject"], where)
    for name in ("detect_config", "align_config"):
        try:
            settings = json.loads(attrs[name])
        except (ValueError, RecursionError):
            settings = None
        if not isinstance(settings, dict) or any(isinstance(value, dict | list) for value in settings.values()):
            raise StoreError(
                f"Expected settings as a flat JSON object in {name!r} of {where}. Run 'tclr preprocess' again."
            )


def check_clip(
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    attrs: Mapping[str, Any],
    where: str,
    *,
    has_frames: bool = True,
) -> None:
    """Check names, shapes and types of one clip's datasets against ``CLIP_FIELDS``.

    Parameters
    ----------
    shapes, dtypes : mapping
        Shape and dtype name of each dataset that the clip holds.
    attrs : mapping
        The clip's attributes.
    where : str
        File and clip, for the message.
    has_frames : bool
        Whether crops are to be there, by the file's settings.

    Raises
    ------
    StoreError
        At the first difference.
    """
    expected = [name for name, field in CLIP_FIELDS.items() if field.required]
    for problem in (
        [f"Missing dataset {name!r}" for name in expected if name not in shapes]
        + [f"Unknown dataset {name!r}" for name in shapes if name not in CLIP_FIELDS]
        + [f"Missing attribute {name!r}" for name in CLIP_ATTRS if name not in attrs]
    ):
        raise StoreError(f"{problem} in {where}. Run 'tclr preprocess' again.")
    if has_frames != ("frames" in shapes or "frames_jpeg" in shapes):
        problem = "Missing" if has_frames else "Expected no crops, by its settings, but got a"
        raise StoreError(f"{problem} dataset 'frames' or 'frames_jpeg' in {where}. Run 'tclr preprocess' again.")
    n_frames = int(attrs["n_frames"])
    for name, shape in shapes.items():
        field = CLIP_FIELDS[name]
        trailing = TRAILING_SHAPES.get(name, shape[1:])
        if len(shape) != len(field.dims) or shape != (n_frames, *trailing):
            raise StoreError(
                f"Expected {name!r} to have shape {(n_frames, *trailing)} ({', '.join(field.dims)}), "
                f"but got {shape}. Clip: {where}. Run 'tclr preprocess' again."
            )
        if not field.dtype.startswith("vlen") and dtypes[name] != field.dtype:
            raise StoreError(
                f"Expected {name!r} of dtype {field.dtype}, but got {dtypes[name]}. Clip: {where}. "
                "Run 'tclr preprocess' again."
            )


def check_values(name: str, values: np.ndarray, where: str) -> None:
    """Check the values of one small dataset: known statuses, timestamps that never fall, codes in range.

    Raises
    ------
    StoreError
        At the first value that the format does not allow.
    """
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
