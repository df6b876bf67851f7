"""A head that averages what several kinds of evidence say of a face: rules, landmarks, blendshapes, a network.

Each kind is a ridge regression on its own part of ``face`` or ``shape`` inputs, fixed rules, or the network's own head.
Their standardised outputs are averaged per AU. Everything is linear in the inputs, so that the average is one linear
readout. Averages of few, different kinds hold on people and cameras that none of them has seen, where each alone fails
in its own way (docs/model-card.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve
from sklearn.linear_model import LinearRegression, LogisticRegression

from tclr.pipeline.au.head import AuHead
from tclr.pipeline.au.inputs.shape import BLENDSHAPES, LANDMARKS, LOG_BLENDSHAPES, SHAPE_DIM
from tclr.pipeline.au.labelled import LabelledFrames
from tclr.pipeline.au.mapping import MAPPED_AUS, rule_weights
from tclr.pipeline.au.readout import Readout
from tclr.pipeline.store import assign_folds
from tclr.schemas.action_units import PRESENT, UNKNOWN
from tclr.schemas.config import FitAuConfig

EMBEDDING = slice(SHAPE_DIM, None)
RIDGES = ((LANDMARKS, 0.03, 1.0), (LOG_BLENDSHAPES, 0.1, 1.0), (EMBEDDING, 1e-3, 3.0))
"""Parts of the inputs, their penalties per frame, and their weights in the average; rules weigh 1. Tenfold changes of
the penalties moved the mean ROC-AUC by less than 0.01."""
BLOCK = 2048
"""Frames that are multiplied at once."""
OWN_SHARE = 1.0
"""Weight of what a fine-tuned network's own head says (docs/model-card.md compares others)."""
N_CALIBRATION_FOLDS = 2
"""Subject-exclusive folds whose predictions fix the scale of probabilities and intensities."""


@dataclass(frozen=True)
class _Blend:
    """The average as linear outputs: ``weight`` (A, D) and ``bias`` (A,) float64."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return (n, A) float64 averages."""
        blocks = range(0, len(x), BLOCK)
        return np.concatenate([x[start : start + BLOCK] @ self.weight.T + self.bias for start in blocks])


def _equally_known(targets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the columns that are known on the same frames, (a,), with the mask of those frames, (N,)."""
    masks, owner = np.unique(np.isfinite(targets), axis=1, return_inverse=True)
    for number, mask in enumerate(masks.T):
        yield np.flatnonzero(owner.ravel() == number), mask


def _ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """Return the (D, a) weights that minimise ``|x w - y|^2 / n + penalty |w|^2`` around the means."""
    mean, gram, cross = x.mean(axis=0), np.zeros((x.shape[1],) * 2), np.zeros((x.shape[1], y.shape[1]))
    centred_y = y - y.mean(axis=0)
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK] - mean
        gram += block.T @ block
        cross += block.T @ centred_y[start : start + BLOCK]
    gram[np.diag_indices(len(gram))] += penalty * len(x)
    return np.asarray(solve(gram, cross, assume_a="pos", overwrite_a=True))


def _rules(frames: LabelledFrames) -> np.ndarray:
    """Return the (52, A) weights of the blendshape rules, zero for AUs without a rule."""
    weights = rule_weights()
    nothing = np.zeros(len(weights))
    columns = [weights[:, MAPPED_AUS.index(name)] if name in MAPPED_AUS else nothing for name in frames.names]
    return np.stack(columns, axis=1)


def _own_weights(frames: LabelledFrames, network: AuHead) -> np.ndarray:
    """Return the (D, A) weights by which a network's own head tells an intensity, or else occurrence; 0 for neither."""
    own, known = network.readout, network.au_names
    told = np.where(own.has_intensity[:, None], own.intensity_weight, own.weight)
    nothing = np.zeros(told.shape[1])
    rows = [told[known.index(name)] if name in known else nothing for name in frames.names]
    return np.nan_to_num(np.stack(rows, axis=1)).astype(np.float64)


def _fit_average(frames: LabelledFrames, network: AuHead | None) -> _Blend:
    """Fit every kind of evidence and average their outputs, each standardised over the frames."""
    x, targets = frames.inputs, frames.targets
    n_aus, dim = len(frames.names), x.shape[1]
    weight, bias, total = np.zeros((n_aus, dim)), np.zeros(n_aus), np.zeros(n_aus)
    kinds: list[tuple[slice, np.ndarray, float]] = [(BLENDSHAPES, _rules(frames), 1.0)]
    groups = [(columns, mask) for columns, mask in _equally_known(targets) if mask.any()]
    for part, penalty, share in RIDGES:
        if x[:, part].shape[1]:
            fitted = np.zeros((x[:, part].shape[1], n_aus))
            for columns, mask in groups:
                fitted[:, columns] = _ridge(x[mask, part], targets[np.ix_(mask, columns)], penalty)
            kinds.append((part, fitted, share))
    if network is not None:
        kinds.append((EMBEDDING, _own_weights(frames, network), OWN_SHARE))
    for part, fitted, share in kinds:
        said = np.concatenate([x[i : i + BLOCK, part] @ fitted for i in range(0, len(x), BLOCK)])
        spread = said.std(axis=0)
        used = spread > 0
        weight[used, part] += (share * fitted[:, used] / spread[used]).T
        bias[used] -= share * said.mean(axis=0)[used] / spread[used]
        total += share * used
    total = np.maximum(total, 1)
    return _Blend(weight / total[:, None], bias / total)


def _predict_unseen(frames: LabelledFrames, seed: int, network: AuHead | None) -> np.ndarray:
    """Return (N, A) averages of frames, each fitted on other subjects."""
    folds = assign_folds(frames.subjects, N_CALIBRATION_FOLDS, seed)
    unseen = np.empty(frames.labels.shape)
    for fold in np.unique(folds):
        inside = folds == fold
        others = frames if inside.all() else frames.take(~inside)
        unseen[inside] = _fit_average(others, network)(frames.inputs[inside])
    return unseen


def fit_blend(
    frames: LabelledFrames, config: FitAuConfig, seen: np.ndarray | None = None, network: AuHead | None = None
) -> Readout:
    """Fit the average; probabilities and intensities are scaled on people whom it has not seen.

    If the encoder has learnt from some of the people, its embeddings tell more of these than of others. So the average
    is fitted on them, and scaled on the others.

    Parameters
    ----------
    frames : LabelledFrames
        Frames whose inputs are ``shape`` or ``face``. Ridge regressions learn intensities where these are known.
    config : FitAuConfig
        Its seed draws the folds.
    seen : ndarray, optional
        (N,) bool, frames of people whom the encoder has learnt from.
    network : AuHead, optional
        The encoder's own fine-tuned head: what it says of the embedding is one more kind of evidence.

    Returns
    -------
    Readout
        NaN for an AU that is never present or never absent, and for the intensity of one whose intensity is unknown;
        also where the people of the scale show an AU against the evidence, or there is none.
    """
    if seen is None or not seen.any():
        blend, unseen = _fit_average(frames, network), _predict_unseen(frames, config.seed, network)
    else:
        blend, frames = _fit_average(frames.take(seen), network), frames.take(~seen)
        unseen = blend(frames.inputs)
    slopes, offsets = (np.full((2, len(frames.names)), np.nan) for _ in range(2))
    for column in range(len(frames.names)):
        z = unseen[:, column : column + 1]
        if frames.occurrence_known[column]:
            known = frames.labels[:, column] != UNKNOWN
            present = frames.labels[known, column] == PRESENT
            model = LogisticRegression().fit(z[known], present)
            slopes[0, column], offsets[0, column] = model.coef_[0, 0], model.intercept_[0]
            if slopes[0, column] <= 0:  # few people can say so, but more of the evidence never means less of the AU
                slopes[0, column] = offsets[0, column] = np.nan
        if frames.intensity_known[column]:
            known = np.isfinite(frames.intensities[:, column])
            line = LinearRegression().fit(z[known], frames.intensities[known, column])
            slopes[1, column], offsets[1, column] = line.coef_[0], line.intercept_
            if slopes[1, column] <= 0:
                slopes[1, column] = offsets[1, column] = np.nan
    arrays = []
    for slope, offset in zip(slopes, offsets, strict=True):
        arrays += [slope[:, None] * blend.weight, slope * blend.bias + offset]
    return Readout(*(array.astype(np.float32) for array in arrays))
