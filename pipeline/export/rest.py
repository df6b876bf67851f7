"""The resting level of a person in an export, and the predictions that it moves."""

from __future__ import annotations

import numpy as np

from tclr.pipeline.au import Prediction, RestingLevel, centre, resting_level
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.export.frames import embed_rows, predict_rows
from tclr.pipeline.export.job import ExportJob
from tclr.pipeline.store import ClipInfo, Store

REST_FRAMES = 256
"""Frames, spread evenly over all of a person's clips, that the person's resting level is estimated from."""
FEWEST_FRAMES = 2
"""Frames from which on some can be quieter than others."""
_last_level: dict[tuple[str, str], RestingLevel | None] = {}
"""The level of the subject whose clip was exported last, by run and subject."""


def at_rest(
    job: ExportJob, store: Store, info: ClipInfo, encoder: LoadedEncoder | None, predicted: Prediction
) -> Prediction:
    """Return a clip's predictions with the person's own zero, as the settings want it.

    They stay as they are if nothing says what the person is like at rest: without neutral frames of a person though
    some are given of others, or with a single frame.
    """
    head = job.source.head
    if head is None or head.rest is None or not (job.neutral or job.config.centre != "none"):
        return predicted
    if job.neutral or job.config.centre == "subject":
        own = _level_of(job, store, info, encoder, head.rest.share)
    else:
        n_known = np.isfinite(predicted.probability).any(axis=1).sum()
        own = resting_level(predicted, head.rest.share) if n_known >= FEWEST_FRAMES else None
    return predicted if own is None else centre(predicted, own, head.rest)


def _level_of(
    job: ExportJob, store: Store, info: ClipInfo, encoder: LoadedEncoder | None, share: float
) -> RestingLevel | None:
    """Return the resting level of a clip's subject over all clips of the store; it is kept for the next clip."""
    key = (job.run, info.subject)
    if key not in _last_level:
        clips = [clip for clip in store.clips if clip.subject == info.subject]
        masks = [store.face_mask(clip) for clip in clips]
        if job.neutral:
            masks = [mask & _is_neutral(job, store, clip) for mask, clip in zip(masks, clips, strict=True)]
        faces = [np.flatnonzero(mask) for mask in masks]
        owner = np.repeat(np.arange(len(clips)), [len(rows) for rows in faces])
        spread = np.linspace(0, len(owner) - 1, min(len(owner), REST_FRAMES)).round().astype(int)
        chosen, owner = np.concatenate(faces)[spread], owner[spread]
        parts = []
        for i in np.unique(owner).tolist():
            rows = chosen[owner == i]
            embeddings = embed_rows(job, store, clips[i], encoder, rows)
            parts.append(predict_rows(job.source, store, clips[i], rows, embeddings))
        known = len(chosen) >= (1 if job.neutral else FEWEST_FRAMES)
        _last_level.clear()
        _last_level[key] = resting_level(Prediction.joined(parts), 1.0 if job.neutral else share) if known else None
    return _last_level[key]


def _is_neutral(job: ExportJob, store: Store, clip: ClipInfo) -> np.ndarray:
    """Return the (T,) bool mask of the frames of a clip that are said to be neutral."""
    return np.any([np.zeros(clip.n_frames, bool), *(frames.rows(store, clip) for frames in job.neutral)], axis=0)
