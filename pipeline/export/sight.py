"""What can be seen of a face: visible regions and light, from the crops of a clip, and AUs that nobody can see."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass
class Sight:
    """What can be seen in n crops: ``visible`` (n, 5) float32 shares of ``REGIONS``, ``light`` (n, 2) float32.

    >>> sight = Sight()
    >>> sight.look(np.zeros((3, 64, 64, 3), np.uint8))
    >>> sight.visible.shape, sight.light.tolist()
    ((3, 5), [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    """

    visible: np.ndarray = field(default_factory=lambda: np.zeros((0, len(REGIONS)), np.float32))
    light: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.float32))

    def look(self, crops: np.ndarray) -> None:
        """Add the next crops (n, S, S, 3) uint8 RGB."""
        small = [shrink(crop) for crop in crops]
        light = np.array([measure_light(crop) for crop in small], np.float32).reshape(-1, 2)
        self.visible = np.concatenate([self.visible, _judge().see(small)])
        self.light = np.concatenate([self.light, light])

    def spread(self, rows: np.ndarray, n_rows: int) -> Sight:
        """Return the same for ``n_rows`` frames, of which ``rows`` have the crops; NaN elsewhere."""
        visible, light = (np.full((n_rows, array.shape[1]), np.nan, np.float32) for array in (self.visible, self.light))
        if len(self.visible):
            visible[rows], light[rows] = self.visible, self.light
        return Sight(visible, light)


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
