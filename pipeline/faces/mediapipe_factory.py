"""The factory of the mediapipe backend, light until it opens one: importing mediapipe takes half a second."""

from __future__ import annotations

from tclr.pipeline.faces.landmarker import BundleFactory
from tclr.pipeline.faces.small_faces import TileDetector
from tclr.schemas.config import DetectConfig


def _open(config: DetectConfig, video: bool, n_faces: int) -> TileDetector:
    from tclr.pipeline.faces.mediapipe import MediapipeDetector

    return MediapipeDetector(config, video=video, n_faces=n_faces)


mediapipe_factory = BundleFactory(_open)
