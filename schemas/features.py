"""The features: Parquet columns. This docstring is the specification of format 1.

History
-------
1 : first format.

Layout
------
``FEATURES/subject=<id>/<clip>.parquet``; ``pandas.read_parquet(FEATURES)`` gives one row a frame. Every source frame
keeps its row; without a face its numbers are null, its labels stay. All files of a folder have the same columns:
those of ``features_schema``, or the chosen ones of them and ``KEYS``, and ``subject`` from the folder's name.
Intensities have OpenFace's names, ``AU01_r``.

Each file carries, under the metadata key ``tclr``, the format and its version, where the AU predictions come from
(``au_source``), encoder and head digests, and the settings of all stages, as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import NewerFormatError, StoreError

FORMAT = "tclr-features"
FORMAT_VERSION = 1
EMBEDDING = "emb"
"""Name of the embedding as one column of lists."""
KEYS = ("clip", "frame", "timestamp")
"""Columns that every file has, whatever was chosen: which frame a row is, and when."""


def embedding_columns(embedding_dim: int) -> list[str]:
    """Return the names ``emb_000`` ...: at least three digits."""
    width = max(3, len(str(embedding_dim - 1)))
    return [f"emb_{i:0{width}d}" for i in range(embedding_dim)]


def blendshape_columns() -> list[str]:
    """Return the 52 names ``bs_<blendshape>``."""
    return [f"bs_{name}" for name in BLENDSHAPE_NAMES]


def _field(name: str, kind: pa.DataType, units: str, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"units": units, "description": description})


TEXT_COLUMNS = frozenset({"dataset", "subject", "clip", "status", "file"})


def check_columns(schema: pa.Schema, where: str) -> None:
    """Check that texts are texts, the embedding a list of numbers, and all other columns numbers.

    Raises
    ------
    StoreError
        At the first column of another type, or if one of ``KEYS`` is missing.
    """
    for name in KEYS:
        if schema.get_field_index(name) < 0:
            raise StoreError(f"Expected a column {name!r} once, but got none or several in {where}. Run 'tclr embed'.")
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
    """Check format, version and types of the metadata of a features file.

    Raises
    ------
    StoreError
        If it is of another or a newer format, or an entry that is there is of another type.
    """
    if metadata.get("format") != FORMAT:
        raise StoreError(f"Expected a file of format {FORMAT!r}, but got {metadata.get('format')!r}: {where}.")
    version = metadata.get("format_version")
    if not isinstance(version, int):
        raise StoreError(f"Expected the number of a features format, but got {version!r}: {where}. Run 'tclr embed'.")
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
            raise StoreError(f"Unexpected {type(metadata[name]).__name__} as {name!r} in {where}. Run 'tclr embed'.")


def features_schema(
    au_names: Sequence[str],
    labelled_aus: Sequence[str],
    embedding_dim: int,
    *,
    blendshapes: bool,
    files: bool = False,
    intensity_aus: Sequence[str] = (),
    embedding: Literal["wide", "list", "none"] = "wide",
) -> pa.Schema:
    """Return the columns of a features file.

    Parameters
    ----------
    au_names : sequence of str
        AUs that are predicted, as ``AU01``.
    labelled_aus : sequence of str
        AUs that the store has labels of.
    embedding_dim : int
        Length of the embedding.
    blendshapes : bool
        Add the 52 blendshape columns.
    files : bool
        Add the file name, for sources of still images.
    intensity_aus : sequence of str
        AUs whose intensity is predicted.
    embedding : str
        ``wide``: a column a dimension, ``emb_000``; ``list``: one column ``emb`` of lists; ``none``.

    Returns
    -------
    pyarrow.Schema
        Fields carry ``units`` and ``description`` as metadata.
    """
    text, single = pa.dictionary(pa.int32(), pa.string()), pa.float32()
    fields = [
        _field("dataset", text, "", "Layout of the source: bp4d, folder, ..."),
        _field("clip", text, "", "One continuous recording of the subject"),
        _field("frame", pa.int64(), "", "Index in the video, or the number in the image's name"),
        _field("timestamp", pa.float64(), "s", "Time from the clip's start"),
        _field("status", text, "", "ok, interpolated, no_face, low_confidence or unreadable"),
        _field("score", single, "0..1", "How sure the face detector is"),
        _field("sharpness", single, "", "Variance of the crop's Laplacian; blur brings it down"),
        _field("face_px", single, "px", "Larger side of the face's box in the source"),
        _field("track", pa.int32(), "", "Number of the face's track; a cut or a loss begins a new one"),
        _field("pitch", single, "rad", "Head turned down (+) or up (-)"),
        _field("yaw", single, "rad", "Head turned to the right (+) or left (-) of the picture"),
        _field("roll", single, "rad", "Head tilted anticlockwise (+) or clockwise (-) in the picture"),
    ]
    if files:
        fields.append(_field("file", pa.string(), "", "File name of a still image"))
    fields += [_field(name, single, "0..1", f"Probability of {name}") for name in au_names]
    fields += [_field(f"{name}_c", pa.int8(), "0/1", f"{name} at the threshold of its source") for name in au_names]
    fields += [_field(f"{name}_r", single, "0..5", f"Intensity of {name}") for name in intensity_aus]
    fields += [_field(f"{name}_true", pa.int8(), "0/1", f"Label of {name}") for name in labelled_aus]
    if embedding == "wide":
        fields += [_field(name, single, "", "Embedding") for name in embedding_columns(embedding_dim)]
    elif embedding == "list":
        fields.append(_field(EMBEDDING, pa.list_(single, embedding_dim), "", "Embedding"))
    if blendshapes:
        fields += [_field(name, single, "0..1", "Blendshape of mediapipe") for name in blendshape_columns()]
    return pa.schema(fields)
