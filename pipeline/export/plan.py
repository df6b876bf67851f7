"""What an export is going to do: where AUs come from, which encoder runs, and which columns are written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tclr.pipeline.au import BOX
from tclr.pipeline.encoder import LoadedEncoder, PrecisionChoice, choose_precision, load_encoder
from tclr.pipeline.export.au_source import NAMES, AuSource, choose_au_source, fits_bundled, resolve_au_model
from tclr.pipeline.export.job import ExportJob
from tclr.pipeline.export.neutral import NeutralFrames
from tclr.pipeline.export.table import with_pandas_types
from tclr.pipeline.features import choose_columns
from tclr.pipeline.store import Store
from tclr.pipeline.system import Failure
from tclr.schemas.config import EmbedConfig
from tclr.schemas.errors import SettingError, StoreError
from tclr.schemas.features import EMBEDDING, KEYS, eye_columns, features_schema, sight_columns

TRIED_FRAMES = 32
"""Crops that the encoder's arithmetic is measured on: seconds at 224 px."""


@dataclass(frozen=True)
class ExportPlan:
    """Where AUs come from, the encoder if any column needs it, the columns, and AUs with an ``AUxx_true`` column.

    ``sees`` says whether a column needs what can be seen on the crops.
    """

    source: AuSource
    encoder: LoadedEncoder | None
    schema: pa.Schema
    labelled_aus: tuple[str, ...]
    sees: bool

    def job(
        self, store: Path, features: Path, run: str, config: EmbedConfig, neutral: tuple[NeutralFrames, ...] = ()
    ) -> ExportJob:
        """Return the job of a run that holds the folder."""
        encoder, precision = self.encoder, "fp32" if config.precision == "auto" else config.precision
        info, digest = (encoder.info, encoder.digest) if encoder else (None, "")
        parts = store, features, run, self.schema, self.labelled_aus, self.source, info, digest, config, precision
        return ExportJob(*parts, neutral, self.sees)


def plan_export(
    store: Store, encoder: LoadedEncoder | None, config: EmbedConfig, au_model: str | Path, has_neutral: bool = False
) -> ExportPlan:
    """Settle what an export writes, with the arguments and errors of ``embed``."""
    source = choose_au_source(store, resolve_au_model(store, au_model, encoder is not None), config.smooth_s)
    if source.head is not None:
        encoder = encoder or source.head.encoder  # a fine-tuned head brings its own
        source = replace(source, head=replace(source.head, encoder=None))
    encoder = encoder or _bundled_encoder(store, source, au_model)
    if source.head is not None and source.needs_encoder and encoder is not None:
        source.head.check_encoder(encoder)
    if has_neutral or config.centre != "none":
        _check_centring(source, "--neutral" if has_neutral else f"--centre {config.centre}")
    if config.blendshapes:
        store.require_blendshapes("Run again without --blendshapes.")
    labelled_aus = sorted({name for info in store.clips for name in store.names(info, "au")})
    schema = features_schema(
        source.au_names,
        labelled_aus,
        encoder.embedding_dim if encoder else 1,  # any length will do: without an encoder no such column is written
        blendshapes=config.blendshapes,
        files=any("source_name" in store.fields(info) for info in store.clips),
        sight=store.has_frames and fits_bundled(store),
        n_landmarks=_count_landmarks(store) if config.landmarks else 0,
        intensity_aus=source.intensity_aus,
        side_aus=source.side_aus,
        embedding=config.embedding,
    )
    can_see = "n_hidden" in schema.names
    schema = with_pandas_types(_chosen(schema, config))
    guessed = config.hidden == "null" and not {*source.columns, *eye_columns()}.isdisjoint(schema.names)
    sees = can_see and (guessed or not {*sight_columns(), "confidence"}.isdisjoint(schema.names))
    if source.columns.isdisjoint(schema.names):
        source = AuSource("none")
    if not source.needs_encoder and not any(name.startswith(EMBEDDING) for name in schema.names):
        encoder = None  # no column holds what it gives
    else:
        store.require_frames(store.clips)
        if encoder is None:
            raise SettingError("Expected an encoder for the embeddings or the head, but got none. Give --encoder.")
    return ExportPlan(source, encoder, schema, tuple(labelled_aus), sees)


def _bundled_encoder(store: Store, source: AuSource, au_model: str | Path) -> LoadedEncoder | None:
    """Return the bundled encoder if it can read the store, and the user did not give a head of another one."""
    if not (store.has_frames and fits_bundled(store)):
        return None
    box = load_encoder(BOX)
    is_bundled, head = str(au_model) in NAMES, source.head
    return box if is_bundled or (head is not None and head.encoder_digest in ("", box.digest)) else None


def _count_landmarks(store: Store) -> int:
    """Return how many landmarks all clips have."""
    counts = {store.read(info, "landmarks", 0, 1).shape[1]: info.name for info in store.clips}
    if len(counts) > 1:
        (few, one), (many, other) = sorted(counts.items())
        raise StoreError(
            f"Expected clips with equally many landmarks for --landmarks, but got {few} in {one} and {many} in "
            f"{other}. Preprocess them with one detector, or run again without --landmarks."
        )
    return next(iter(counts), 0)


def _chosen(schema: pa.Schema, config: EmbedConfig) -> pa.Schema:
    """Return the schema with the requested columns and the keys, in its own order."""
    patterns = [pattern.strip() for pattern in config.columns.split(",") if pattern.strip()]
    if not patterns:
        return schema
    chosen = {*choose_columns(patterns, schema.names), *KEYS}
    return pa.schema([field for field in schema if field.name in chosen])


def _check_centring(source: AuSource, option: str) -> None:
    if source.head is None or source.head.rest is None:
        raise SettingError(
            f"Expected a head with a resting level of people for {option}, but AUs come from "
            f"{source.name}. Give --au-model face, or fit the head again with 'tclr fit-au'."
        )


def leave_out_damaged(store: Store) -> list[Failure]:
    """Drop clips whose description cannot be read from an open store; return all dropped ones, with the reason."""
    failures = [Failure(name, reason) for name, reason in store.damage.items()]
    for info in list(store.clips):
        try:
            for name in ("au", "blendshapes"):
                store.names(info, name)
        except StoreError as error:
            store.clips.remove(info)
            failures.append(Failure(info.name, str(error)))
    if failures and not store.clips:
        raise StoreError(failures[0].reason)
    return failures


def settle_precision(
    job: ExportJob, store: Store, encoder: LoadedEncoder | None
) -> tuple[ExportJob, PrecisionChoice | None]:
    """Return the job with the encoder's arithmetic, and how it was measured if it was.

    ``auto`` takes that of the run that is resumed, so that all files of a folder agree, else what is faster on the
    first crops with a face.
    """
    if encoder is None or job.config.precision != "auto":
        return job, None
    for precision in ("fp32", "bf16"):
        same = replace(job, precision=precision)
        if any(same.existing(info) == same.metadata(info) for info in store.clips):
            return same, None
    for info in store.clips:
        rows = np.flatnonzero(store.face_mask(info))[:TRIED_FRAMES]
        if len(rows):
            choice = choose_precision(encoder, store.read_crops_at(info, rows))
            return replace(job, precision=choice.precision), choice
    return job, None
