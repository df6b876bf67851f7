"""The exporter: per-frame embeddings and AU predictions from a store to Parquet, clip by clip.

AU predictions come from a fitted head, or, without one, from mediapipe's blendshapes by a documented mapping, or, where
the store has none, there are no AU columns; the metadata of every file say which. A clip whose file carries the same
provenance is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tclr.pipeline.blendshape_aus import MAPPED_AUS, MAPPING_VERSION, THRESHOLD, predict_from_blendshapes
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.features import PARTITION
from tclr.pipeline.head_file import load_head
from tclr.pipeline.heads import AuHead
from tclr.pipeline.parquet import read_metadata, write_table
from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.config import EmbedConfig
from tclr.schemas.errors import OutputError, StoreError
from tclr.schemas.features import FORMAT, FORMAT_VERSION, blendshape_columns, embedding_columns, features_schema
from tclr.schemas.store import Status


@dataclass(frozen=True)
class AuSource:
    """Where AU predictions come from: ``name`` as the metadata say it, the AUs and their thresholds."""

    name: str
    au_names: tuple[str, ...]
    threshold: np.ndarray
    head: AuHead | None = None

    def predict(self, embeddings: np.ndarray, blendshapes: np.ndarray | None) -> np.ndarray:
        """Return (n, A) float32 predictions of n frames with a face."""
        if self.head is not None:
            return self.head.predict(embeddings)
        if blendshapes is None:
            return np.zeros((len(embeddings), 0), np.float32)
        return predict_from_blendshapes(blendshapes)


@dataclass(frozen=True)
class EmbedResult:
    """What an export did."""

    features: Path
    n_rows: int
    n_clips: int
    n_skipped: int
    n_columns: int
    au_source: str


def choose_au_source(store: Store, encoder: LoadedEncoder, au_model: Path | None) -> AuSource:
    """Return the head if one is given, else blendshapes if the store has them, else nothing.

    Raises
    ------
    ModelError
        If the head cannot be read or was fitted on another encoder.
    """
    if au_model is not None:
        head = load_head(au_model)
        head.check_encoder(encoder)
        return AuSource(f"head:{head.digest}", head.au_names, head.threshold, head)
    if all(store.names(info, "blendshapes") for info in store.clips):
        thresholds = np.full(len(MAPPED_AUS), THRESHOLD, np.float32)
        return AuSource(f"blendshapes:v{MAPPING_VERSION}", MAPPED_AUS, thresholds)
    return AuSource("none", (), np.zeros(0, np.float32))


def _numbers(values: np.ndarray, missing: np.ndarray) -> pa.Array:
    """Return float32 with nulls, never NaN: Parquet readers other than pandas tell them apart."""
    return pa.array(values, pa.float32(), mask=missing | np.isnan(values))


def _flags(values: np.ndarray, missing: np.ndarray) -> pa.Array:
    return pa.array(values.astype(np.int8), pa.int8(), mask=missing)


def _category(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string()).dictionary_encode()


def _clip_arrays(
    store: Store, info: ClipInfo, encoder: LoadedEncoder, source: AuSource, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (T, D) embeddings and (T, A) predictions, NaN without a face; crops are read block by block."""
    embeddings = np.full((info.n_frames, encoder.embedding_dim), np.nan, np.float32)
    predictions = np.full((info.n_frames, len(source.au_names)), np.nan, np.float32)
    has_blendshapes = bool(store.names(info, "blendshapes"))
    for start in range(0, info.n_frames, batch_size):
        stop = min(start + batch_size, info.n_frames)
        face = store.face_mask(info, start, stop)
        if not face.any():
            continue
        rows = start + np.flatnonzero(face)
        embeddings[rows] = encoder.embed(store.read_frames(info, start, stop)[face])
        blendshapes = store.read(info, "blendshapes", start, stop)[face] if has_blendshapes else None
        predictions[rows] = source.predict(embeddings[rows], blendshapes)
    return embeddings, predictions


def _labels(store: Store, info: ClipInfo, labelled_aus: Sequence[str]) -> np.ndarray:
    """Return (T, L) int8 labels of the store's labelled AUs, -1 where this clip has none."""
    labels = np.full((info.n_frames, len(labelled_aus)), UNKNOWN, np.int8)
    names = store.names(info, "au")
    if names:
        labels[:, [labelled_aus.index(name) for name in names]] = store.read(info, "au")
    return labels


def build_table(
    store: Store,
    info: ClipInfo,
    schema: pa.Schema,
    embeddings: np.ndarray,
    predictions: np.ndarray,
    source: AuSource,
    labelled_aus: Sequence[str],
) -> pa.Table:
    """Join what is known of a clip's frames into one table.

    Parameters
    ----------
    store, info
        The store and the clip.
    schema : pyarrow.Schema
        See ``features_schema``.
    embeddings, predictions : ndarray
        (T, D) and (T, A) float32, NaN without a face.
    source : AuSource
        AU names and thresholds of the predictions.
    labelled_aus : sequence of str
        AUs that get an ``AUxx_true`` column.

    Returns
    -------
    pyarrow.Table
        T rows; numbers of frames without a face are null.
    """
    status, pose, bbox = (store.read(info, name) for name in ("status", "pose", "bbox"))
    no_face = ~store.face_mask(info)
    labels = _labels(store, info, labelled_aus)
    values: dict[str, Any] = {
        "dataset": _category([info.dataset] * info.n_frames),
        "clip": _category([info.clip] * info.n_frames),
        "frame": store.read(info, "source_frame"),
        "timestamp": store.read(info, "timestamp"),
        "status": _category([Status(code).name for code in status.tolist()]),
        "score": _numbers(store.read(info, "score"), no_face),
        "sharpness": _numbers(store.read(info, "sharpness"), no_face),
        "face_px": _numbers((bbox[:, 2:] - bbox[:, :2]).max(axis=1), no_face),
        "track": pa.array(store.read(info, "track"), mask=no_face),
    }
    if "file" in schema.names:
        named = "source_name" in store.fields(info)
        values["file"] = pa.array(store.read(info, "source_name") if named else [None] * info.n_frames, pa.string())
    for column, name in enumerate(("pitch", "yaw", "roll")):
        values[name] = _numbers(pose[:, column], no_face)
    for column, name in enumerate(source.au_names):
        probability = predictions[:, column]
        values[name] = _numbers(probability, no_face)
        values[f"{name}_c"] = _flags(probability >= source.threshold[column], no_face | np.isnan(probability))
    for column, name in enumerate(labelled_aus):
        values[f"{name}_true"] = _flags(labels[:, column], labels[:, column] == UNKNOWN)
    for column, name in enumerate(embedding_columns(embeddings.shape[1])):
        values[name] = _numbers(embeddings[:, column], no_face)
    if blendshape_columns()[0] in schema.names:
        shapes = store.read(info, "blendshapes")
        for column, name in enumerate(blendshape_columns()):
            values[name] = _numbers(shapes[:, column], no_face)
    return pa.table([values[name] for name in schema.names], schema=schema)


def with_pandas_types(schema: pa.Schema) -> pa.Schema:
    """Tell pandas to read whole numbers as ``Int8`` or ``Int32``, which have a missing value, not as floats."""
    empty = schema.empty_table().to_pandas()
    pandas_types = {pa.int8(): "Int8", pa.int32(): "Int32"}
    nullable = {field.name: pandas_types[field.type] for field in schema if field.type in pandas_types}
    metadata = pa.Schema.from_pandas(empty.astype(nullable), preserve_index=False).metadata
    return schema.with_metadata({b"pandas": metadata[b"pandas"]})


def _provenance(info: ClipInfo, encoder: LoadedEncoder, source: AuSource, config: EmbedConfig) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "tclr_version": version("tclr-face"),
        "dataset": info.dataset,
        "subject": info.subject,
        "clip": info.clip,
        **{name: info.attrs[name] for name in ("source", "source_sha256", "fps", "detector")},
        **{name: info.root[name] for name in ("detect_hash", "align_hash")},
        "detect": json.loads(info.root["detect_config"]),
        "align": json.loads(info.root["align_config"]),
        "encoder": {"digest": encoder.digest, **json.loads(json.dumps(encoder.info.brief()))},
        "au_source": source.name,
        "au_thresholds": {name: float(t) for name, t in zip(source.au_names, source.threshold, strict=True)},
        "settings": config.model_dump(mode="json", exclude={"batch_size"}),
    }


def _is_done(path: Path, provenance: dict[str, Any], schema: pa.Schema) -> bool:
    if not path.is_file():
        return False
    try:
        return read_metadata(path) == {**provenance, "columns": schema.names}
    except StoreError:
        return False


def _clip_path(features: Path, info: ClipInfo) -> Path:
    return features / f"{PARTITION}{info.subject}" / f"{info.clip}.parquet"


def _check_others(features: Path, infos: Sequence[ClipInfo]) -> None:
    """Refuse to write beside Parquet files of anything that the store does not have: pandas would mix them."""
    wanted = {_clip_path(features, info) for info in infos}
    others = sorted(set(features.rglob("*.parquet")) - wanted)
    if others:
        raise OutputError(
            f"{features} holds Parquet files of clips that are not in the store, as {others[0]}. "
            "Use another FEATURES folder, or delete those files."
        )


def embed(
    store_path: Path,
    features: Path,
    encoder: LoadedEncoder,
    config: EmbedConfig,
    *,
    au_model: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> EmbedResult:
    """Export a store.

    Parameters
    ----------
    store_path, features : Path
        Store to read; folder to write, see ``tclr.schemas.features``.
    encoder : LoadedEncoder
        The encoder.
    config : EmbedConfig
        Settings.
    au_model : Path, optional
        A head that ``tclr fit-au`` wrote; without it AUs come from blendshapes.
    progress : callable
        Called with frames done and frames in all.

    Raises
    ------
    StoreError, ModelError
        If the store or head cannot be read, or the head does not belong to the encoder.
    OutputError
        If the folder cannot be written or holds features of other clips.
    """
    with Store(store_path) as store:
        source = choose_au_source(store, encoder, au_model)
        labelled_aus = sorted({name for info in store.clips for name in store.names(info, "au")})
        schema = features_schema(
            source.au_names,
            labelled_aus,
            encoder.embedding_dim,
            blendshapes=_wants_blendshapes(store, config),
            files=any("source_name" in store.fields(info) for info in store.clips),
        )
        schema = with_pandas_types(schema)
        _check_others(features, store.clips)
        done, skipped, total = 0, 0, sum(info.n_frames for info in store.clips)
        for info in store.clips:
            path, provenance = _clip_path(features, info), _provenance(info, encoder, source, config)
            if _is_done(path, provenance, schema):
                skipped += 1
            else:
                arrays = _clip_arrays(store, info, encoder, source, config.batch_size)
                table = build_table(store, info, schema, *arrays, source, labelled_aus)
                write_table(path, table, {**provenance, "columns": schema.names})
            done += info.n_frames
            progress(done, total)
    return EmbedResult(features, total, len(store.clips), skipped, len(schema) + 1, source.name)


def _wants_blendshapes(store: Store, config: EmbedConfig) -> bool:
    if not config.blendshapes:
        return False
    without = [info.name for info in store.clips if not store.names(info, "blendshapes")]
    if without:
        raise StoreError(
            f"Expected blendshapes in every clip, but {without[0]} of {store.root} has none: only the mediapipe "
            "detector gives them. Run again without --blendshapes."
        )
    return True
