"""How good AU models are on people that nothing has learnt from, at several qualities of video."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tclr.pipeline.au import (
    MAPPED_AUS,
    THRESHOLD,
    AuHead,
    Describe,
    Estimate,
    LabelledFrames,
    Outcomes,
    Prediction,
    centre,
    collect_frames,
    describe_by,
    no_rows,
    predict_from_blendshapes,
    resting_level,
    score,
)
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.store import ClipInfo, Store

TURNED_RAD = 0.25
"""Yaw from which a head counts as turned: 14 degrees."""
METRICS = ("f1", "roc_auc", "icc_3_1")
BATCH_SIZE = 128


@dataclass(frozen=True)
class Judged:
    """The scores of one model on one kind of frames.

    ``mean`` and ``interval`` (95%, over resampled people) are over AUs, by metric of ``METRICS``; ``aus`` has them by
    AU, and ``au_intervals`` their intervals. None where a metric cannot be measured.
    """

    model: str
    digest: str
    quality: str
    n_frames: int
    n_people: int
    mean: dict[str, float | None]
    interval: dict[str, tuple[float, float] | None]
    aus: dict[str, dict[str, float | None]]
    au_intervals: dict[str, dict[str, tuple[float, float] | None]] = field(default_factory=dict)


def _interval(estimate: Estimate) -> tuple[float, float] | None:
    ends = estimate.low, estimate.high
    return ends if np.isfinite(ends).all() else None


def read_people(store: Path, people: Collection[str], describe: Describe) -> LabelledFrames:
    """Return the labelled frames of some people of a store, described.

    Examples
    --------
    >>> from tclr.pipeline.au import no_rows
    >>> len(read_people(Path("store"), ["F001"], no_rows))
    16
    """
    with Store(store, sorted(people)) as opened:
        return collect_frames(opened, describe, BATCH_SIZE)


def _yaw_rows(store: Store, info: ClipInfo, start: int, stop: int) -> np.ndarray:
    return store.read(info, "pose", start, stop)[:, 1:2]


def is_turned(store: Path, people: Collection[str]) -> np.ndarray:
    """Return (N,) bool: the frames of ``read_people`` in which the head is turned aside.

    Examples
    --------
    >>> is_turned(Path("store"), ["F001"]).shape
    (16,)
    """
    return np.abs(read_people(store, people, _yaw_rows).inputs[:, 0]) >= TURNED_RAD


def describe_for(head: AuHead, encoder: LoadedEncoder | None) -> Describe:
    """Return the reader of a head's inputs; a fine-tuned head reads crops instead."""
    return no_rows if head.encoder is not None else describe_by(head.inputs, encoder)


@dataclass(frozen=True)
class Forecast:
    """Predictions of some AUs for labelled frames, and the (A,) probabilities from which they count as present."""

    model: str
    digest: str
    au_names: tuple[str, ...]
    predicted: Prediction
    threshold: np.ndarray

    def judge(self, frames: LabelledFrames, quality: str, mask: np.ndarray | None = None) -> Judged:
        """Score all frames, or those of an (N,) mask."""
        outcomes = Outcomes.of(frames, self.predicted, self.au_names, self.threshold)
        outcomes = outcomes if mask is None else outcomes.take(mask)
        scores = {name: scored["pooled"] for name, scored in score(outcomes).items() if name in METRICS}
        return Judged(
            self.model,
            self.digest,
            quality,
            len(outcomes.label),
            len(np.unique(outcomes.subject)),
            {name: scored.mean.measured for name, scored in scores.items()},
            {name: _interval(scored.mean) for name, scored in scores.items()},
            {
                au: {name: scored.aus[column].measured for name, scored in scores.items()}
                for column, au in enumerate(frames.names)
            },
            {
                au: {name: _interval(scored.aus[column]) for name, scored in scores.items()}
                for column, au in enumerate(frames.names)
            },
        )


def forecast(model: str, head: AuHead, frames: LabelledFrames) -> Forecast:
    """Return a head's predictions for frames with its inputs, see ``describe_for``."""
    return Forecast(model, head.digest, head.au_names, head.predict_frames(frames), head.threshold)


def forecast_centred(plain: Forecast, head: AuHead, frames: LabelledFrames) -> Forecast:
    """Move each person's predictions to the resting level of the people in the head's training, see ``centre``."""
    if head.rest is None:
        return plain
    probability, intensity = plain.predicted.probability.copy(), plain.predicted.intensity.copy()
    for subject in np.unique(frames.subjects):
        own = frames.subjects == subject
        of_person = Prediction(probability[own], intensity[own])
        moved = centre(of_person, resting_level(of_person), head.rest)
        probability[own], intensity[own] = moved.probability, moved.intensity
    return replace(plain, model=f"{plain.model}, centred", predicted=Prediction(probability, intensity))


def forecast_by_mapping(frames: LabelledFrames) -> Forecast:
    """Return the predictions of the fixed rules; the frames' inputs must be blendshapes."""
    probability = predict_from_blendshapes(frames.inputs)
    predicted = Prediction(probability, np.full_like(probability, np.nan))
    return Forecast("blendshape mapping", "", MAPPED_AUS, predicted, np.full(len(MAPPED_AUS), THRESHOLD))
