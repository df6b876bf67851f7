"""The export of one clip: embeddings and predictions, joined to one Parquet file with its provenance."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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

PREDICT_ROWS = 512
"""Frames that AUs are predicted for at once: some 16 MB of inputs, and 77 MB of crops of 224 px."""
REST_FRAMES = 256
"""Frames, spread evenly over all of a person's clips, that the person's resting level is estimated from."""
_last_level: dict[tuple[str, str], RestingLevel] = {}
"""The level of the subject whose clip was exported last, by run and subject."""


@dataclass(frozen=True)
class ExportJob:
    """What the exports of all clips share. It is sent to the workers, so it has no encoder.

    ``store`` is read and ``features`` written; ``run`` holds ``features``, see ``lock_folder``. Every file has the
    columns of ``schema``; ``labelled_aus`` have an ``AUxx_true`` column, and ``source`` is where AUs come from.
    ``encoder``, with the digest of its weights, is None if no column needs one; ``precision`` is its arithmetic: that
    of ``config``, or the measured one.
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
        """Return the metadata of the clip's file, as JSON can hold them."""
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
            "pose": "landmarks:v1",
            "encoder": encoder,
            **self.source.provenance(),
            "settings": self.config.model_dump(mode="json", exclude={"batch_size", "precision"}),
            "columns": self.schema.names,
        }

    def is_done(self, info: ClipInfo) -> bool:
        """Return whether the clip's file exists and is what this job would write."""
        path = self.path(info)
        try:
            return path.is_file() and read_metadata(path) == self.metadata(info)
        except StoreError:
            return False


def subject_folder(features: Path, subject: str) -> Path:
    """Return the folder of a subject's files."""
    return features / f"{PARTITION}{subject}"


def _predict_rows(
    source: AuSource, store: Store, info: ClipInfo, rows: np.ndarray, embeddings: np.ndarray
) -> Prediction:
    """Return the predictions of some rows with a face, not smoothed, from their embeddings."""
    blocks = [slice(start, start + PREDICT_ROWS) for start in range(0, len(rows), PREDICT_ROWS)]
    parts = [source.predict(store, info, rows[block], embeddings[block]) for block in blocks]
    return Prediction.joined(parts) if parts else Prediction.unknown(0, len(source.predicted_aus))


def _embed_rows(
    job: ExportJob,
    store: Store,
    info: ClipInfo,
    encoder: LoadedEncoder | None,
    rows: np.ndarray,
    report: Callable[[int, int], None] = lambda n_frames, n_expected: None,
) -> np.ndarray:
    """Return (n, D) embeddings of some rows, D = 0 without an encoder; crops are read block by block."""
    if encoder is None:
        return np.zeros((len(rows), 0), np.float32)
    size, n_done = job.config.batch_size, 0
    blocks = (store.read_crops_at(info, rows[start : start + size]) for start in range(0, len(rows), size))
    embeddings = np.empty((len(rows), encoder.embedding_dim), np.float32)
    for embedded in encoder.embed_all(blocks):
        embeddings[n_done : n_done + len(embedded)] = embedded
        n_done += len(embedded)
        report(int(rows[n_done - 1]) + 1, info.n_frames)
    report(info.n_frames, info.n_frames)
    return embeddings


def _spread(values: np.ndarray, rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Return (n_rows, ...) with the values at their rows, NaN elsewhere."""
    out = np.full((n_rows, values.shape[1]), np.nan, np.float32)
    out[rows] = values
    return out


def _clip_arrays(
    job: ExportJob, store: Store, info: ClipInfo, encoder: LoadedEncoder | None, report: Callable[[int, int], None]
) -> tuple[np.ndarray, Prediction]:
    """Return (T, D) embeddings and smoothed predictions, NaN without a face. Stills have no time to smooth over."""
    rows = np.flatnonzero(store.face_mask(info))
    embeddings = _embed_rows(job, store, info, encoder, rows, report)
    predicted = _predict_rows(job.source, store, info, rows, embeddings)
    predicted = predicted.map(lambda values: _spread(values, rows, info.n_frames))
    timestamps = None
    if "source_name" not in store.fields(info):
        head = job.source.head
        if job.config.centre != "none" and head is not None and head.rest is not None and len(rows):
            own = resting_level(predicted) if job.config.centre == "clip" else _level_of(job, store, info, encoder)
            predicted = centre(predicted, own, head.rest)
        timestamps = store.read(info, "timestamp")
        predicted = predicted.map(partial(smooth, timestamps=timestamps, smooth_s=job.source.smooth_s))
    predicted = job.source.finish(predicted, timestamps)
    return _spread(embeddings, rows, info.n_frames), predicted


def _level_of(job: ExportJob, store: Store, info: ClipInfo, encoder: LoadedEncoder | None) -> RestingLevel:
    """Return the resting level of a clip's subject over all clips of the store; it is kept for the next clip."""
    key = (job.run, info.subject)
    if key not in _last_level:
        clips = [clip for clip in store.clips if clip.subject == info.subject]
        faces = [np.flatnonzero(store.face_mask(clip)) for clip in clips]
        owner = np.repeat(np.arange(len(clips)), [len(rows) for rows in faces])
        spread = np.linspace(0, len(owner) - 1, min(len(owner), REST_FRAMES)).round().astype(int)
        chosen, owner = np.concatenate(faces)[spread], owner[spread]
        parts = []
        for i in np.unique(owner).tolist():
            rows = chosen[owner == i]
            parts.append(
                _predict_rows(job.source, store, clips[i], rows, _embed_rows(job, store, clips[i], encoder, rows))
            )
        _last_level.clear()
        _last_level[key] = resting_level(Prediction.joined(parts))
    return _last_level[key]


def export_clip(
    job: ExportJob,
    store: Store,
    info: ClipInfo,
    encoder: LoadedEncoder | None,
    report: Callable[[int, int], None] = lambda n_frames, n_expected: None,
) -> TaskOutcome:
    """Write a clip's file in one step, if the run still holds the folder; errors are returned as text.

    ``encoder`` is the job's. ``report`` is called with frames done and frames in total.
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
