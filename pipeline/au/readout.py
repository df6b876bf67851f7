"""The arithmetic of a head: from numbers that describe a face to probabilities and intensities of AUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tclr.schemas.action_units import MAX_INTENSITY

ROUNDING = 1e-6
"""Spread of a column, as a share of its mean, that rounding of float32 can cause."""


def column_scale(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of columns, (D,) float32; 1 where a column varies by no more than rounding.

    Otherwise a constant column would be blown up, and a test value slightly off it would decide everything.
    """
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    scale = np.where(std > ROUNDING * np.abs(mean), std, 1.0)
    return mean.astype(np.float32), scale.astype(np.float32)


@dataclass(frozen=True)
class Prediction:
    """Predictions of n frames; NaN unknown.

    ``probability`` (n, A) float32 0..1; ``intensity`` (n, A) float32 0..5; ``sides`` (n, 2, A), the intensity on the
    person's left and right, or None where sides are not known.
    """

    probability: np.ndarray
    intensity: np.ndarray
    sides: np.ndarray | None = None

    @classmethod
    def unknown(cls, n_frames: int, n_aus: int) -> Prediction:
        """Return NaN for all frames and AUs."""
        return cls(*(np.full((n_frames, n_aus), np.nan, np.float32) for _ in range(2)))

    @classmethod
    def joined(cls, parts: Sequence[Prediction]) -> Prediction:
        """Return the predictions of several lots of frames, at least one, as one."""
        sides = [part.sides for part in parts if part.sides is not None]
        return cls(
            np.concatenate([part.probability for part in parts]),
            np.concatenate([part.intensity for part in parts]),
            np.concatenate(sides) if sides else None,
        )

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> Prediction:
        """Return what a function that keeps columns makes of each array, given as (n, columns)."""
        sides = self.sides
        if sides is not None:
            sides = change(sides.reshape(len(sides), -1)).reshape(-1, *sides.shape[1:])
        return Prediction(change(self.probability), change(self.intensity), sides)


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
    """Linear outputs, after a hidden layer or directly from the inputs; H is the length of what they see.

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

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all weights by name, those of intensities only if there are any."""
        arrays = {"weight": self.weight, "bias": self.bias}
        if self.has_intensity.any():
            arrays |= {"intensity_weight": self.intensity_weight, "intensity_bias": self.intensity_bias}
        if self.hidden is not None:
            arrays |= {f"hidden_{name}": value for name, value in vars(self.hidden).items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Readout:
        """Return the readout with these weights, see ``arrays``.

        Raises
        ------
        ValueError
            If one is missing, or they do not fit together.
        """
        hidden = {name.removeprefix("hidden_"): array for name, array in arrays.items() if name.startswith("hidden_")}
        try:
            weight, bias = arrays["weight"], arrays["bias"]
            intensity_weight, intensity_bias = (
                arrays.get(f"intensity_{name}", np.full_like(arrays[name], np.nan)) for name in ("weight", "bias")
            )
            layer = Hidden(**hidden) if hidden else None
            readout = cls(weight, bias, intensity_weight, intensity_bias, layer)
        except (KeyError, TypeError) as error:
            raise ValueError(f"tensor {error} is missing or unknown") from error
        n_aus, seen = weight.shape
        expected = {name: (n_aus, seen) if name.endswith("weight") else (n_aus,) for name in arrays}
        if hidden:
            dim = len(hidden["mean"])
            shapes = {"mean": (dim,), "std": (dim,), "weight": (seen, dim), "bias": (seen,)}
            expected |= {f"hidden_{name}": shape for name, shape in shapes.items()}
        for name, shape in expected.items():
            if arrays[name].shape != shape:
                raise ValueError(f"tensor {name!r} of shape {arrays[name].shape} instead of {shape}")
        return readout

    def take(self, aus: np.ndarray) -> Readout:
        """Return the readout of some AUs, given by an (A,) bool mask."""
        return replace(
            self,
            weight=self.weight[aus],
            bias=self.bias[aus],
            intensity_weight=self.intensity_weight[aus],
            intensity_bias=self.intensity_bias[aus],
        )

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.weight.shape[1] if self.hidden is None else self.hidden.weight.shape[1]

    def without(self, occurrence: np.ndarray, intensity: np.ndarray) -> Readout:
        """Return the readout with NaN for the occurrence and intensity of some AUs, given by two (A,) bool masks."""
        return replace(
            self,
            weight=np.where(occurrence[:, None], np.float32(np.nan), self.weight),
            bias=np.where(occurrence, np.float32(np.nan), self.bias),
            intensity_weight=np.where(intensity[:, None], np.float32(np.nan), self.intensity_weight),
            intensity_bias=np.where(intensity, np.float32(np.nan), self.intensity_bias),
        )

    def predict(self, inputs: np.ndarray) -> Prediction:
        """Return the predictions for (n, D) inputs."""
        x = inputs.astype(np.float64)
        x = x if self.hidden is None else self.hidden(x)
        logit = x @ self.weight.T.astype(np.float64) + self.bias
        intensity = x @ self.intensity_weight.T.astype(np.float64) + self.intensity_bias
        probability = 0.5 * (1 + np.tanh(0.5 * logit))  # the logistic function, without overflow
        return Prediction(probability.astype(np.float32), intensity.clip(0, MAX_INTENSITY).astype(np.float32))
