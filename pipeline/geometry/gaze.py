"""Where eyes look: how far the iris is from the middle of the eye, against the direction of the head.

An iris that lies off the middle of its eye shows an eyeball that is turned, and the middle of the eyeball lies behind
the corners of the eye, so that a turned head moves the iris, too. Both effects are linear in the sines of the angles.
What they amount to was fitted on people of known gaze (``tools.gaze``, docs/gaze.md). There, landmarks tell yaw, but
not pitch: detectors hardly move an iris up and down. The estimate of pitch serves for tilted heads only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tclr.pipeline.geometry.eyes import Eye, look_at_eye, untilt
from tclr.pipeline.geometry.pose import Alignment


@dataclass(frozen=True)
class GazeModel:
    """How the sines of a left eye's gaze follow from its ``Eye``: ``across`` to the right of the picture, ``up``.

    Each has a constant, a factor of the iris's shift along that axis, and one of the head's direction along it.
    """

    across: tuple[float, float, float]
    up: tuple[float, float, float]


GAZE_MODEL = GazeModel(across=(-0.1722, 2.9407, 0.5876), up=(-0.2615, 4.0997, 0.0478))
"""Fitted by ``tools.gaze`` on photo people, see docs/gaze.md."""
GAZE_VERSION = "landmarks:v1"
"""Of the model, of openness and of the head's place: it rises when their numbers change."""
LARGEST_SINE = 0.95
"""Of the angle from the line of sight; more is an error of the landmarks."""
SHUT_BELOW = 0.2
"""Openness below which an eye shows no iris to tell its gaze by; chosen by us."""


def look_along(eye: Eye, model: GazeModel = GAZE_MODEL) -> np.ndarray:
    """Return the direction of an eye's gaze in its own frame, (n, 3) unit vectors; see ``Eye``."""
    parts = zip((model.across, model.up), eye.iris.T, eye.ahead.T, strict=True)
    sines = np.stack(
        [constant + by_iris * iris + by_head * ahead for (constant, by_iris, by_head), iris, ahead in parts]
    )
    length = np.hypot(*sines)
    sines = sines * np.minimum(1, LARGEST_SINE / np.maximum(length, 1e-9))
    return np.column_stack([*sines, np.sqrt(1 - (sines**2).sum(axis=0))])


def measure_gaze(
    landmarks: np.ndarray, alignment: Alignment, openness: np.ndarray, model: GazeModel = GAZE_MODEL
) -> np.ndarray:
    """Return the gaze of n faces, (n, 3, 2) float32 rad: of the person's left eye, right eye, both; pitch and yaw.

    Signs are those of the head pose: pitch is positive down, yaw to the right of the picture. Both are 0 where a person
    looks into the camera. An eye whose ``openness`` (n, 2) is below ``SHUT_BELOW`` is NaN, and both then mean the other
    one.

    >>> seen = mean_face()[0][None] * (90, -90, -90)
    >>> measure_gaze(seen, align_face(seen), measure_openness(seen)).shape
    (1, 3, 2)
    """
    back = np.swapaxes(untilt(alignment.rotation), 1, 2)
    seen = np.greater_equal(openness, SHUT_BELOW)
    looks, weights = [], []
    for side, mirror in enumerate(((1, 1, 1), (-1, 1, 1))):
        eye = look_at_eye(landmarks, alignment, side)
        look = (back @ (look_along(eye, model) * mirror)[:, :, None])[:, :, 0]
        looks.append(np.where(seen[:, side, None], look, np.nan))
        weights.append(eye.width_px * seen[:, side])
    both = sum(weight[:, None] * np.nan_to_num(look) for weight, look in zip(weights, looks, strict=True))
    both = np.where(seen.any(axis=1)[:, None], both, np.nan)
    return np.stack([to_angles(look) for look in (*looks, both)], axis=1)


def to_angles(directions: np.ndarray) -> np.ndarray:
    """Return pitch and yaw, (..., 2) float32 rad, of directions (..., 3) of any length: x right, y up, z to the viewer.

    >>> np.degrees(to_angles(np.array([1.0, 0, 0]))).round().tolist()  # to the right of the picture
    [-0.0, 90.0]
    """
    x, y, z = np.moveaxis(directions, -1, 0)
    return np.stack([-np.arctan2(y, np.hypot(x, z)), np.arctan2(x, z)], axis=-1).astype(np.float32)
