"""What can be seen of a face: visible regions and light, from the crops of a clip, and AUs that nobody can see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tclr.pipeline.au import SIGHT, Judge, Prediction, load_judge, shrink
from tclr.pipeline.faces import measure_light
from tclr.schemas.action_units import AUS_OF_REGION, REGIONS, au_column
from tclr.schemas.features import HIDDEN_BELOW


@lru_cache(maxsize=1)
def _judge() -> Judge:
    """Return the bundled judge; each process loads it once."""
    return load_judge(SIGHT)


@dataclass(frozen=True)
class Sight:
    """What can be seen in T frames: ``visible`` (T, 5) float32 shares of ``REGIONS``, ``light`` (T, 2) float32.

    Frames that were not looked at are NaN; ``light`` is brightness and contrast.

    >>> sight = Sight.of_nothing(3)
    >>> sight.look(np.array([0, 2]), np.zeros((2, 64, 64, 3), np.uint8))
    >>> sight.visible.shape, sight.light.tolist()
    ((3, 5), [[0.0, 0.0], [nan, nan], [0.0, 0.0]])
    """

    visible: np.ndarray
    light: np.ndarray

    @classmethod
    def of_nothing(cls, n_frames: int) -> Sight:
        """Return the sight of frames before any is looked at."""
        return cls(*(np.full((n_frames, columns), np.nan, np.float32) for columns in (len(REGIONS), 2)))

    def look(self, rows: np.ndarray, crops: np.ndarray) -> None:
        """Fill in some rows from their crops (n, S, S, 3) uint8 RGB, n >= 1."""
        small = [shrink(crop) for crop in crops]
        self.visible[rows] = _judge().see(small)
        self.light[rows] = [measure_light(crop) for crop in small]


def hide(predicted: Prediction, visible: np.ndarray, au_names: tuple[str, ...]) -> Prediction:
    """Return predictions of (T, A) with NaN where a region that an AU needs is hidden; ``visible`` is (T, 5).

    >>> predicted = Prediction(np.ones((1, 2), np.float32), np.ones((1, 2), np.float32))
    >>> hide(predicted, np.array([[1, 1, 1, 0.2, 1]]), ("AU01", "AU12")).probability.tolist()
    [[1.0, nan]]
    """
    needs = [[name in map(au_column, AUS_OF_REGION[region]) for name in au_names] for region in REGIONS]
    hidden = (visible < HIDDEN_BELOW) @ np.array(needs)  # (T, A) bool

    def blank(values: np.ndarray) -> np.ndarray:
        return np.where(np.tile(hidden, values.shape[1] // max(1, len(au_names))), np.float32(np.nan), values)

    return predicted.map(blank)
