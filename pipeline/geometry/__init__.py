"""What the 478 landmarks of a face say by geometry: head pose, gaze, how far eyes are open, where the head is.

Landmarks of n faces in, in pixels of an upright picture; angles in radians and lengths in millimetres out.
It imports no other room, and of other packages numpy alone.
"""

from tclr.pipeline.geometry.eyes import look_at_eye, measure_openness, untilt
from tclr.pipeline.geometry.face import FaceGeometry, measure_faces
from tclr.pipeline.geometry.gaze import GAZE_MODEL, GAZE_VERSION, SHUT_BELOW, GazeModel, measure_gaze, to_angles
from tclr.pipeline.geometry.place import focal_length_px
from tclr.pipeline.geometry.pose import (
    N_LANDMARKS,
    align_face,
    head_pose,
    is_turned,
    mean_face,
    remove_pose,
    turn_share,
)

__all__ = [
    "FaceGeometry",
    "GAZE_MODEL",
    "GAZE_VERSION",
    "GazeModel",
    "N_LANDMARKS",
    "SHUT_BELOW",
    "align_face",
    "focal_length_px",
    "head_pose",
    "is_turned",
    "look_at_eye",
    "mean_face",
    "measure_faces",
    "measure_gaze",
    "measure_openness",
    "remove_pose",
    "to_angles",
    "turn_share",
    "untilt",
]
