"""Embeddings and predictions of some frames of a clip, block by block."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np

from tclr.pipeline.au import Prediction
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.export.au_source import AuSource
from tclr.pipeline.export.job import ExportJob
from tclr.pipeline.export.sight import Sight
from tclr.pipeline.store import ClipInfo, Store

PREDICT_ROWS = 512
"""Frames that AUs are predicted for at once: some 16 MB of inputs."""


def predict_rows(
    source: AuSource, store: Store, info: ClipInfo, rows: np.ndarray, embeddings: np.ndarray
) -> Prediction:
    """Return the predictions of some rows with a face, not smoothed, from their embeddings."""
    blocks = [slice(start, start + PREDICT_ROWS) for start in range(0, len(rows), PREDICT_ROWS)]
    parts = [source.predict(store, info, rows[block], embeddings[block]) for block in blocks]
    return Prediction.joined(parts) if parts else Prediction.unknown(0, len(source.predicted_aus))


def _read_blocks(
    store: Store, info: ClipInfo, rows: np.ndarray, size: int, sight: Sight | None
) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        crops = store.read_crops_at(info, block)
        if sight is not None:
            sight.look(block, crops)
        yield crops


def embed_rows(
    job: ExportJob,
    store: Store,
    info: ClipInfo,
    encoder: LoadedEncoder | None,
    rows: np.ndarray,
    report: Callable[[int, int], None] = lambda n_frames, n_expected: None,
    sight: Sight | None = None,
) -> np.ndarray:
    """Return (n, D) embeddings of some rows, D = 0 without an encoder; crops are read block by block.

    ``sight``, if given, looks at the same crops, even without an encoder.
    """
    blocks = _read_blocks(store, info, rows, job.config.batch_size, sight)
    if encoder is None:
        if sight is not None:
            deque(blocks, maxlen=0)
        return np.zeros((len(rows), 0), np.float32)
    n_done = 0
    embeddings = np.empty((len(rows), encoder.embedding_dim), np.float32)
    for embedded in encoder.embed_all(blocks):
        embeddings[n_done : n_done + len(embedded)] = embedded
        n_done += len(embedded)
        report(int(rows[n_done - 1]) + 1, info.n_frames)
    report(info.n_frames, info.n_frames)
    return embeddings
