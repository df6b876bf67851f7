"""One detected face."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Face:
    """A face in one frame."""

    landmarks: np.ndarray
    """(K, 3) float32: x and y in source pixels, z in the same scale, smaller towards the camera."""
    pose: np.ndarray
    """(3,) float32: pitch, yaw, roll in radians; see ``pose_from_rotation``."""
    blendshapes: np.ndarray | None
    """(52,) float32, 0..1."""
    score: float | None = None
    """The detector's confidence, 0..1, if it reports one."""

    @cached_property
    def bbox(self) -> np.ndarray:
        """(4,) float32: x0 y0 x1 y1 of the landmarks in source pixels."""
        points = self.landmarks[:, :2]
        return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)

    @property
    def size_px(self) -> float:
        """The larger side of the box in source pixels."""
        return float((self.bbox[2:] - self.bbox[:2]).max())

    def placed(self, landmarks: np.ndarray) -> Face:
        """Return this face with its landmarks in another place or scale."""
        return replace(self, landmarks=landmarks)


class LaterFace(Face):
    """A face whose pose and blendshapes are computed when they are first read, by the thread that reads them.

    Following a face takes its landmarks only. Where a core is idle, another thread computes the rest meanwhile, and of
    faces that are only looked at, such as those by which a picture's upright is found, nobody does. ``placed`` replaces
    landmarks; ``dataclasses.replace`` does not work.

    >>> face = LaterFace(np.zeros((5, 3), np.float32), lambda: (np.ones(3, np.float32), None))
    >>> face.placed(face.landmarks + 1).pose, face.blendshapes is None
    (array([1., 1., 1.], dtype=float32), True)
    """

    _describe: Callable[[], tuple[np.ndarray, np.ndarray | None]]

    def __init__(
        self,
        landmarks: np.ndarray,
        describe: Callable[[], tuple[np.ndarray, np.ndarray | None]],
        score: float | None = None,
    ) -> None:
        for name, value in (("landmarks", landmarks), ("_describe", describe), ("score", score)):
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[type[Face], tuple[object, ...]]:
        """Copy and pickle as a face whose pose and blendshapes are known."""
        return Face, (self.landmarks, self.pose, self.blendshapes, self.score)

    @cached_property
    def _described(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self._describe()

    @property
    def pose(self) -> np.ndarray:  # type: ignore[override]
        """See ``Face``."""
        return self._described[0]

    @property
    def blendshapes(self) -> np.ndarray | None:  # type: ignore[override]
        """See ``Face``."""
        return self._described[1]

    def placed(self, landmarks: np.ndarray) -> Face:
        """Return this face with its landmarks in another place or scale."""
        return LaterFace(landmarks, lambda: self._described, self.score)


def pose_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Return pitch (-pi/2..pi/2), yaw and roll (-pi..pi) of a face's rotation matrix (3, 3), as (3,) float32.

    The rotation maps the canonical face (x to the right of the picture, y up, z towards the camera) to the
    camera's frame and factors into ``Ry(yaw) @ Rx(pitch) @ Rz(roll)``. All angles are 0 for a face that looks
    straight into the camera. pitch > 0 looks down, yaw > 0 turns the nose to the right of the picture, roll > 0
    tilts the head anticlockwise in the picture.

    >>> pose_from_rotation(np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]))  # faces the right edge of the picture
    array([0. , 1.5707964, 0. ], dtype=float32)
    """
    (_, _, right), (down, upright, turned), (_, _, ahead) = rotation.tolist()
    pitch = math.asin(min(max(-turned, -1.0), 1.0))
    yaw = math.atan2(right, ahead)
    roll = math.atan2(down, upright)
    return np.array([pitch, yaw, roll], np.float32)


def compute_overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union of two boxes x0 y0 x1 y1, 0..1.

    >>> compute_overlap(np.array([0, 0, 2, 1]), np.array([1, 0, 3, 1]))
    0.3333333333333333
    """
    (left, top, right, bottom), (other_left, other_top, other_right, other_bottom) = first.tolist(), second.tolist()
    width = min(right, other_right) - max(left, other_left)
    height = min(bottom, other_bottom) - max(top, other_top)
    shared = max(width, 0.0) * max(height, 0.0)
    areas = (right - left) * (bottom - top) + (other_right - other_left) * (other_bottom - other_top)
    return shared / (areas - shared) if areas > shared else 0.0
