"""Detector backends: RGB images in, the faces of each out.

``open_detector`` opens the backend that the settings name. Backends register in the entry-point group
``tclr.detectors``: tclr brings ``landmarker``, ``mediapipe`` and ``face-alignment`` (``setup.cfg``), and other packages
may add theirs. Imports ``system`` and ``schemas``. It is light until a backend is opened; only face-alignment, and
the landmarker on a GPU, import torch.
"""

from tclr.pipeline.faces.detector import (
    Detector,
    detect_image,
    ensure_models,
    face_triangles,
    open_detector,
)
from tclr.pipeline.faces.face import Face, compute_overlap, pose_from_rotation
from tclr.pipeline.faces.light import measure_light, readable_share
from tclr.pipeline.faces.mediapipe_network import read_landmark_network
from tclr.pipeline.faces.models import FACE_LANDMARKER, find_installed, find_model
from tclr.pipeline.faces.turning import TURNS, TurnedDetector, look_turned, turn_points

__all__ = [
    "Detector",
    "FACE_LANDMARKER",
    "Face",
    "TURNS",
    "TurnedDetector",
    "compute_overlap",
    "detect_image",
    "ensure_models",
    "face_triangles",
    "find_installed",
    "find_model",
    "look_turned",
    "measure_light",
    "open_detector",
    "pose_from_rotation",
    "read_landmark_network",
    "readable_share",
    "turn_points",
]
