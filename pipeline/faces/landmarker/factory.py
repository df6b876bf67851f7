"""Opens the landmarker; its runtime is loaded only where one is opened."""

from __future__ import annotations

from tclr.pipeline.faces.detector import Detector
from tclr.pipeline.faces.models import find_model
from tclr.pipeline.faces.small_faces import SmallFaceDetector
from tclr.schemas.config import DetectConfig


class _Factory:
    """See ``DetectorFactory``."""

    def __call__(self, config: DetectConfig, *, video: bool, n_faces: int) -> Detector:
        from tclr.pipeline.faces.landmarker.landmarker import FaceLandmarker

        return SmallFaceDetector(FaceLandmarker(config, video=video, n_faces=n_faces), video=video)

    @staticmethod
    def prepare(config: DetectConfig) -> None:
        """Find or fetch the bundle."""
        find_model()


landmarker_factory = _Factory()
