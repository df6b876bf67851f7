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

from tclr.pipeline.au_source import AuSource, choose_au_source
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.features import PARTITION, choose_columns
from tclr.pipeline.features_table import build_table, with_pandas_types
from tclr.pipeline.parquet import read_metadata, write_table
from tclr.pipeline.readout import Prediction
from tclr.pipeline.smoothing import smooth
from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.config import EmbedConfig
from tclr.schemas.errors import OutputError, SettingError, StoreError
from tclr.schemas.features import EMBEDDING, FORMAT, FORMAT_VERSION, KEYS, features_schema


@dataclass(frozen=True)
class EmbedResult:
    """What an export did."""

    features: Path
    n_rows: int
    n_clips: int
    n_skipped: int
    n_columns: int
    au_source: str


def _clip_arrays(
    store: Store, info: ClipInfo, encoder: LoadedEncoder | None, source: AuSource, batch_size: int
) -> tuple[np.ndarray, Prediction]:
    """Return (T, D) embeddings and smoothed predictions, NaN without a face; crops are read block by block.

    Without an encoder, D is 0. Stills have no time to smooth over.
    """
    embeddings = np.full((info.n_frames, encoder.embedding_dim if encoder else 0), np.nan, np.float32)
    shape = (info.n_frames, len(source.au_names))
    out = Prediction(*(np.full(shape, np.nan, np.float32) for _ in range(2)))
    has_blendshapes = bool(store.names(info, "blendshapes"))
    for start in range(0, info.n_frames, batch_size):
        stop = min(start + batch_size, info.n_frames)
        face = store.face_mask(info, start, stop)
        if not face.any():
            continue
        rows = start + np.flatnonzero(face)
        if encoder is not None:
            embeddings[rows] = encoder.embed(store.read_frames(info, start, stop)[face])
        blendshapes = store.read(info, "blendshapes", start, stop)[face] if has_blendshapes else None
        predicted = source.predict(embeddings[rows], blendshapes)
        out.probability[rows], out.intensity[rows] = predicted.probability, predicted.intensity
    if "source_name" not in store.fields(info):
        timestamps = store.read(info, "timestamp")
        out = Prediction(*(smooth(values, timestamps, source.smooth_s) for values in (out.probability, out.intensity)))
    return embeddings, out


def _provenance(info: ClipInfo, encoder: LoadedEncoder | None, source: AuSource, config: EmbedConfig) -> dict[str, Any]:
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
        "encoder": {"digest": encoder.digest, **json.loads(json.dumps(encoder.info.brief()))} if encoder else None,
        **source.provenance(),
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
    encoder: LoadedEncoder | None,
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
    encoder : LoadedEncoder or None
        The encoder; it is not run where no column needs it.
    config : EmbedConfig
        Settings.
    au_model : Path, optional
        A head that ``tclr fit-au`` wrote; without it AUs come from blendshapes.
    progress : callable
        Called with frames done and frames in all.

    Raises
    ------
    StoreError, ModelError
        If the store or head cannot be read, the head does not belong to the encoder, or there is no such column.
    SettingError
        If an encoder is needed and there is none.
    OutputError
        If the folder cannot be written or holds features of other clips.
    """
    with Store(store_path) as store:
        source = choose_au_source(store, au_model, config.smooth_s)
        if source.head is not None:
            encoder = encoder or source.head.encoder  # a fine-tuned head brings its own
            if encoder is not None:
                source.head.check_encoder(encoder)
        labelled_aus = sorted({name for info in store.clips for name in store.names(info, "au")})
        schema = features_schema(
            source.au_names,
            labelled_aus,
            encoder.embedding_dim if encoder else 1,  # of any length: it is asked for below
            blendshapes=_wants_blendshapes(store, config),
            files=any("source_name" in store.fields(info) for info in store.clips),
            intensity_aus=source.intensity_aus,
            embedding=config.embedding,
        )
        schema = with_pandas_types(_chosen(schema, config))
        if source.columns.isdisjoint(schema.names):
            source = AuSource("none")
        if source.head is None and not any(name.startswith(EMBEDDING) for name in schema.names):
            encoder = None  # no column holds what it gives
        elif encoder is None:
            raise SettingError("Expected an encoder for the embeddings or the head, but got none. Give --encoder.")
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


def _chosen(schema: pa.Schema, config: EmbedConfig) -> pa.Schema:
    """Return the schema with the columns that were asked for, and the keys, in its own order."""
    patterns = [pattern.strip() for pattern in config.columns.split(",") if pattern.strip()]
    if not patterns:
        return schema
    chosen = {*choose_columns(patterns, schema.names), *KEYS}
    return pa.schema([field for field in schema if field.name in chosen])


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
