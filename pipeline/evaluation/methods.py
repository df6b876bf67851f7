"""The methods of an evaluation: how each predicts a fold's test frames, learning only from its training frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tclr.pipeline.au import (
    BOX,
    FACE,
    MAPPED_AUS,
    SHAPE,
    THRESHOLD,
    WITHOUT_ENCODER,
    AuHead,
    Describe,
    LabelledFrames,
    Outcomes,
    Prediction,
    blendshape_rows,
    describe_by,
    embed_rows,
    find_learnable,
    fit_head,
    landmark_rows,
    load_head,
    predict_from_blendshapes,
)
from tclr.pipeline.encoder import LoadedEncoder, load_encoder
from tclr.schemas.config import FitAuConfig

METHODS = (
    "all-positive",
    "blendshape-mapping",
    "bundled",
    "landmarks",
    "blendshapes",
    "random",
    "imagenet",
    "encoder",
)
"""In the order of tables: what learns nothing here, features that need no encoder, encoders."""


@dataclass(frozen=True)
class FoldPrediction:
    """Outcomes of a fold's test frames, the thresholds by AU, and notes on AUs that could not be fitted."""

    outcomes: Outcomes
    thresholds: dict[str, float]
    notes: tuple[str, ...] = ()


def _without_intensity(probability: np.ndarray) -> Prediction:
    return Prediction(probability, np.full_like(probability, np.nan))


def predict_all_positive(test: LabelledFrames) -> FoldPrediction:
    """Call every AU present in every frame: what a score must beat."""
    predicted = _without_intensity(np.ones(test.labels.shape, np.float32))
    return FoldPrediction(Outcomes.of(test, predicted, test.names, np.ones(len(test.names))), {})


def predict_mapping(test: LabelledFrames) -> FoldPrediction:
    """Map blendshapes to AUs by rule, without any learning; AUs without a rule are not predicted."""
    predicted = _without_intensity(predict_from_blendshapes(test.inputs))
    outcomes = Outcomes.of(test, predicted, MAPPED_AUS, np.full(len(MAPPED_AUS), THRESHOLD))
    return FoldPrediction(outcomes, {name: THRESHOLD for name in test.names if name in MAPPED_AUS})


def predict_bundled(test: LabelledFrames, head: AuHead) -> FoldPrediction:
    """Predict with a head that was fitted on other data, at its own thresholds; only AUs with labels count."""
    outcomes = Outcomes.of(test, head.predict_frames(test), head.au_names, head.threshold)
    thresholds = {
        name: float(threshold)
        for name, threshold in zip(head.au_names, head.threshold, strict=True)
        if name in test.names
    }
    return FoldPrediction(outcomes, thresholds)


def predict_fitted(
    train: LabelledFrames,
    test: LabelledFrames,
    config: FitAuConfig,
    encoder: LoadedEncoder | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FoldPrediction:
    """Fit a head on training frames and predict test frames.

    An AU that is never present, or never absent, in the training labels cannot be learnt: every test frame then gets
    the only label of the training frames. Without any training label the AU is not predicted.
    """
    names, unlearnable = find_learnable(train)
    predicted, threshold = Prediction(*(np.zeros((len(test), 0), np.float32) for _ in range(2))), np.zeros(0)
    if names:
        head = fit_head(train, config, encoder, progress=progress)
        names, unlearnable = list(head.au_names), head.left_out
        predicted, threshold = head.predict_frames(test), head.threshold
    outcomes = Outcomes.of(test, predicted, names, threshold)
    notes = []
    for name in unlearnable:
        labels = train.known(name)[1]
        if len(labels):
            what, column = round(labels.mean()), test.names.index(name)
            outcomes.probability[:, column] = outcomes.decision[:, column] = what
            notes.append(f"{name} could not be learnt and is called {'present' if what else 'absent'} throughout")
        else:
            notes.append(f"{name} has no training label and is not predicted")
    return FoldPrediction(outcomes, dict(zip(names, threshold.tolist(), strict=True)), tuple(notes))


@dataclass(frozen=True)
class Method:
    """A row of the tables.

    ``describe`` reads what it predicts from, None for what needs labels or crops alone. ``fit`` has the settings of its
    head, None for a method that learns nothing; ``encoder`` belongs to that head. ``head`` was fitted elsewhere.
    """

    label: str
    describe: Describe | None = None
    fit: FitAuConfig | None = None
    encoder: LoadedEncoder | None = None
    head: AuHead | None = None

    def predict(
        self,
        train: LabelledFrames,
        test: LabelledFrames,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> FoldPrediction:
        """Predict test frames; the method sees labels of training frames only."""
        if self.fit is not None:
            return predict_fitted(train, test, self.fit, self.encoder, progress)
        if self.head is not None:
            return predict_bundled(test, self.head)
        return predict_all_positive(test) if self.describe is None else predict_mapping(test)


def bundled_method(with_crops: bool) -> Method:
    """Return the bundled head: ``face``, or ``shape`` without crops that fit it. It does not learn from these data."""
    name, path = ("face", FACE) if with_crops else ("shape", SHAPE)
    encoder = load_encoder(BOX) if with_crops else None
    head = load_head(path)
    if encoder is not None and head.inputs not in WITHOUT_ENCODER:
        head.check_encoder(encoder)
    return Method(f"bundled {name}, not trained here", describe_by(head.inputs, encoder), None, encoder, head)


def make_methods(encoders: Mapping[str, LoadedEncoder], fit: FitAuConfig, given: str) -> dict[str, Method]:
    """Return the methods by name, in the order of ``METHODS``, with those of ``encoders`` only.

    Features that are no encoder's get a linear head, whatever ``fit`` says; ``given`` names the user's encoder.
    """
    linear = fit.model_copy(update={"head": "linear"})
    methods = {
        "all-positive": Method("all positive"),
        "blendshape-mapping": Method("blendshape mapping", blendshape_rows),
        "landmarks": Method("landmarks + linear", landmark_rows, linear),
        "blendshapes": Method("blendshapes + linear", blendshape_rows, linear),
    }
    titles = {"random": "random encoder", "imagenet": "ImageNet", "encoder": Path(given).name or "encoder"}
    for name, title in titles.items():
        if name in encoders:
            describe = None if fit.head == "finetune" else embed_rows(encoders[name])
            methods[name] = Method(f"{title} + {fit.head}", describe, fit, encoders[name])
    return methods
