"""What a method predicts for the test frames of one fold; what it may learn from is the fold's training frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tclr.pipeline.au import MAPPED_AUS, THRESHOLD, LabelledFrames, find_learnable, fit_head, predict_from_blendshapes
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.evaluation.folds import FoldFrames
from tclr.schemas.action_units import PRESENT, UNKNOWN
from tclr.schemas.config import FitAuConfig


@dataclass(frozen=True)
class FoldPrediction:
    """Predictions of a fold's test frames, (n, A), as in ``Outcomes``; thresholds by AU; what went otherwise."""

    probability: np.ndarray
    decision: np.ndarray
    intensity: np.ndarray
    thresholds: dict[str, float]
    notes: tuple[str, ...] = ()


def _blank(n: int, n_aus: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probability, decision and intensity of n frames, none of them known."""
    return (
        np.full((n, n_aus), np.nan, np.float32),
        np.full((n, n_aus), UNKNOWN, np.int8),
        np.full((n, n_aus), np.nan, np.float32),
    )


def predict_all_positive(fold: FoldFrames) -> FoldPrediction:
    """Call every AU present in every frame: what a score must beat."""
    shape = fold.test.labels.shape
    blank = np.full(shape, np.nan, np.float32)
    return FoldPrediction(np.ones(shape, np.float32), np.full(shape, PRESENT, np.int8), blank, {})


def predict_mapping(fold: FoldFrames) -> FoldPrediction:
    """Map blendshapes to AUs by rule, without any learning; AUs without a rule are not predicted."""
    probability, decision, intensity = _blank(len(fold.test), len(fold.test.names))
    mapped = predict_from_blendshapes(fold.test.embeddings)
    for column, name in enumerate(fold.test.names):
        if name in MAPPED_AUS:
            probability[:, column] = mapped[:, MAPPED_AUS.index(name)]
            decision[:, column] = probability[:, column] >= THRESHOLD
    thresholds = {name: THRESHOLD for name in fold.test.names if name in MAPPED_AUS}
    return FoldPrediction(probability, decision, intensity, thresholds)


def predict_fitted(
    train: LabelledFrames,
    test: LabelledFrames,
    config: FitAuConfig,
    encoder: LoadedEncoder | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FoldPrediction:
    """Fit a head on training frames and predict test frames.

    An AU that is never present, or never absent, in the training labels cannot be learnt: the test frames are then
    called what the training frames are. Without any training label it is not predicted.
    """
    probability, decision, intensity = _blank(len(test), len(train.names))
    thresholds: dict[str, float] = {}
    learnable, unlearnable = find_learnable(train)
    left_out = list(unlearnable)
    if learnable:
        head = fit_head(train, config, encoder, progress=progress)
        left_out = list(head.left_out)
        columns = [train.names.index(name) for name in head.au_names]
        predicted = head.predict_frames(test)
        probability[:, columns], intensity[:, columns] = predicted.probability, predicted.intensity
        decision[:, columns] = predicted.probability >= head.threshold
        thresholds = {name: float(value) for name, value in zip(head.au_names, head.threshold, strict=True)}
    notes = []
    for name in left_out:
        labels = train.known(name)[1]
        if len(labels):
            what, column = round(labels.mean()), train.names.index(name)
            probability[:, column] = decision[:, column] = what
            notes.append(f"{name} could not be learnt and is called {'present' if what else 'absent'} throughout")
        else:
            notes.append(f"{name} has no training label and is not predicted")
    return FoldPrediction(probability, decision, intensity, thresholds, tuple(notes))
