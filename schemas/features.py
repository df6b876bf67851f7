"""The Parquet columns of the features. This docstring specifies format 1.

History
-------
1 : first format.

Layout
------
``FEATURES/subject=<id>/<clip>.parquet``; ``pandas.read_parquet(FEATURES)`` gives one row per frame. Every source frame
has a row; without a face its numbers are null and its labels remain. All files of a folder have the same columns: those
of ``features_schema``, or ``KEYS`` and a selection of them. pandas adds ``subject`` from the folder's name. Intensities
are named as in OpenFace: ``AU01_r``.

Head pose, gaze and the head's place are those of the picture in which the head is upright, see the clip's attribute
``rotation``; landmarks are in the picture as shown. Gaze, openness and place come from mediapipe's landmarks, and are
null with other detectors. Gaze and openness are null where eyes are hidden, gaze also where they are shut.

The metadata key ``tclr`` of each file holds a JSON object: format and version, the source of the AU predictions
(``au_source``), digests of encoder and head, and the settings of all stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from tclr.schemas.action_units import REGIONS
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import NewerFormatError, StoreError

FORMAT = "tclr-features"
FORMAT_VERSION = 1
EMBEDDING = "emb"
"""Name of the embedding's column if it is one column of lists."""
SIDE_ENDINGS = {"_left_r": "left", "_right_r": "right"}
"""Endings of the columns with the intensity of one side of the face."""
HIDDEN_BELOW = 0.5
"""Visible share below which a region of the face counts as hidden (docs/footage.md)."""
LEAST_CONTRAST = 0.025
"""Contrast of a face below which landmarks and AUs suffer, and scores fall (docs/footage.md)."""
AU_SOURCES = {
    "head": "a head of 'tclr fit-au'",
    "face": "the bundled model: shape and network",
    "shape": "the bundled model: shape of the face alone",
    "box": "the bundled model: network alone",
    "blendshapes": "mediapipe's blendshapes, by fixed rules",
    "none": "nowhere: there are no AU predictions",
}
"""Sources of AU predictions in words, by the name at the beginning of ``au_source``."""
KEYS = ("clip", "frame", "timestamp")
"""Columns of every file, whatever the selection."""


def embedding_columns(embedding_dim: int) -> list[str]:
    """Return the names of the embedding's columns, with at least three digits.

    >>> embedding_columns(2)
    ['emb_000', 'emb_001']
    """
    width = max(3, len(str(embedding_dim - 1)))
    return [f"emb_{i:0{width}d}" for i in range(embedding_dim)]


def blendshape_columns() -> list[str]:
    """Return the 52 names ``bs_<blendshape>``."""
    return [f"bs_{name}" for name in BLENDSHAPE_NAMES]


def describe_au_source(au_source: str) -> str:
    """Return the source of AU predictions, as the metadata name it, in words.

    >>> describe_au_source("face:4fa2")
    'the bundled model: shape and network'
    """
    return AU_SOURCES.get(au_source.partition(":")[0], au_source)


def _field(name: str, kind: pa.DataType, units: str, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"units": units, "description": description})


TEXT_COLUMNS = frozenset({"dataset", "subject", "clip", "status", "file"})


def check_columns(schema: pa.Schema, where: str) -> None:
    """Check that text columns hold text, and all others numbers, or lists of numbers for the embedding.

    Raises
    ------
    StoreError
        For the first column of another type, or if one of ``KEYS`` is missing or occurs twice.
    """
    for name in KEYS:
        if schema.get_field_index(name) < 0:
            raise StoreError(f"Expected one column {name!r}, but got none or several in {where}. Run 'tclr embed'.")
    types = pa.types
    for field in schema:
        kind = field.type
        if types.is_dictionary(kind) or (field.name == EMBEDDING and types.is_nested(kind) and kind.num_fields == 1):
            kind = kind.value_type
        is_text = types.is_string(kind) or types.is_large_string(kind)
        is_number = types.is_integer(kind) or types.is_floating(kind)
        if not (is_text if field.name in TEXT_COLUMNS else is_number):
            wanted = "text" if field.name in TEXT_COLUMNS else "numbers"
            raise StoreError(
                f"Expected column {field.name!r} to hold {wanted}, but got {field.type} in {where}. Run 'tclr embed'."
            )


def check_metadata(metadata: Mapping[str, Any], where: str) -> None:
    """Check the format, version and types of a features file's metadata.

    Raises
    ------
    StoreError
        If the format is another or newer one, or an entry has another type.
    """
    if metadata.get("format") != FORMAT:
        raise StoreError(f"Expected a file of format {FORMAT!r}, but got {metadata.get('format')!r}: {where}.")
    version = metadata.get("format_version")
    if not isinstance(version, int):
        raise StoreError(f"Expected a whole number as format_version, but got {version!r}: {where}. Run 'tclr embed'.")
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"Expected features format {FORMAT_VERSION} or older, but got {version}: {where}. Upgrade tclr to read it."
        )
    thresholds = metadata.get("au_thresholds", {})
    good = {
        "au_source": isinstance(metadata.get("au_source", ""), str),
        "encoder": isinstance(metadata.get("encoder") or {}, dict),
        "au_thresholds": isinstance(thresholds, dict)
        and all(isinstance(value, int | float) for value in thresholds.values()),
    }
    for name, is_good in good.items():
        if not is_good:
            raise StoreError(f"Unexpected {type(metadata[name]).__name__} in {name!r} of {where}. Run 'tclr embed'.")


def visible_columns() -> list[str]:
    """Return the names of the columns with the visible share of each region.

    >>> visible_columns()[3]
    'visible_mouth'
    """
    return [f"visible_{region}" for region in REGIONS]


def sight_columns() -> list[str]:
    """Return the names of all columns that say what can be seen of a face."""
    return [field.name for field in _sight_fields()]


def _sight_fields() -> list[pa.Field]:
    single = pa.float32()
    fields = [
        _field(f"visible_{region}", single, "0..1", f"Visible share of {region}, as judged from the crop")
        for region in REGIONS
    ]
    return [
        *fields,
        _field("n_hidden", pa.int8(), "", f"Regions whose visible share is below {HIDDEN_BELOW}; their AUs are null"),
        _field("brightness", single, "0..1", "Mean grey level of the face"),
        _field("contrast", single, "0..1", "Standard deviation of the face's grey levels"),
    ]


def eye_columns() -> list[str]:
    """Return the names of the columns that need eyes to be seen: gaze and how far eyes are open.

    >>> eye_columns()
    ['gaze_left_yaw', 'gaze_right_yaw', 'gaze_yaw', 'open_left', 'open_right']
    """
    return [field.name for field in _eye_fields()]


def _eye_fields() -> list[pa.Field]:
    single = pa.float32()
    looks = "looks to the right (+) or left (-) of the picture; 0 is into the camera"
    return [
        _field("gaze_left_yaw", single, "rad", f"The person's left eye {looks}"),
        _field("gaze_right_yaw", single, "rad", f"The person's right eye {looks}"),
        _field("gaze_yaw", single, "rad", "Both eyes: mean direction of those that are open"),
        _field("open_left", single, "0..1", "How far the person's left eye is open"),
        _field("open_right", single, "0..1", "How far the person's right eye is open"),
    ]


def _place_fields() -> list[pa.Field]:
    single = pa.float32()
    return [
        _field("head_x", single, "mm", "Midway between the eyes, to the right of the camera's axis"),
        _field("head_y", single, "mm", "The same, below the camera's axis"),
        _field("head_z", single, "mm", "The same, away from a camera of the assumed field of view (docs/gaze.md)"),
    ]


def landmark_columns(n_landmarks: int) -> list[str]:
    """Return the names of the columns of landmarks: x of all, then y of all.

    >>> landmark_columns(2)
    ['lm_x_000', 'lm_x_001', 'lm_y_000', 'lm_y_001']
    """
    return [f"lm_{axis}_{number:03d}" for axis in "xy" for number in range(n_landmarks)]


def _au_fields(au_names: Sequence[str], intensity_aus: Sequence[str], side_aus: Sequence[str]) -> list[pa.Field]:
    """Return the columns of predicted AUs, with the arguments of ``features_schema``."""
    single = pa.float32()
    fields = [_field(name, single, "0..1", f"Probability of {name}") for name in au_names]
    fields += [_field(f"{name}_c", pa.int8(), "0/1", f"{name} at the threshold of its source") for name in au_names]
    fields += [_field(f"{name}_r", single, "0..5", f"Intensity of {name}") for name in intensity_aus]
    for name in side_aus:
        for ending, side in SIDE_ENDINGS.items():
            fields.append(_field(name + ending, single, "0..5", f"Intensity of {name} on the person's {side}"))
    return fields


def features_schema(
    au_names: Sequence[str],
    labelled_aus: Sequence[str],
    embedding_dim: int,
    *,
    blendshapes: bool,
    files: bool = False,
    sight: bool = False,
    n_landmarks: int = 0,
    intensity_aus: Sequence[str] = (),
    side_aus: Sequence[str] = (),
    embedding: Literal["wide", "list", "none"] = "wide",
) -> pa.Schema:
    """Return the columns of a features file.

    Parameters
    ----------
    au_names : sequence of str
        Predicted AUs, for example ``AU01``.
    labelled_aus : sequence of str
        AUs with labels in the store.
    embedding_dim : int
        Length of the embedding.
    blendshapes : bool
        Add the 52 blendshape columns.
    files : bool
        Add the file name, for still images.
    sight : bool
        Add visible regions and light, which are measured on crops.
    n_landmarks : int
        Add x and y of so many landmarks.
    intensity_aus : sequence of str
        AUs with predicted intensity.
    side_aus : sequence of str
        AUs with predicted intensity of each side of the face.
    embedding : str
        ``wide`` for one column per dimension, ``emb_000``; ``list`` for one column ``emb`` of lists; or ``none``.

    Returns
    -------
    pyarrow.Schema
        The fields carry ``units`` and ``description`` as metadata.

    Examples
    --------
    >>> features_schema(["AU12"], [], 256, blendshapes=False, embedding="none").names[-3:]
    ['head_z', 'AU12', 'AU12_c']
    """
    text, single = pa.dictionary(pa.int32(), pa.string()), pa.float32()
    fields = [
        _field("dataset", text, "", "Layout of the source: bp4d, folder, ..."),
        _field("clip", text, "", "One continuous recording of the subject"),
        _field("frame", pa.int64(), "", "Index in the video, or the number in the image's name"),
        _field("timestamp", pa.float64(), "s", "Time from the clip's start"),
        _field("status", text, "", "ok, interpolated, no_face, low_confidence or unreadable"),
        _field("score", single, "0..1", "Confidence of the face detector"),
        _field("sharpness", single, "", "Variance of the crop's Laplacian; blur lowers it"),
        _field("face_px", single, "px", "Larger side of the face's box in the source"),
        _field("track", pa.int32(), "", "Number of the face's track; a cut or a loss starts a new one"),
        _field("pitch", single, "rad", "Head turned down (+) or up (-)"),
        _field("yaw", single, "rad", "Head turned to the right (+) or left (-) of the picture"),
        _field("roll", single, "rad", "Head tilted anticlockwise (+) or clockwise (-) in the picture"),
        _field("turned", pa.int8(), "0/1", "Head turned so far that AUs are unreliable (docs/detectors.md)"),
        _field("confidence", single, "0..1", "How far the frame can be trusted, to filter by (docs/gaze.md)"),
        *_eye_fields(),
        *_place_fields(),
    ]
    if sight:
        fields += _sight_fields()
    if files:
        fields.append(_field("file", pa.string(), "", "File name of a still image"))
    fields += _au_fields(au_names, intensity_aus, side_aus)
    fields += [_field(f"{name}_true", pa.int8(), "0/1", f"Label of {name}") for name in labelled_aus]
    if embedding == "wide":
        fields += [_field(name, single, "", "Embedding") for name in embedding_columns(embedding_dim)]
    elif embedding == "list":
        fields.append(_field(EMBEDDING, pa.list_(single, embedding_dim), "", "Embedding"))
    if blendshapes:
        fields += [_field(name, single, "0..1", "Blendshape of mediapipe") for name in blendshape_columns()]
    where = "Landmark of the detector in the picture as shown"
    fields += [_field(name, single, "px", where) for name in landmark_columns(n_landmarks)]
    return pa.schema(fields)
