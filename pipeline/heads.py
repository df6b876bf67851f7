"""AU heads: what is fitted on labelled frames, with its thresholds and the scores it may claim.

Subjects never stand on both sides: thresholds and scores come from subject-exclusive folds of the frames that are
given, and nothing else. The threshold of an AU maximises F1 on the out-of-fold predictions of all folds; the reported
F1 of a fold uses a threshold chosen on the other folds only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.labelled import LabelledFrames
from tclr.pipeline.linear_head import fit_linear
from tclr.pipeline.readout import Prediction, Readout
from tclr.pipeline.smoothing import smooth
from tclr.pipeline.thresholds import DEFAULT_THRESHOLD, assign_folds, choose_threshold, cross_threshold
from tclr.schemas.config import FitAuConfig
from tclr.schemas.errors import InputError, ModelError


@dataclass(frozen=True)
class AuScore:
    """What one AU's classifier reaches on subjects it has not seen; ``None`` where that cannot be measured.

    ``f1`` uses thresholds chosen on other folds; ``f1_all_positive`` is what calling every frame present gives.
    """

    name: str
    n_frames: int
    base_rate: float
    threshold: float
    f1: float | None
    f1_all_positive: float
    roc_auc: float | None


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
    where : str
        What messages call it.
    """

    kind: str
    au_names: tuple[str, ...]
    readout: Readout
    threshold: np.ndarray
    smooth_s: float = 0.0
    encoder_digest: str = ""
    encoder_info: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    scores: tuple[AuScore, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    encoder: LoadedEncoder | None = None
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
        embeddings = frames.embeddings
        return smooth_clips(self.readout.predict(embeddings), frames, self.smooth_s)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights and thresholds."""
        return hashlib.sha256(b"".join(array.tobytes() for _, array in sorted(self.arrays().items()))).hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return weights and thresholds by name, as the file has them."""
        arrays = {"weight": self.readout.weight, "bias": self.readout.bias, "threshold": self.threshold}
        if self.readout.has_intensity.any():
            arrays["intensity_weight"] = self.readout.intensity_weight
            arrays["intensity_bias"] = self.readout.intensity_bias
        return arrays

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


def cross_predict(frames: LabelledFrames, folds: np.ndarray, config: FitAuConfig) -> Prediction:
    """Return out-of-fold predictions, not smoothed; NaN where the other folds lack one of an AU's classes.

    Parameters
    ----------
    frames : LabelledFrames
        N frames.
    folds : ndarray
        (N,) fold of each frame.
    config : FitAuConfig
        Settings.
    """
    out = Prediction(*(np.full(frames.labels.shape, np.nan, np.float32) for _ in range(2)))
    for fold in np.unique(folds):
        inside = folds == fold
        if not inside.all():
            predicted = fit_linear(frames.take(~inside), config).predict(frames.embeddings[inside])
            out.probability[inside], out.intensity[inside] = predicted.probability, predicted.intensity
    return out


def _score(name: str, y: np.ndarray, probability: np.ndarray, folds: np.ndarray) -> AuScore:
    base_rate = float(y.mean())
    known = np.isfinite(probability)
    measured = known.any() and len(np.unique(folds[known])) > 1 and len(np.unique(y[known])) == 2
    f1 = roc_auc = None
    threshold = DEFAULT_THRESHOLD
    if measured:
        threshold = choose_threshold(probability[known], y[known])
        decision = cross_threshold(probability[known], y[known], folds[known])
        f1 = float(f1_score(y[known], decision, zero_division=0))
        roc_auc = float(roc_auc_score(y[known], probability[known]))
    return AuScore(name, len(y), base_rate, threshold, f1, 2 * base_rate / (1 + base_rate), roc_auc)


def find_learnable(frames: LabelledFrames) -> tuple[list[str], dict[str, str]]:
    """Return the AUs that are both present and absent; and the others, with the reason."""
    left_out = {}
    for name in frames.names:
        y = frames.known(name)[1]
        if len(np.unique(y)) < 2:
            left_out[name] = "never present" if not y.any() else "never absent"
    return [name for name in frames.names if name not in left_out], left_out


def cross_score(frames: LabelledFrames, config: FitAuConfig) -> list[AuScore]:
    """Score a probe of each AU that can be learnt on subjects it has not seen."""
    frames = frames.select(find_learnable(frames)[0])
    folds = assign_folds(frames.subjects, config.folds, config.seed)
    prediction = smooth_clips(cross_predict(frames, folds, config), frames, config.smooth_s)
    scores = []
    for column, name in enumerate(frames.names):
        known = frames.mask(name)
        scores.append(_score(name, frames.labels[known, column], prediction.probability[known, column], folds[known]))
    return scores


def fit_head(
    frames: LabelledFrames,
    config: FitAuConfig,
    encoder: LoadedEncoder | None = None,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AuHead:
    """Fit a head; everything in it, thresholds included, comes from the given frames only.

    Parameters
    ----------
    frames : LabelledFrames
        Frames of the subjects to learn from.
    config : FitAuConfig
        Settings.
    encoder : LoadedEncoder, optional
        The encoder whose embeddings the frames carry; without it the head belongs to none (landmarks, blendshapes).
    progress : callable
        Called with steps done and steps in all.

    Raises
    ------
    InputError
        If no AU is both present and absent in the labels.
    """
    names, left_out = find_learnable(frames)
    if not names:
        raise InputError(f"No AU of {frames.store} is both present and absent in its labels: nothing can be learnt.")
    frames = frames.select(names)
    scores = cross_score(frames, config)
    return AuHead(
        kind=config.head,
        au_names=tuple(names),
        readout=fit_linear(frames, config),
        threshold=np.array([score.threshold for score in scores], np.float32),
        smooth_s=config.smooth_s,
        encoder_digest=encoder.digest if encoder else "",
        encoder_info=asdict(encoder.info) if encoder else {},
        settings=config.model_dump(mode="json"),
        scores=tuple(scores),
        left_out=left_out,
    )
