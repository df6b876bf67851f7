"""The eyes of a face in its own upright frame, and how far they are open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tclr.pipeline.geometry.pose import IMAGE_AXES, Alignment

CORNERS = ((263, 362), (33, 133))
"""Landmarks of the outer and the inner corner, of the person's left and right eye."""
IRIS_CENTRES = (473, 468)
LIDS = (((386, 374), (385, 380), (387, 373)), ((159, 145), (158, 153), (160, 144)))
"""Landmarks of upper and lower lid that face each other, of either eye."""
CLOSED_RATIO, OPEN_RATIO = 0.066, 0.37
"""Distance of the lids as a share of the eye's width: the median closed eye, and an eye wider open than those of 95% of
people at rest. From photo people, see docs/gaze.md."""


@dataclass(frozen=True)
class Eye:
    """One eye of n faces, as if it were the left one: a right eye is mirrored, so that both have the same numbers.

    The frame is the picture's, turned about the line of sight so that the head does not tilt: x to the outer corner's
    side, y up. Lengths are shares of the eye's width in the picture.
    """

    iris: np.ndarray
    """(n, 2): the middle of the iris from the middle between the corners."""
    ahead: np.ndarray
    """(n, 2): x and y of the direction in which the face points, a unit vector."""
    width_px: np.ndarray
    """(n,): from corner to corner, along x, in pixels."""


def untilt(rotation: np.ndarray) -> np.ndarray:
    """Return the rotations (n, 3, 3) about the line of sight that undo the tilt of heads with ``rotation`` (n, 3, 3).

    >>> untilt(np.array([[[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]])).round().tolist()  # a head on its side
    [[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    x, y = rotation[:, 0, 0], rotation[:, 1, 0]
    length = np.maximum(np.hypot(x, y), 1e-9)
    out = np.zeros((len(rotation), 3, 3))
    out[:, 0, 0] = out[:, 1, 1] = x / length
    out[:, 0, 1], out[:, 1, 0], out[:, 2, 2] = y / length, -y / length, 1
    return out


def look_at_eye(landmarks: np.ndarray, alignment: Alignment, side: int) -> Eye:
    """Return the person's left (``side`` 0) or right (1) eye of n faces with landmarks (n, 478, 3).

    >>> seen = mean_face()[0][None] * (90, -90, -90)
    >>> look_at_eye(seen, align_face(seen), 0).width_px.round(-1).tolist()
    [30.0]
    """
    turn, sign = untilt(alignment.rotation), np.array([1.0, -1.0])[side]
    mirror = np.array([sign, 1.0])
    numbers = [*CORNERS[side], IRIS_CENTRES[side]]
    points = (landmarks[:, numbers, :2] * IMAGE_AXES[:2]) @ np.swapaxes(turn[:, :2, :2], 1, 2) * mirror
    width_px = np.maximum(points[:, 0, 0] - points[:, 1, 0], 1e-3)
    iris = (points[:, 2] - points[:, :2].mean(axis=1)) / width_px[:, None]
    ahead = (turn @ alignment.rotation)[:, :2, 2] * mirror
    return Eye(iris, ahead, width_px)


def measure_openness(landmarks: np.ndarray) -> np.ndarray:
    """Return how far the eyes of n faces are open, (n, 2) float32 0..1: the person's left, then right.

    The distance of the lids over the eye's width, of landmarks (n, 478, 3) in any picture: 0 at ``CLOSED_RATIO`` and
    less, 1 at ``OPEN_RATIO`` and more.

    >>> (measure_openness(mean_face()[0][None]) > 0.8).tolist()
    [[True, True]]
    """
    points = landmarks.astype(np.float64)
    ratios = []
    for (outer, inner), pairs in zip(CORNERS, LIDS, strict=True):
        upper, lower = zip(*pairs, strict=True)
        gap = np.linalg.norm(points[:, upper] - points[:, lower], axis=2).mean(axis=1)
        ratios.append(gap / np.maximum(np.linalg.norm(points[:, outer] - points[:, inner], axis=1), 1e-9))
    share = (np.stack(ratios, axis=1) - CLOSED_RATIO) / (OPEN_RATIO - CLOSED_RATIO)
    return np.clip(share, 0, 1).astype(np.float32)
