"""AU heads: what is fitted on labelled frames, with its thresholds and the scores it may claim.

Subjects never stand on both sides: thresholds and scores come from subject-exclusive folds of the frames that are
given, and nothing else. The threshold of an AU maximises F1 on the out-of-fold predictions of all folds; the reported
F1 of a fold uses a threshold chosen on the other folds only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from tclr.pipeline.centring import RestingLevel, common_level
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.finetune_head import fine_tune
from tclr.pipeline.labelled import LabelledFrames, embed_crops
from tclr.pipeline.linear_head import fit_linear
from tclr.pipeline.metrics import icc_3_1, mae
from tclr.pipeline.mlp_head import fit_mlp
from tclr.pipeline.readout import Prediction, Readout
from tclr.pipeline.smoothing import smooth
from tclr.pipeline.thresholds import DEFAULT_THRESHOLD, assign_folds, choose_threshold, cross_threshold, hold_out
from tclr.schemas.action_units import PRESENT, UNKNOWN
from tclr.schemas.config import FitAuConfig
from tclr.schemas.errors import InputError, ModelError, SettingError, StoreError


@dataclass(frozen=True)
class AuScore:
    """What one AU's classifier reaches on subjects it has not seen; ``None`` where that cannot be measured.

    ``f1`` uses thresholds chosen on other folds; ``f1_all_positive`` is what calling every frame present gives.
    ``icc`` is ICC(3,1) and ``mae`` the mean absolute error of the intensity.
    """

    name: str
    n_frames: int
    base_rate: float
    threshold: float
    f1: float | None
    f1_all_positive: float
    roc_auc: float | None
    icc: float | None = None
    mae: float | None = None


@dataclass(frozen=True)
class AuHead:
    """A fitted head.

    Parameters
    ----------
    kind : str
        ``linear``, ``mlp`` or ``finetune``.
    au_names : tuple of str
        The A AUs, as ``AU01``.
    readout : Readout
        Its weights.
    threshold : ndarray
        (A,) float32: present is ``probability >= threshold``.
    smooth_s : float
        How the predictions of a clip are smoothed, seconds, see ``smooth``; thresholds were chosen on smoothed ones.
    rest : RestingLevel, optional
        The resting level of people it had not seen, see ``centre``.
    inputs : str
        What it reads: ``embedding``, ``blendshapes``, or ``both``, embedding first.
    encoder_digest : str
        Whose embeddings it reads; "" for other features.
    encoder_info, settings : dict
        What the encoder's file says of itself, and the settings of the fit.
    scores : tuple of AuScore
        One an AU.
    left_out : dict
        AUs that could not be learnt, with the reason.
    encoder : LoadedEncoder, optional
        Of a fine-tuned head: its own encoder.
    started_from : str
        Of a fine-tuned head: the digest of the encoder that its own was made from.
    where : str
        What messages call it.
    """

    kind: str
    au_names: tuple[str, ...]
    readout: Readout
    threshold: np.ndarray
    smooth_s: float = 0.0
    rest: RestingLevel | None = None
    inputs: str = "embedding"
    encoder_digest: str = ""
    encoder_info: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    scores: tuple[AuScore, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    encoder: LoadedEncoder | None = None
    started_from: str = ""
    where: str = "the head"

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (n, A) float32 probabilities of (n, D) embeddings, not smoothed."""
        return self.readout.predict(embeddings).probability

    def predict_intensity(self, embeddings: np.ndarray) -> np.ndarray:
        """Return (n, A) float32 intensities, 0..5, of (n, D) embeddings, not smoothed; NaN for AUs without."""
        return self.readout.predict(embeddings).intensity

    def predict_frames(self, frames: LabelledFrames) -> Prediction:
        """Return the predictions for labelled frames, smoothed in each clip if the head smooths.

        A fine-tuned head embeds their crops with its own encoder; others read their embeddings.
        """
        embeddings = frames.embeddings if self.encoder is None else embed_crops(self.encoder, frames)
        return smooth_clips(self.readout.predict(embeddings), frames, self.smooth_s)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights, thresholds and resting level."""
        return hashlib.sha256(b"".join(array.tobytes() for _, array in sorted(self.arrays().items()))).hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return weights, thresholds and the resting level by name, as the file has them."""
        rest = {} if self.rest is None else self.rest.arrays()
        return {**self.readout.arrays(), "threshold": self.threshold, **rest}

    def choose_inputs(self, embeddings: np.ndarray, blendshapes: np.ndarray | None) -> np.ndarray:
        """Return what the head reads, (n, D), of (n, E) embeddings and (n, 52) blendshapes.

        Raises
        ------
        StoreError
            If it reads blendshapes and there are none.
        """
        if self.inputs == "embedding":
            return embeddings
        if blendshapes is None:
            raise StoreError(
                f"Expected blendshapes for {self.where}, but a clip has none: only the mediapipe detector gives them. "
                "Give a head that reads embeddings, or preprocess with --detector mediapipe."
            )
        return blendshapes if self.inputs == "blendshapes" else np.concatenate([embeddings, blendshapes], axis=1)

    def check_encoder(self, encoder: LoadedEncoder) -> None:
        """Refuse an encoder that the head was not fitted on.

        Raises
        ------
        ModelError
            If the digests differ.
        """
        if self.encoder_digest != encoder.digest:
            raise ModelError(
                f"Expected the encoder that {self.where} was fitted on ({self.encoder_digest[:12]}), but got another "
                f"one ({encoder.digest[:12]}). Give that encoder, or run 'tclr fit-au' with this one."
            )


def smooth_clips(prediction: Prediction, frames: LabelledFrames, smooth_s: float) -> Prediction:
    """Smooth predictions over the time of each clip; see ``smooth``."""
    if smooth_s == 0:
        return prediction
    probability, intensity = prediction.probability.copy(), prediction.intensity.copy()
    for _, places in frames.by_clip():
        for values in (probability, intensity):
            values[places] = smooth(values[places], frames.timestamps[places], smooth_s)
    return Prediction(probability, intensity)


def _fit_frozen(frames: LabelledFrames, config: FitAuConfig) -> Readout:
    return fit_mlp(frames, config) if config.head == "mlp" else fit_linear(frames, config)


def cross_predict(
    frames: LabelledFrames,
    folds: np.ndarray,
    config: FitAuConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prediction:
    """Return out-of-fold predictions of a head on frozen embeddings, not smoothed.

    Parameters
    ----------
    frames : LabelledFrames
        N frames.
    folds : ndarray
        (N,) fold of each frame.
    config : FitAuConfig
        Settings.
    progress : callable
        Called with folds done and folds in all.

    Returns
    -------
    Prediction
        Of N frames; NaN where the other folds cannot teach an AU.
    """
    out = Prediction(*(np.full(frames.labels.shape, np.nan, np.float32) for _ in range(2)))
    numbers = np.unique(folds)
    for done, fold in enumerate(numbers):
        inside = folds == fold
        if not inside.all():
            predicted = _fit_frozen(frames.take(~inside), config).predict(frames.embeddings[inside])
            out.probability[inside], out.intensity[inside] = predicted.probability, predicted.intensity
        progress(done + 1, len(numbers))
    return out


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _score(
    name: str, label: np.ndarray, probability: np.ndarray, true: np.ndarray, intensity: np.ndarray, folds: np.ndarray
) -> AuScore:
    known = label != UNKNOWN
    base_rate = float((label[known] == PRESENT).mean()) if known.any() else 0.0
    predicted = known & np.isfinite(probability)
    y, p = label[predicted], probability[predicted]
    f1 = roc_auc = None
    threshold = DEFAULT_THRESHOLD
    if len(np.unique(y)) == 2:
        threshold = choose_threshold(p, y)
        roc_auc = float(roc_auc_score(y, p))
        if len(np.unique(folds[predicted])) > 1:
            f1 = float(f1_score(y, cross_threshold(p, y, folds[predicted]), zero_division=0))
    rated = np.isfinite(true) & np.isfinite(intensity)
    return AuScore(
        name,
        int(known.sum()),
        base_rate,
        threshold,
        f1,
        2 * base_rate / (1 + base_rate),
        roc_auc,
        _number(icc_3_1(true[rated], intensity[rated])) if rated.any() else None,
        _number(mae(true[rated], intensity[rated])) if rated.any() else None,
    )


def score_aus(frames: LabelledFrames, prediction: Prediction, folds: np.ndarray) -> tuple[AuScore, ...]:
    """Score out-of-fold predictions of each AU; NaN where there is none."""
    probability, intensity = prediction.probability.T, prediction.intensity.T
    columns = zip(frames.names, frames.labels.T, probability, frames.intensities.T, intensity, strict=True)
    return tuple(_score(*column, folds=folds) for column in columns)


def find_learnable(frames: LabelledFrames) -> tuple[list[str], dict[str, str]]:
    """Return the AUs that are both present and absent; and the others, with the reason."""
    left_out = {
        name: "never absent" if (column == PRESENT).any() else "never present"
        for name, column, both in zip(frames.names, frames.labels.T, frames.occurrence_known, strict=True)
        if not both
    }
    return [name for name in frames.names if name not in left_out], left_out


def cross_score(
    frames: LabelledFrames,
    config: FitAuConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[AuScore, ...]:
    """Score a head on frozen embeddings on subjects it has not seen, for each AU that can be learnt."""
    frames = frames.select(find_learnable(frames)[0])
    return score_aus(frames, *_predict_out_of_fold(frames, config, progress))


def _predict_out_of_fold(
    frames: LabelledFrames, config: FitAuConfig, progress: Callable[[int, int], None]
) -> tuple[Prediction, np.ndarray]:
    """Return smoothed predictions for subjects that the predicting head has not seen, and the fold of each frame."""
    folds = assign_folds(frames.subjects, config.folds, config.seed)
    predicted = cross_predict(frames, folds, config, progress)
    return smooth_clips(predicted, frames, config.smooth_s), folds


def fit_head(
    frames: LabelledFrames,
    config: FitAuConfig,
    encoder: LoadedEncoder | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AuHead:
    """Fit a head; everything in it, thresholds included, comes from the given frames only.

    A linear head or MLP is fitted on all subjects, and its thresholds are chosen on out-of-fold predictions.
    Fine-tuning is too slow to be done once a fold: one fold of the subjects is held out, and says when to stop and
    which thresholds to take.

    Parameters
    ----------
    frames : LabelledFrames
        Frames of the subjects to learn from.
    config : FitAuConfig
        Settings.
    encoder : LoadedEncoder, optional
        The encoder whose embeddings the frames carry; without it the head belongs to none (landmarks, blendshapes). A
        fine-tuned head starts from it and reads crops, so embeddings may then be anything.
    progress : callable
        Called with steps done and steps in all.

    Raises
    ------
    InputError
        If no AU is both present and absent in the labels.
    SettingError
        If a head is to be fine-tuned without an encoder.
    """
    own = None
    held = np.zeros(len(frames), bool)
    if config.head == "finetune":
        if encoder is None:
            raise SettingError("Expected an encoder to fine-tune, but got none. Give --encoder, or another head.")
        held = hold_out(frames.subjects, config.folds, config.seed)
    names, left_out = find_learnable(frames.take(~held))
    if not names:
        raise InputError(f"No AU of {frames.store} is both present and absent in its labels: nothing can be learnt.")
    frames = frames.select(names)
    if encoder is not None and config.head == "finetune":
        judged = frames.take(held)
        readout, own = fine_tune(frames.take(~held), judged if held.any() else None, encoder, config, progress)
        predicted = smooth_clips(readout.predict(embed_crops(own, judged)), judged, config.smooth_s)
        folds = assign_folds(judged.subjects, config.folds, config.seed)
    else:
        judged = frames
        predicted, folds = _predict_out_of_fold(frames, config, progress)
        readout = _fit_frozen(frames, config)
    scores = score_aus(judged, predicted, folds)
    belongs_to = own or encoder
    return AuHead(
        kind=config.head,
        au_names=tuple(names),
        readout=readout,
        threshold=np.array([score.threshold for score in scores], np.float32),
        smooth_s=config.smooth_s,
        rest=common_level(predicted, judged.subjects) if len(judged) else None,
        inputs=config.inputs,
        encoder_digest=belongs_to.digest if belongs_to else "",
        encoder_info=belongs_to.info.brief() if belongs_to else {},
        settings=config.model_dump(mode="json"),
        scores=scores,
        left_out=left_out,
        encoder=own,
        started_from=encoder.digest if own and encoder else "",
    )
