"""Detector backends: RGB images in, the faces of each out.

``open_detector`` opens the backend that the settings name. Backends register in the entry-point group
``tclr.detectors``; ``mediapipe`` and ``face-alignment`` are ours (``setup.cfg``), others may stand beside them.
Imports ``system`` and ``schemas``. It is light until a backend is opened: mediapipe is imported with the first one of
its kind, torch only with face-alignment.
"""

from tclr.pipeline.faces.detector import (
    Detector,
    detect_image,
    ensure_models,
    face_triangles,
    open_detector,
)
from tclr.pipeline.faces.face import Face, pose_from_rotation
from tclr.pipeline.faces.models import FACE_LANDMARKER, find_installed

__all__ = [
    "Detector",
    "FACE_LANDMARKER",
    "Face",
    "ensure_models",
    "detect_image",
    "face_triangles",
    "find_installed",
    "open_detector",
    "pose_from_rotation",
]
