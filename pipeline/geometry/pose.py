"""How a head is turned: the mean face laid over a face's landmarks.

Landmarks are turned, scaled and moved onto a mean face by the least-squares similarity in three dimensions (Kabsch, "A
solution for the best rotation to relate two sets of vectors", Acta Crystallographica A 1976) of points that facial
action hardly moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

N_LANDMARKS = 478
STILL_POINTS = np.array(
    [6, 168, 197, 195, 5, 4, 33, 133, 362, 263, 10, 109, 338, 67, 297, 54, 284, 21, 251, 162]
    + [389, 127, 356, 234, 454, 98, 327, 2]
)
"""Landmarks that facial action hardly moves: nose, corners of the eyes, temples, forehead."""
POSE_GAIN = np.array([1.1, 1.13, 1.0])
"""Corrects pitch, yaw and roll: landmarks lie too shallow, so that a head seems to turn less than it does. From 202
photo people of known pose (0.89, 0.85, 0.99 of the truth before) and a picture turned by known angles (yaw 0.95)."""
POSE_ZERO = np.array([0.119, 0.0, 0.0])
"""Added to pitch, yaw and roll, rad: the mean face looks up by as much. From the mean of the same people."""
MAX_YAW, MAX_DOWN, MAX_UP = np.radians([50.0, 40.0, 30.0])
"""A still face turned so far changes intensities of AUs by 0.35 to 0.5 in the mean, and moves landmarks by 5% of the
eye distance (docs/detectors.md). Both grow steadily, so the limits are chosen by us."""
DOUBTFUL_YAW, DOUBTFUL_SCORE = np.radians(20.0), 0.83
"""Near profile, landmarks may fold back, and yaw with them, from 60 degrees to 25: the face detector's score is then
below this."""
IMAGE_AXES = np.array([1, -1, -1])
"""Landmarks have y down and z away from the viewer, the mean face has y up and z to the viewer."""


@cache
def mean_face() -> tuple[np.ndarray, np.ndarray]:
    """Return the mean face, (478, 3) float64, and the landmark of the other side, (478,) int.

    The face is symmetric, at rest, and looks at the viewer. Its unit is the distance between the outer corners of the
    eyes; x points to the right of the picture, y up, z to the viewer. It is the mean of 104 frames of people at rest.

    >>> points, mirror = mean_face()
    >>> points.shape, int(mirror[33])
    ((478, 3), 263)
    """
    with np.load(Path(__file__).parent / "mean_face.npz") as file:
        return file["points"].astype(np.float64), file["mirror"].astype(np.int64)


@dataclass(frozen=True)
class Alignment:
    """How n faces lie to the mean face: a point of theirs is ``rotation @ (point of the mean face) / scale`` away.

    ``rotation`` (n, 3, 3) is float64, from the mean face to the picture, both with x right, y up and z to the viewer;
    ``scale`` (n,) is in eye distances per pixel; ``centre`` (n, 3) is the mean of the still points, in pixels with the
    same axes.
    """

    rotation: np.ndarray
    scale: np.ndarray
    centre: np.ndarray

    @property
    def angles(self) -> np.ndarray:
        """(n, 3) rad: pitch, yaw and roll of ``rotation``, which is ``Ry(yaw) @ Rx(pitch) @ Rz(roll)``."""
        turn = self.rotation
        pitch = np.arcsin(np.clip(-turn[:, 1, 2], -1, 1))
        yaw, roll = np.arctan2(turn[:, 0, 2], turn[:, 2, 2]), np.arctan2(turn[:, 1, 0], turn[:, 1, 1])
        return np.stack([pitch, yaw, roll], axis=1)

    @property
    def pose(self) -> np.ndarray:
        """(n, 3) float32 rad: the head pose, see ``head_pose``."""
        return np.asarray(self.angles * POSE_GAIN + POSE_ZERO, np.float32)


def align_face(landmarks: np.ndarray) -> Alignment:
    """Lay the mean face over n faces, all of which were found.

    Parameters
    ----------
    landmarks : ndarray
        (n, 478, 3) source pixels, y down, z away from the viewer.

    Examples
    --------
    >>> seen = mean_face()[0] * (90, -90, -90)  # px; looks at the viewer
    >>> alignment = align_face(seen[None])
    >>> (abs(alignment.angles) < 1e-6).tolist(), round(float(1 / alignment.scale[0]), 3)
    ([[True, True, True]], 90.0)
    """
    still, target = landmarks[:, STILL_POINTS].astype(np.float64) * IMAGE_AXES, mean_face()[0][STILL_POINTS]
    centre = still.mean(axis=1, keepdims=True)
    still, target = still - centre, target - target.mean(axis=0)
    u, values, vt = np.linalg.svd(np.einsum("nki,kj->nij", still, target))
    signs = np.ones_like(values)
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))  # a rotation, never a reflection
    rotation = np.einsum("nij,nj,njk->nik", u, signs, vt)
    scale = (values * signs).sum(axis=1) / (still**2).sum(axis=(1, 2))
    return Alignment(rotation, scale, centre[:, 0])


def remove_pose(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn, scale and move landmarks onto the mean face.

    Parameters
    ----------
    landmarks : ndarray
        (n, 478, 3) source pixels, y down, z away from the viewer.

    Returns
    -------
    shape, rotation : ndarray
        (n, 478, 3) float64, distances from the mean face in eye distances, and (n, 3, 3), the rotation that was undone.

    Examples
    --------
    >>> shape, rotation = remove_pose(mean_face()[0][None] * (90, -90, -90))
    >>> bool(abs(shape).max() < 1e-9), rotation.shape
    (True, (1, 3, 3))
    """
    alignment, mean = align_face(landmarks), mean_face()[0]
    away = landmarks.astype(np.float64) * IMAGE_AXES - alignment.centre[:, None]
    turned = np.einsum("nji,nkj->nki", alignment.rotation, away) * alignment.scale[:, None, None]
    return turned + mean[STILL_POINTS].mean(axis=0) - mean, alignment.rotation


def head_pose(landmarks: np.ndarray) -> np.ndarray:
    """Return the head pose of n faces, all of which were found, from their landmarks.

    Parameters
    ----------
    landmarks : ndarray
        (n, 478, 3) source pixels.

    Returns
    -------
    ndarray
        (n, 3) float32 rad: pitch, positive down; yaw, positive to the right of the picture; roll, positive
        anticlockwise.

    Examples
    --------
    >>> from tclr.pipeline.store import Store
    >>> with Store(Path("store")) as store:
    ...     landmarks = store.read(store.clips[0], "landmarks")
    >>> head_pose(landmarks).shape
    (16, 3)
    """
    return align_face(landmarks).pose


def is_turned(pose: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return whether heads are turned so far that AUs are unreliable, (n,) bool.

    Parameters
    ----------
    pose : ndarray
        (n, 3) rad: pitch, yaw, roll as from ``head_pose``.
    score : ndarray
        (n,) confidence of the face detector, 0..1.

    Examples
    --------
    >>> pose = np.radians([[0, 30, 0], [0, 55, 0], [-35, 0, 0], [0, 30, 0]])
    >>> is_turned(pose, np.array([0.9, 0.9, 0.9, 0.7]))  # the last may be in profile
    array([False,  True,  True,  True])
    """
    in_doubt = (np.abs(pose[:, 1]) > DOUBTFUL_YAW) & (score < DOUBTFUL_SCORE)
    return (turn_share(pose) > 1) | in_doubt


def turn_share(pose: np.ndarray) -> np.ndarray:
    """Return how far heads are turned, (n,): 1 where AUs begin to be unreliable.

    ``pose`` (n, 3) is as from ``head_pose``.

    >>> turn_share(np.radians([[0, 25, 0], [-30, 0, 0]])).round(2).tolist()
    [0.5, 1.0]
    """
    pitch, yaw = pose[:, 0], np.abs(pose[:, 1])
    return np.maximum(yaw / MAX_YAW, np.maximum(pitch / MAX_DOWN, -pitch / MAX_UP))
