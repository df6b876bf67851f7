"""The shape of a face without head pose: what its landmarks and blendshapes say of facial action.

Landmarks are turned, scaled and moved onto a mean face by the least-squares similarity in three dimensions (Kabsch, "A
solution for the best rotation to relate two sets of vectors", Acta Crystallographica A 1976) of points that facial
action hardly moves. Each side of the face is described by itself: as the symmetric face whose both halves are that
side. The mean over both sides is also the mean over the face and its mirror image, so that these have the same
description.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import InputError

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
SHAPE_SCALE = 10.0
"""Landmarks are in tenths of the eye distance, so that they vary about as much as blendshapes."""
LOG_FLOOR = 0.005
"""Added to blendshapes before their logarithm, which spreads the small ones: a frown moves them by hundredths."""
SHAPE_DIM = N_LANDMARKS * 3 + 2 * len(BLENDSHAPE_NAMES)
"""Length of the description: landmarks, blendshapes, their logarithms."""
LANDMARKS, BLENDSHAPES, LOG_BLENDSHAPES = (
    slice(0, N_LANDMARKS * 3),
    slice(N_LANDMARKS * 3, SHAPE_DIM - len(BLENDSHAPE_NAMES)),
    slice(SHAPE_DIM - len(BLENDSHAPE_NAMES), SHAPE_DIM),
)
"""Where each part lies in the description."""


def _other_side(name: str) -> str:
    return name.replace("Left", "@").replace("Right", "Left").replace("@", "Right")


MIRRORED_BLENDSHAPES = np.array([BLENDSHAPE_NAMES.index(_other_side(name)) for name in BLENDSHAPE_NAMES])
"""The blendshape of the other side."""
_BLENDSHAPE_SIDE = np.array([name.endswith("Left") * 1.0 - name.endswith("Right") for name in BLENDSHAPE_NAMES])
_BLENDSHAPE_SIDE[[BLENDSHAPE_NAMES.index(name) for name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight")]] = 0
"""1 for what is on the person's left, -1 for the right, 0 for what moves to one side."""


@cache
def mean_face() -> tuple[np.ndarray, np.ndarray]:
    """Return the mean face, (478, 3) float64, and the landmark of the other side, (478,) int.

    The face is symmetric, at rest, and looks at the viewer. Its unit is the distance between the outer corners of the
    eyes; x points to the right of the picture, y up, z to the viewer. It is the mean of 104 frames of people at rest.
    """
    with np.load(Path(__file__).parent / "mean_face.npz") as file:
        return file["points"].astype(np.float64), file["mirror"].astype(np.int64)


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
    """
    mean = mean_face()[0]
    points = landmarks.astype(np.float64) * (1, -1, -1)
    still = points[:, STILL_POINTS]
    centre, target = still.mean(axis=1, keepdims=True), mean[STILL_POINTS]
    still, target = still - centre, target - target.mean(axis=0)
    u, values, vt = np.linalg.svd(np.einsum("nki,kj->nij", still, target))
    signs = np.ones_like(values)
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))  # a rotation, never a reflection
    rotation = np.einsum("nji,nj,nkj->nik", vt, signs, u)
    scale = (values * signs).sum(axis=1) / (still**2).sum(axis=(1, 2))
    turned = np.einsum("nij,nkj->nki", rotation, points - centre) * scale[:, None, None]
    return turned + mean[STILL_POINTS].mean(axis=0) - mean, np.swapaxes(rotation, 1, 2)


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
    angles = Rotation.from_matrix(remove_pose(landmarks)[1]).as_euler("YXZ")[:, [1, 0, 2]]
    return np.asarray(angles * POSE_GAIN + POSE_ZERO, np.float32)


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
    pitch, yaw = pose[:, 0], np.abs(pose[:, 1])
    in_doubt = (yaw > DOUBTFUL_YAW) & (score < DOUBTFUL_SCORE)
    return (yaw > MAX_YAW) | (pitch > MAX_DOWN) | (pitch < -MAX_UP) | in_doubt


def one_sided(values: np.ndarray, mirrored: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return the symmetric faces whose both halves are the left and the right side of a face.

    Parameters
    ----------
    values, mirrored : ndarray
        (n, ...) numbers that describe a face and its mirror image.
    side : ndarray
        1 where a number belongs to the person's left side, -1 to the right, 0 to both; broadcast to ``values``.

    Returns
    -------
    ndarray
        (n, 2, ...): left, right. Their mean is that of ``values`` and ``mirrored``.
    """
    mean, difference = (values + mirrored) / 2, (values - mirrored) / 2
    return np.stack([mean + side * difference, mean - side * difference], axis=1)


def describe_shape(landmarks: np.ndarray, blendshapes: np.ndarray) -> np.ndarray:
    """Describe the shape of n faces, all of which were found, side by side.

    Parameters
    ----------
    landmarks : ndarray
        (n, 478, 3) source pixels.
    blendshapes : ndarray
        (n, 52) 0..1.

    Returns
    -------
    ndarray
        (n, 2, 1538) float32: the person's left and right side, see ``one_sided``; the parts are ``LANDMARKS``,
        ``BLENDSHAPES`` and ``LOG_BLENDSHAPES``.

    Raises
    ------
    InputError
        If there are not 478 landmarks or 52 blendshapes.
    """
    if landmarks.shape[1:] != (N_LANDMARKS, 3) or blendshapes.shape[1:] != (len(BLENDSHAPE_NAMES),):
        raise InputError(
            f"Expected 478 landmarks and 52 blendshapes per frame, got {landmarks.shape} and {blendshapes.shape}. "
            "Preprocess with --detector landmarker."
        )
    mean, mirror = mean_face()
    shape = remove_pose(landmarks)[0] * SHAPE_SCALE
    left_of_centre = np.where(mirror == np.arange(N_LANDMARKS), 0, np.sign(mean[:, 0]))[:, None]
    sides = one_sided(shape, shape[:, mirror] * (-1, 1, 1), left_of_centre)
    parts = [sides.reshape(len(shape), 2, -1)]
    for values in (blendshapes, np.log(blendshapes + LOG_FLOOR)):
        parts.append(one_sided(values, values[:, MIRRORED_BLENDSHAPES], _BLENDSHAPE_SIDE))
    return np.concatenate(parts, axis=2).astype(np.float32)
