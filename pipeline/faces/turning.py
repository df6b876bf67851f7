"""A detector that sees pictures turned, so that faces lying on their side or upside down are upright to it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from tclr.pipeline.faces.detector import Detector
from tclr.pipeline.faces.face import Face
from tclr.pipeline.faces.wrapped import WrappedDetector

TURNS = (0, 90, 180, 270)
"""Degrees clockwise by which a picture can be turned."""
_CODES = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def turn_image(image: np.ndarray, degrees: int) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 turned clockwise by 0, 90, 180 or 270 degrees.

    >>> turn_image(np.zeros((480, 640, 3), np.uint8), 90).shape
    (640, 480, 3)
    """
    return cv2.rotate(image, _CODES[degrees]) if degrees else image


def turn_points(points: np.ndarray, degrees: int, width: float = 1, height: float = 1) -> np.ndarray:
    """Return points turned clockwise with a picture of that size.

    Points are (..., 2 or 3), x and y in pixels, whose middles are whole numbers as for ``tracking``: it cuts the same
    crops of a picture however it is turned. z stays. Without a size they are turned about the origin.

    >>> turn_points(np.array([[10.0, 20.0]]), 90, width=100, height=50)
    array([[29., 10.]])
    """
    x, y = points[..., 0], points[..., 1]
    right, bottom = width - 1 - x, height - 1 - y
    turned = {0: (x, y), 90: (bottom, x), 180: (right, bottom), 270: (y, right)}[degrees]
    return np.stack([*turned, *np.moveaxis(points[..., 2:], -1, 0)], axis=-1)


def look_turned(detector: Detector, image: np.ndarray, degrees: int) -> list[Face]:
    """Return the faces that a detector finds in an image turned clockwise; see ``TurnedDetector``.

    >>> from PIL import Image
    >>> from tclr.pipeline.faces import open_detector
    >>> from tclr.schemas.config import DetectConfig
    >>> upside_down = np.array(Image.open("clips/2D+3D/F001/T1/0966.jpg").rotate(180))
    >>> (face,) = look_turned(open_detector(DetectConfig()), upside_down, 180)
    >>> chin, forehead = face.landmarks[[152, 10], 1]
    >>> bool(chin < forehead), bool(abs(face.pose[2]) < 0.2)  # rad
    (True, True)
    """
    return _turn_back(detector.look(turn_image(image, degrees)), image, degrees)


def _turn_back(faces: list[Face], image: np.ndarray, degrees: int) -> list[Face]:
    """Return faces of a turned image in the image as it came."""
    if not degrees:
        return faces
    height, width = image.shape[:2]
    if degrees % 180:
        height, width = width, height
    return [face.placed(turn_points(face.landmarks, -degrees % 360, width, height)) for face in faces]


class TurnedDetector(WrappedDetector):
    """A detector that is shown pictures turned clockwise by ``degrees``; see ``Detector``.

    Landmarks are in the picture as it came. Pose is that of the turned picture, in which heads are upright.

    >>> from PIL import Image
    >>> from tclr.pipeline.faces import open_detector
    >>> from tclr.schemas.config import DetectConfig
    >>> on_its_side = np.array(Image.open("clips/2D+3D/F001/T1/0966.jpg").rotate(90, expand=True))
    >>> detector = TurnedDetector(open_detector(DetectConfig()), 90)
    >>> ((face,),) = detector.detect([on_its_side], [0.0])
    >>> chin, forehead = face.landmarks[[152, 10], 0]
    >>> bool(chin > forehead)
    True
    """

    def __init__(self, detector: Detector, degrees: int) -> None:
        super().__init__(detector)
        self._degrees = degrees

    def detect(self, images: Sequence[np.ndarray], timestamps_s: Sequence[float]) -> list[list[Face]]:
        """Return the faces of the next frames."""
        found = self._detector.detect([turn_image(image, self._degrees) for image in images], timestamps_s)
        return [_turn_back(faces, image, self._degrees) for faces, image in zip(found, images, strict=True)]

    def look(self, image: np.ndarray) -> list[Face]:
        """Return the faces of one image."""
        return look_turned(self._detector, image, self._degrees)
