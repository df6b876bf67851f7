"""What can be seen of a face: visible regions and light, from the crops of a clip, and what nobody can see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tclr.pipeline.au import SIGHT, Judge, Prediction, load_judge, shrink
from tclr.pipeline.faces import measure_light
from tclr.pipeline.geometry import is_turned, turn_share
from tclr.schemas.action_units import AUS_OF_REGION, REGIONS, au_column
from tclr.schemas.features import HIDDEN_BELOW, LEAST_CONTRAST
from tclr.schemas.store import Status

POOR_SCORE, GOOD_SCORE = 0.5, 0.85
"""Scores of the face detector at which confidence is 0 and 1; chosen by us: ordinary video has 0.87 to 0.95."""
STATUS_CONFIDENCE = {Status.interpolated: 0.5, Status.low_confidence: 0.25}
"""Largest confidence of frames that are not ok; chosen by us."""
TURNED_CONFIDENCE = 0.5
"""Largest confidence of a head so far turned that AUs are unreliable."""


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


def find_hidden_eyes(sight: Sight) -> np.ndarray:
    """Return the frames (T,) bool in which the eyes are hidden; what was not looked at is not."""
    return sight.visible[:, REGIONS.index("eyes")] < HIDDEN_BELOW


def rate_confidence(status: np.ndarray, score: np.ndarray, pose: np.ndarray, sight: Sight) -> np.ndarray:
    """Return how far T frames can be trusted, (T,) float32 0..1: the worst of five, of which unknown ones do not count.

    These are the score, from ``POOR_SCORE`` to ``GOOD_SCORE``; the status; the turn of the head, from half of the
    angles at which it is ``turned`` on; the visible share of the region of which least can be seen; and contrast.

    >>> ok, turned = np.zeros(2, np.uint8), np.array([[0, 0.1, 0], [0, 0.9, 0]])
    >>> rate_confidence(ok, np.array([0.9, 0.9]), turned, Sight.of_nothing(2)).round(2).tolist()
    [1.0, 0.47]
    """
    of_turn = np.where(is_turned(pose, score), TURNED_CONFIDENCE, 1.0)
    parts = [
        (score - POOR_SCORE) / (GOOD_SCORE - POOR_SCORE),
        np.array([STATUS_CONFIDENCE.get(code, 1.0) for code in Status])[status],
        np.fmin(of_turn, 1.5 - turn_share(pose)),
        np.fmin.reduce(sight.visible, axis=1),
        sight.light[:, 1] / LEAST_CONTRAST,
    ]
    return np.clip(np.fmin.reduce(parts), 0, 1).astype(np.float32)
