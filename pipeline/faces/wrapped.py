"""A detector around another one: it passes on what it does not change."""

from __future__ import annotations

import numpy as np

from tclr.pipeline.faces.detector import Detector


class WrappedDetector:
    """What detectors that call another one share; they add ``detect`` and ``look``. See ``Detector``."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.name = detector.name
        self.n_landmarks = detector.n_landmarks
        self.blendshape_names = detector.blendshape_names
        self.batch_size = detector.batch_size

    @property
    def n_faces(self) -> int:
        """Most faces per frame."""
        return self._detector.n_faces

    @n_faces.setter
    def n_faces(self, number: int) -> None:
        self._detector.n_faces = number

    def score_crop(self, crop: np.ndarray) -> float:
        """Return the confidence that a crop shows a face; crops are upright."""
        return self._detector.score_crop(crop)

    def reset(self) -> None:
        """Forget the frames so far."""
        self._detector.reset()

    def close(self) -> None:
        """Free the models."""
        self._detector.close()
