"""Head pose and gaze in the frames and signs of other tools.

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


def gaze_vectors(pitch: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Return unit vectors (T, 3) in OpenFace's frame: x to the right of the picture, y down, z away from the camera.

    >>> gaze_vectors(np.array([0.0]), np.array([np.pi / 2])).round(6) + 0.0  # to the right of the picture
    array([[1., 0., 0.]])
    """
    return np.stack([np.cos(pitch) * np.sin(yaw), np.sin(pitch), -np.cos(pitch) * np.cos(yaw)], axis=1)


def gaze_in_head(pose: np.ndarray, pitch: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """Return pitch and yaw (T, 2), rad, of gaze relative to the head, in tclr's signs.

    Pose (T, 3), pitch (T,) and yaw (T,) are relative to the camera.

    >>> pose = np.array([[0.0, 0.3, 0.0]])
    >>> gaze_in_head(pose, np.array([0.0]), np.array([0.5])).round(6) + 0.0
    array([[0. , 0.2]])
    """
    vectors = gaze_vectors(pitch, yaw) * FLIP
    relative = np.full(vectors.shape, np.nan)
    known = ~(np.isnan(pose).any(axis=1) | np.isnan(vectors).any(axis=1))
    if known.any():
        relative[known] = _rotations(pose[known]).inv().apply(vectors[known])
    right, up, ahead = relative.T
    return np.stack([-np.arcsin(np.clip(up, -1, 1)), np.arctan2(right, ahead)], axis=1)
