"""The shape of a face without head pose: what its landmarks and blendshapes say of facial action.

The pose is that of ``geometry``. Each side of the face is described by itself: as the symmetric face whose both halves
are that side. The mean over both sides is also the mean over the face and its mirror image, so that these have the same
description.
"""

from __future__ import annotations

import numpy as np

from tclr.pipeline.geometry import N_LANDMARKS, mean_face, remove_pose
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import InputError

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
