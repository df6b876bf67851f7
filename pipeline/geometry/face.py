"""All that geometry says of faces, at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tclr.pipeline.geometry.eyes import measure_openness
from tclr.pipeline.geometry.gaze import measure_gaze
from tclr.pipeline.geometry.place import place_head
from tclr.pipeline.geometry.pose import align_face


@dataclass(frozen=True)
class FaceGeometry:
    """What geometry says of n faces; all numbers are float32."""

    pose: np.ndarray
    """(n, 3) rad: pitch, yaw, roll."""
    gaze_yaw: np.ndarray
    """(n, 3) rad: of the person's left eye, right eye, and both; NaN where eyes are shut."""
    openness: np.ndarray
    """(n, 2) 0..1: how far the left and the right eye are open."""
    place: np.ndarray
    """(n, 3) mm: x to the right, y down, z away from the camera."""

    @classmethod
    def of_nothing(cls, n_faces: int) -> FaceGeometry:
        """Return the geometry of faces before any is measured: NaN.

        >>> FaceGeometry.of_nothing(4).gaze_yaw.shape
        (4, 3)
        """
        return cls(*(np.full((n_faces, columns), np.nan, np.float32) for columns in (3, 3, 2, 3)))

    def fill(self, rows: np.ndarray, other: FaceGeometry) -> None:
        """Take over the numbers of other faces, in place, at ``rows``."""
        for name, values in vars(other).items():
            getattr(self, name)[rows] = values


def measure_faces(landmarks: np.ndarray, width_px: int, height_px: int) -> FaceGeometry:
    """Return what the landmarks of n faces, all of which were found, say by geometry.

    Parameters
    ----------
    landmarks : ndarray
        (n, 478, 3) pixels of a picture in which heads are upright: x and y from the middle of its first pixel, z in
        the same scale, smaller towards the camera.
    width_px, height_px : int
        Size of that picture.

    Examples
    --------
    >>> at_rest = mean_face()[0] * (90, -90, -90) + (320, 180, 0)
    >>> face = measure_faces(at_rest[None], 640, 360)
    >>> face.gaze_yaw.shape, (face.openness > 0.8).tolist(), face.place.round(-1).tolist()
    ((1, 3), [[True, True]], [[0.0, 0.0, 280.0]])
    """
    alignment, openness = align_face(landmarks), measure_openness(landmarks)
    gaze = measure_gaze(landmarks, alignment, openness)
    return FaceGeometry(alignment.pose, gaze[..., 1], openness, place_head(landmarks, alignment, width_px, height_px))
