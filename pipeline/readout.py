"""What a head computes: from numbers that describe a face to probabilities and intensities of AUs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tclr.schemas.action_units import MAX_INTENSITY


@dataclass(frozen=True)
class Prediction:
    """``probability`` (n, A) float32, 0..1; ``intensity`` (n, A) float32, 0..5; NaN where there is none."""

    probability: np.ndarray
    intensity: np.ndarray


@dataclass(frozen=True)
class Hidden:
    """A hidden layer on standardised input: ``max(weight @ ((x - mean) / std) + bias, 0)``.

    ``mean``, ``std`` (D,), ``weight`` (H, D), ``bias`` (H,), all float32.
    """

    mean: np.ndarray
    std: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return (n, H) float64 of (n, D)."""
        return np.maximum(((x - self.mean) / self.std) @ self.weight.T.astype(np.float64) + self.bias, 0)


@dataclass(frozen=True)
class Readout:
    """Linear outputs, after a hidden layer or straight from the embedding; H is the length of what they see.

    ``weight`` (A, H) and ``bias`` (A,) give the logit of each AU's occurrence, ``intensity_weight`` and
    ``intensity_bias`` its intensity; all float32, NaN for an AU that could not be learnt.
    """

    weight: np.ndarray
    bias: np.ndarray
    intensity_weight: np.ndarray
    intensity_bias: np.ndarray
    hidden: Hidden | None = None

    @property
    def has_intensity(self) -> np.ndarray:
        """(A,) bool: the AUs with an intensity."""
        return np.isfinite(self.intensity_bias)

    def predict(self, embeddings: np.ndarray) -> Prediction:
        """Return the predictions for (n, D) embeddings."""
        x = embeddings.astype(np.float64)
        x = x if self.hidden is None else self.hidden(x)
        logit = x @ self.weight.T.astype(np.float64) + self.bias
        intensity = x @ self.intensity_weight.T.astype(np.float64) + self.intensity_bias
        probability = 0.5 * (1 + np.tanh(0.5 * logit))  # the logistic function, without overflow
        return Prediction(probability.astype(np.float32), intensity.clip(0, MAX_INTENSITY).astype(np.float32))
