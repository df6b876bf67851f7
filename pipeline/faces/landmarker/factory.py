"""Factories of the detectors that read mediapipe's bundle; their libraries are loaded only where one is opened."""

from __future__ import annotations

from collections.abc import Callable

from tclr.pipeline.faces.models import find_model
from tclr.pipeline.faces.small_faces import SmallFaceDetector, TileDetector
from tclr.schemas.config import DetectConfig
from tclr.schemas.errors import SettingError


class BundleFactory:
    """Opens detectors of the bundle that find small faces, too; see ``DetectorFactory``.

    ``open_detector`` is called with the settings, ``video`` and ``n_faces``.
    """

    def __init__(self, open_detector: Callable[[DetectConfig, bool, int], TileDetector]) -> None:
        self._open = open_detector

    def __call__(self, config: DetectConfig, *, video: bool, n_faces: int) -> SmallFaceDetector:
        """Open a detector."""
        return SmallFaceDetector(self._open(config, video, n_faces), video=video)

    @staticmethod
    def prepare(config: DetectConfig) -> None:
        """Find or fetch the bundle."""
        find_model()


class LandmarkerFactory(BundleFactory):
    """Opens the networks of the bundle, run directly, on the CPU or on a GPU."""

    def __init__(self) -> None:
        super().__init__(_open)

    @staticmethod
    def prepare(config: DetectConfig) -> None:
        """Find or fetch the bundle; check that there is a GPU if one is wanted."""
        _require_device(config.device)
        BundleFactory.prepare(config)


def _require_device(device: str) -> None:
    """Raise a ``SettingError`` if PyTorch does not find the device; the CPU is always there."""
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise SettingError(f"Expected a GPU for --device {device}, but PyTorch finds none. Use --device cpu.")


def _open(config: DetectConfig, video: bool, n_faces: int) -> TileDetector:
    _require_device(config.device)
    from tclr.pipeline.faces.landmarker.landmarker import FaceLandmarker

    return FaceLandmarker(config, video=video, n_faces=n_faces)


landmarker_factory = LandmarkerFactory()
