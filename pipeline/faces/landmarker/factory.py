"""Factories of the detectors that read mediapipe's bundle; their libraries are loaded only where one is opened."""

from __future__ import annotations

from collections.abc import Callable

from tclr.pipeline.faces.detector import Detector
from tclr.pipeline.faces.models import find_model
from tclr.pipeline.faces.small_faces import SmallFaceDetector
from tclr.schemas.config import DetectConfig


class BundleFactory:
    """Opens detectors of the bundle that find small faces, too; see ``DetectorFactory``.

    ``open_detector`` is called with the settings, ``video`` and ``n_faces``.
    """

    def __init__(self, open_detector: Callable[[DetectConfig, bool, int], Detector]) -> None:
        self._open = open_detector

    def __call__(self, config: DetectConfig, *, video: bool, n_faces: int) -> Detector:
        """Open a detector."""
        return SmallFaceDetector(self._open(config, video, n_faces), video=video)

    @staticmethod
    def prepare(config: DetectConfig) -> None:
        """Find or fetch the bundle."""
        find_model()


def _open(config: DetectConfig, video: bool, n_faces: int) -> Detector:
    from tclr.pipeline.faces.landmarker.landmarker import FaceLandmarker

    return FaceLandmarker(config, video=video, n_faces=n_faces)


landmarker_factory = BundleFactory(_open)
