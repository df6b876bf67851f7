"""Detector backends behind one small protocol.

A backend takes RGB frames in order and returns the faces of each; ``open_detector`` makes one from settings.
"""

from __future__ import annotations

from contextlib import closing
from typing import Protocol

import numpy as np

from tclr.pipeline.faces.face import Face
from tclr.schemas.config import DetectConfig

__all__ = ["Detector", "Face", "detect_image", "open_detector"]


class Detector(Protocol):
    """Finds faces in the frames of one clip; holds the state of tracking, so each clip opens its own."""

    name: str
    n_landmarks: int
    blendshape_names: tuple[str, ...]

    def detect(self, image: np.ndarray, timestamp_s: float) -> list[Face]:
        """Return the faces of the next frame, (H, W, 3) uint8 RGB; timestamps must not fall."""
        ...

    def score_crop(self, crop: np.ndarray) -> float:
        """Return how sure an independent face detector is, 0..1, that a crop (S, S, 3) uint8 shows a face."""
        ...

    def close(self) -> None:
        """Free the models."""
        ...


def open_detector(config: DetectConfig, *, video: bool = True) -> Detector:
    """Open the detector that the settings name.

    Parameters
    ----------
    config : DetectConfig
        Detection settings.
    video : bool
        Track from frame to frame; ``False`` treats each image on its own.

    Raises
    ------
    ModelError
        If a model file is missing or damaged.
    """
    from tclr.pipeline.faces.mediapipe import MediapipeDetector

    return MediapipeDetector(config, video=video)


def detect_image(image: np.ndarray, config: DetectConfig | None = None) -> list[Face]:
    """Return the faces of one still image, (H, W, 3) uint8 RGB."""
    with closing(open_detector(config or DetectConfig(), video=False)) as detector:
        return detector.detect(image, 0.0)
