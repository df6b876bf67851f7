"""What the export of a clip is: embeddings and predictions, joined to one Parquet file with its provenance."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tclr.pipeline.au import Prediction, RestingLevel, centre, resting_level, smooth
from tclr.pipeline.encoder import EncoderInfo, LoadedEncoder
from tclr.pipeline.export.au_source import AuSource
from tclr.pipeline.export.table import build_table
from tclr.pipeline.features import PARTITION
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import TaskOutcome, check_run, explain, read_metadata, write_table
from tclr.schemas.config import EmbedConfig
from tclr.schemas.errors import OutputError, StoreError
from tclr.schemas.features import FORMAT, FORMAT_VERSION

PREDICT_ROWS = 4096
"""Frames that AUs are predicted for at once, whatever was embedded at once; chosen by us: some 10 MB in float64."""
REST_FRAMES = 256
"""Frames, spread evenly over all of a person's clips, that tell the person's resting level; chosen by us."""
_last_level: dict[tuple[str, str], RestingLevel] = {}
"""That of the subject whose clip was exported last, by run and subject."""


@dataclass(frozen=True)
class ExportJob:
    """What the exports of all clips share; it is sent to the workers, so it holds no encoder.

    Attributes
    ----------
    store, features : Path
        Where to read and write.
    run : str
        The run that holds ``features``, see ``lock_folder``.
    schema : pyarrow.Schema
        Columns of every file.
    labelled_aus : tuple of str
        AUs with an ``AUxx_true`` column.
    source : AuSource
        Where AUs come from.
    encoder : EncoderInfo or None
        What runs, if any column needs it.
    encoder_digest : str
        Which weights those are.
    config : EmbedConfig
        Settings.
    precision : str
        Arithmetic of the encoder: ``config``'s, or what was measured.
    """

    store: Path
    features: Path
    run: str
    schema: pa.Schema
    labelled_aus: tuple[str, ...]
    source: AuSource
    encoder: EncoderInfo | None
    encoder_digest: str
    config: EmbedConfig
    precision: str = "fp32"

    def path(self, info: ClipInfo) -> Path:
        """Return the clip's file."""
        return subject_folder(self.features, info.subject) / f"{info.clip}.parquet"

    def metadata(self, info: ClipInfo) -> dict[str, Any]:
        """Return what the clip's file says of itself, as JSON has it."""
        encoder = None
        if self.encoder is not None:
            encoder = {"digest": self.encoder_digest, **json.loads(json.dumps(self.encoder.brief()))}
            encoder |= {} if self.precision == "fp32" else {"precision": self.precision}
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "tclr_version": version("tclr-face"),
            "dataset": info.dataset,
            "subject": info.subject,
            "clip": info.clip,
            **{name: getattr(info.attrs, name) for name in ("source", "source_sha256", "fps", "detector")},
            "detect_hash": info.root.detect_hash,
            "align_hash": info.root.align_hash,
            **info.root.settings,
            "encoder": encoder,
            **self.source.provenance(),
            "settings": self.config.model_dump(mode="json", exclude={"batch_size", "precision"}),
            "columns": self.schema.names,
        }

    def is_done(self, info: ClipInfo) -> bool:
        """Return whether the clip's file is there and is what this job would write."""
        path = self.path(info)
        try:
            return path.is_file() and read_metadata(path) == self.metadata(info)
        except StoreError:
            return False


def subject_folder(features: Path, subject: str) -> Path:
    """Return the folder of a subject's files."""
    return features / f"{PARTITION}{subject}"


def _predict(source: AuSource, embeddings: np.ndarray, blendshapes: np.ndarray | None, rows: np.ndarray) -> Prediction:
    """Return the predictions of a clip's T frames, NaN but for some rows, not smoothed."""
    shape = (len(embeddings), len(source.au_names))
    out = Prediction(*(np.full(shape, np.nan, np.float32) for _ in range(2)))
    for start in range(0, len(rows), PREDICT_ROWS):
        block = rows[start : start + PREDICT_ROWS]
        predicted = source.predict(embeddings[block], None if blendshapes is None else blendshapes[block])
        out.probability[block], out.intensity[block] = predicted.probability, predicted.intensity
    return out


def _embed_clip(
    job: ExportJob,
    store: Store,
    info: ClipInfo,
    encoder: LoadedEncoder,
    face: np.ndarray,
    report: Callable[[int, int], None],
) -> np.ndarray:
    """Return (T, D) embeddings, NaN without a face; crops are read block by block."""
    rows, size, n_done = np.flatnonzero(face), job.config.batch_size, 0
    blocks = (store.read_crops_at(info, rows[start : start + size]) for start in range(0, len(rows), size))
    embeddings = np.full((info.n_frames, encoder.embedding_dim), np.nan, np.float32)
    for embedded in encoder.embed_all(blocks):
        embeddings[rows[n_done : n_done + len(embedded)]] = embedded
        n_done += len(embedded)
        report(int(rows[n_done - 1]) + 1, info.n_frames)
    return embeddings


def _clip_arrays(
    job: ExportJob, store: Store, info: ClipInfo, encoder: LoadedEncoder | None, report: Callable[[int, int], None]
) -> tuple[np.ndarray, Prediction]:
    """Return (T, D) embeddings and smoothed predictions, NaN without a face.

    Without an encoder, D is 0. Stills have no time to smooth over.
    """
    face = store.face_mask(info)
    if encoder is None:
        embeddings = np.full((info.n_frames, 0), np.nan, np.float32)
    else:
        embeddings = _embed_clip(job, store, info, encoder, face, report)
        report(info.n_frames, info.n_frames)
    blendshapes = store.read(info, "blendshapes") if store.names(info, "blendshapes") else None
    predicted = _predict(job.source, embeddings, blendshapes, np.flatnonzero(face))
    if "source_name" not in store.fields(info):
        head = job.source.head
        if job.config.centre != "none" and head is not None and head.rest is not None and face.any():
            own = resting_level(predicted) if job.config.centre == "clip" else _level_of(job, store, info, encoder)
            predicted = centre(predicted, own, head.rest)
        timestamps = store.read(info, "timestamp")
        both = (predicted.probability, predicted.intensity)
        predicted = Prediction(*(smooth(values, timestamps, job.source.smooth_s) for values in both))
    return embeddings, predicted


def _predict_rows(
    source: AuSource, store: Store, info: ClipInfo, rows: np.ndarray, encoder: LoadedEncoder | None
) -> Prediction:
    """Return the predictions of some rows with a face."""
    embeddings = encoder.embed(store.read_crops_at(info, rows)) if encoder else np.zeros((len(rows), 0), np.float32)
    blendshapes = store.read(info, "blendshapes")[rows] if store.names(info, "blendshapes") else None
    return source.predict(embeddings, blendshapes)


def _level_of(job: ExportJob, store: Store, info: ClipInfo, encoder: LoadedEncoder | None) -> RestingLevel:
    """Return the resting level of a clip's subject over all clips of the store, which is found once a run of clips."""
    key = (job.run, info.subject)
    if key not in _last_level:
        clips = [clip for clip in store.clips if clip.subject == info.subject]
        faces = [np.flatnonzero(store.face_mask(clip)) for clip in clips]
        owner = np.repeat(np.arange(len(clips)), [len(rows) for rows in faces])
        spread = np.linspace(0, len(owner) - 1, min(len(owner), REST_FRAMES)).round().astype(int)
        chosen, owner = np.concatenate(faces)[spread], owner[spread]
        parts = [
            _predict_rows(job.source, store, clip, chosen[owner == i], encoder)
            for i, clip in enumerate(clips)
            if (owner == i).any()
        ]
        joined = [np.concatenate([getattr(part, name) for part in parts]) for name in ("probability", "intensity")]
        _last_level.clear()
        _last_level[key] = resting_level(Prediction(*joined))
    return _last_level[key]


def export_clip(
    job: ExportJob,
    store: Store,
    info: ClipInfo,
    encoder: LoadedEncoder | None,
    report: Callable[[int, int], None] = lambda n_frames, n_expected: None,
) -> TaskOutcome:
    """Write a clip's file in one step, if the run still holds the folder; errors come back as words.

    Parameters
    ----------
    job : ExportJob
        What to write.
    store, info
        The store and the clip.
    encoder : LoadedEncoder or None
        The job's.
    report : callable
        Called with frames done and frames in all.
    """
    try:
        encoder = encoder.with_precision(job.precision) if encoder is not None else None
        embeddings, predicted = _clip_arrays(job, store, info, encoder, report)
        table = build_table(store, info, job.schema, embeddings, predicted, job.source, job.labelled_aus)
        write_table(job.path(info), table, job.metadata(info), confirm=lambda: check_run(job.features, job.run))
        return TaskOutcome()
    except Exception as error:
        return failed(error)


def failed(error: Exception) -> TaskOutcome:
    """Return why a clip could not be exported."""
    reason = explain(error, "Fewer --workers leave more for each, and a smaller --batch-size needs less")
    return TaskOutcome(reason, fatal=isinstance(error, OutputError))
