"""The export of one clip: embeddings and predictions, joined to one Parquet file with its provenance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tclr.pipeline.au import Prediction, smooth
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.export.frames import embed_rows, predict_rows
from tclr.pipeline.export.job import ExportJob
from tclr.pipeline.export.rest import at_rest
from tclr.pipeline.export.sight import Sight, hide
from tclr.pipeline.export.table import build_table, spread
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import TaskOutcome, check_run, explain, write_table
from tclr.schemas.errors import OutputError


def _clip_arrays(
    job: ExportJob, store: Store, info: ClipInfo, encoder: LoadedEncoder | None, report: Callable[[int, int], None]
) -> tuple[np.ndarray, Prediction, Sight]:
    """Return (T, D) embeddings, smoothed predictions and what can be seen, NaN without a face.

    Stills have no time to smooth over.
    """
    rows, sight = np.flatnonzero(store.face_mask(info)), Sight.of_nothing(info.n_frames)
    embeddings = embed_rows(job, store, info, encoder, rows, report, sight if job.sees else None)
    predicted = predict_rows(job.source, store, info, rows, embeddings)
    predicted = predicted.map(lambda values: spread(values, rows, info.n_frames))
    predicted = at_rest(job, store, info, encoder, predicted)
    if job.config.hidden == "null":
        predicted = hide(predicted, sight.visible, job.source.predicted_aus)  # before smoothing: no guess leaks out
    timestamps = None
    if "source_name" not in store.fields(info):
        timestamps = store.read(info, "timestamp")
        predicted = predicted.map(partial(smooth, timestamps=timestamps, smooth_s=job.source.smooth_s))
    predicted = job.source.finish(predicted, timestamps if info.n_frames > 1 else None)
    return spread(embeddings, rows, info.n_frames), predicted, sight


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
        embeddings, predicted, sight = _clip_arrays(job, store, info, encoder, report)
        found = embeddings, predicted, sight, job.source, job.labelled_aus
        table = build_table(store, info, job.schema, *found, hide_eyes=job.config.hidden == "null")
        write_table(job.path(info), table, job.metadata(info), confirm=lambda: check_run(job.features, job.run))
        return TaskOutcome()
    except Exception as error:
        return failed(error)


def failed(error: Exception) -> TaskOutcome:
    """Return why a clip could not be exported."""
    reason = explain(error, "Fewer --workers leave more for each, and a smaller --batch-size needs less")
    return TaskOutcome(reason, fatal=isinstance(error, OutputError))
