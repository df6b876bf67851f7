"""Head pose in the frame and signs of OpenFace.

tclr's angles factor a rotation into ``Ry(yaw) @ Rx(pitch) @ Rz(roll)``, with x to the right of the picture, y up and z
towards the camera. OpenFace's factor it into ``Rx @ Ry @ Rz``, with y down and z away from the camera. Both call zero a
face that looks into the camera.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

POSE = ("pitch", "yaw", "roll")
FLIP = np.array([1.0, -1.0, -1.0])
"""Turns y down and z away from the camera, or back."""


def openface_angles(pose: np.ndarray) -> np.ndarray:
    """Return OpenFace's pose_Rx, pose_Ry, pose_Rz (T, 3), rad, from pitch, yaw, roll (T, 3), rad; NaN stays.

    For one angle alone, Rx is pitch, Ry is minus yaw and Rz is minus roll.

    >>> openface_angles(np.array([[0.1, 0, 0], [0, 0.2, 0], [0, 0, 0.3]])).round(6) + 0.0
    array([[ 0.1,  0. ,  0. ],
           [ 0. , -0.2,  0. ],
           [ 0. ,  0. , -0.3]])
    """
    angles = np.full(pose.shape, np.nan)
    known = ~np.isnan(pose).any(axis=1)
    if known.any():
        matrices = FLIP[:, None] * _rotations(pose[known]).as_matrix() * FLIP
        angles[known] = Rotation.from_matrix(matrices).as_euler("XYZ")
    return angles


def _rotations(pose: np.ndarray) -> Rotation:
    return Rotation.from_euler("YXZ", pose[:, [1, 0, 2]])
