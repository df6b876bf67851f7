"""All that is known about a clip's frames as one Arrow table, in the columns of ``tclr.schemas.features``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tclr.pipeline.au import Prediction
from tclr.pipeline.export.au_source import AuSource
from tclr.pipeline.export.sight import Sight, find_hidden_eyes, rate_confidence
from tclr.pipeline.faces import turn_points
from tclr.pipeline.geometry import N_LANDMARKS, FaceGeometry, is_turned, measure_faces
from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.features import (
    EMBEDDING,
    HIDDEN_BELOW,
    SIDE_ENDINGS,
    blendshape_columns,
    embedding_columns,
    eye_columns,
    landmark_columns,
    visible_columns,
)
from tclr.schemas.store import Status

POSE_ROWS = 2048
"""Frames whose pose is found at once: 12 MB of landmarks."""


def _numbers(values: np.ndarray, missing: np.ndarray) -> pa.Array:
    """Return float32 with nulls, never NaN: Parquet readers other than pandas distinguish them."""
    return pa.array(values, pa.float32(), mask=missing | np.isnan(values))


def _vectors(values: np.ndarray, missing: np.ndarray) -> pa.Array:
    """Return lists of a fixed size of float32, null where missing."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1], mask=pa.array(missing))


def _flags(values: np.ndarray, missing: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.int8), pa.int8(), mask=missing)


def _measure(store: Store, info: ClipInfo, face: np.ndarray) -> FaceGeometry:
    """Return pose, gaze, openness and place of T frames; with landmarks other than mediapipe's the detector's pose."""
    geometry, size_px = FaceGeometry.of_nothing(info.n_frames), (info.attrs.width, info.attrs.height)
    upright_px = size_px[::-1] if info.attrs.rotation % 180 else size_px
    geometry.pose[:] = store.read(info, "pose")
    for start in range(0, info.n_frames, POSE_ROWS):
        rows = start + np.flatnonzero(face[start : start + POSE_ROWS])
        landmarks = store.read(info, "landmarks", start, min(start + POSE_ROWS, info.n_frames))
        if landmarks.shape[1] != N_LANDMARKS:
            break
        if len(rows):
            upright = turn_points(landmarks[rows - start], info.attrs.rotation, *size_px)
            geometry.fill(rows, measure_faces(upright, *upright_px))
    return geometry


def _geometry_columns(geometry: FaceGeometry, no_face: np.ndarray, hidden_eyes: np.ndarray) -> dict[str, pa.Array]:
    """Return the columns of pose, gaze, openness and place; those of hidden eyes are null."""
    found = dict(zip(("pitch", "yaw", "roll"), geometry.pose.T, strict=True))
    found |= dict(zip(("head_x", "head_y", "head_z"), geometry.place.T, strict=True))
    columns = {name: _numbers(values, no_face) for name, values in found.items()}
    of_eyes = zip(eye_columns(), (*geometry.gaze_yaw.T, *geometry.openness.T), strict=True)
    return columns | {name: _numbers(values, no_face | hidden_eyes) for name, values in of_eyes}


def _landmark_columns(store: Store, info: ClipInfo, names: Sequence[str], no_face: np.ndarray) -> dict[str, pa.Array]:
    """Return the wanted columns of landmarks, in pixels of the picture as shown."""
    if not any(name.startswith("lm_") for name in names):
        return {}
    points = store.read(info, "landmarks")[..., :2]
    columns = zip(landmark_columns(points.shape[1]), points.reshape(len(points), -1, order="F").T, strict=True)
    return {name: _numbers(values, no_face) for name, values in columns}


def spread(values: np.ndarray, rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Return (n_rows, ...) with the values at their rows, NaN elsewhere."""
    out = np.full((n_rows, values.shape[1]), np.nan, np.float32)
    out[rows] = values
    return out


def _category(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


def build_table(
    store: Store,
    info: ClipInfo,
    schema: pa.Schema,
    embeddings: np.ndarray,
    prediction: Prediction,
    sight: Sight,
    source: AuSource,
    labelled_aus: Sequence[str],
    *,
    hide_eyes: bool = True,
) -> pa.Table:
    """Join all that is known about a clip's T frames into one table; numbers of frames without a face are null.

    ``schema`` has the wanted columns of ``features_schema``; ``embeddings`` (T, D) float32, ``prediction`` and
    ``sight`` are NaN without a face; ``source`` has the AU names and thresholds; ``labelled_aus`` get an
    ``AUxx_true`` column. ``hide_eyes`` leaves gaze and openness of hidden eyes empty.
    """
    status, bbox = (store.read(info, name) for name in ("status", "bbox"))
    no_face = ~store.face_mask(info)
    geometry = _measure(store, info, ~no_face)
    score = store.read(info, "score")
    labels = store.read_columns(info, "au", labelled_aus)
    values: dict[str, Any] = {
        "dataset": _category([info.dataset] * info.n_frames),
        "clip": _category([info.clip] * info.n_frames),
        "frame": store.read(info, "source_frame"),
        "timestamp": store.read(info, "timestamp"),
        "status": _category([Status(code).name for code in status.tolist()]),
        "score": _numbers(score, no_face),
        "sharpness": _numbers(store.read(info, "sharpness"), no_face),
        "face_px": _numbers((bbox[:, 2:] - bbox[:, :2]).max(axis=1), no_face),
        "track": pa.array(store.read(info, "track"), mask=no_face),
    }
    if "file" in schema.names:
        named = "source_name" in store.fields(info)
        values["file"] = pa.array(store.read(info, "source_name") if named else [None] * info.n_frames, pa.string())
    hidden_eyes = find_hidden_eyes(sight) & hide_eyes
    values |= _geometry_columns(geometry, no_face, hidden_eyes)
    values |= _landmark_columns(store, info, schema.names, no_face)
    pose = geometry.pose
    values["turned"] = _flags(is_turned(pose, score), no_face | np.isnan(pose).any(axis=1))
    values["confidence"] = _numbers(rate_confidence(status, score, pose, sight), no_face)
    for column, name in enumerate(visible_columns()):
        values[name] = _numbers(sight.visible[:, column], no_face)
    values["n_hidden"] = _flags((sight.visible < HIDDEN_BELOW).sum(axis=1), no_face)
    for column, name in enumerate(("brightness", "contrast")):
        values[name] = _numbers(sight.light[:, column], no_face)
    unknown = np.full((info.n_frames, 2, len(source.au_names)), np.nan, np.float32)
    sides = unknown if prediction.sides is None else prediction.sides
    for column, name in enumerate(source.au_names):
        probability = prediction.probability[:, column]
        values[name] = _numbers(probability, no_face)
        values[f"{name}_r"] = _numbers(prediction.intensity[:, column], no_face)
        values[f"{name}_c"] = _flags(probability >= source.threshold[column], no_face | np.isnan(probability))
        for side, ending in enumerate(SIDE_ENDINGS):
            values[name + ending] = _numbers(sides[:, side, column], no_face)
    for column, name in enumerate(labelled_aus):
        values[f"{name}_true"] = _flags(labels[:, column], labels[:, column] == UNKNOWN)
    if EMBEDDING in schema.names:
        values[EMBEDDING] = _vectors(embeddings, no_face)
    for column, name in enumerate(embedding_columns(embeddings.shape[1])):
        values[name] = _numbers(embeddings[:, column], no_face)
    if not set(blendshape_columns()).isdisjoint(schema.names):
        shapes = store.read(info, "blendshapes")
        for column, name in enumerate(blendshape_columns()):
            values[name] = _numbers(shapes[:, column], no_face)
    return pa.table([values[name] for name in schema.names], schema=schema)


def with_pandas_types(schema: pa.Schema) -> pa.Schema:
    """Add metadata that make pandas read whole numbers as nullable ``Int8`` and ``Int32``, not as floats.

    Examples
    --------
    >>> import pyarrow as pa
    >>> with_pandas_types(pa.schema([("AU01_c", pa.int8())])).empty_table().to_pandas()["AU01_c"].dtype
    Int8Dtype()
    """
    empty = schema.empty_table().to_pandas()
    pandas_types = {pa.int8(): "Int8", pa.int32(): "Int32"}
    nullable = {field.name: pandas_types[field.type] for field in schema if field.type in pandas_types}
    metadata = pa.Schema.from_pandas(empty.astype(nullable), preserve_index=False).metadata
    return schema.with_metadata({b"pandas": metadata[b"pandas"]})
