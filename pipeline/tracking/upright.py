"""Which way up the faces of a picture are.

A landmark model accepts a face upside down, or on its side, with landmarks one eye distance off. So the landmarks of
the largest face are judged by an independent look at its aligned crop. If they are doubtful, the picture is turned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from tclr.pipeline.faces import Detector, Face, look_turned
from tclr.pipeline.tracking.align import TEMPLATES, align_transform, warp_crop

CHECK_SIZE_PX = 128
"""Side of the crop that the face detector scores: BlazeFace's input, whatever the size of the stored crops."""
SURE_SCORE = 0.8
"""Score above which a face needs no look at the other turns. Upright faces score 0.85 and more, crops of faces that
were taken for upright 0.79 and less (docs/detectors.md)."""
MAX_TILT_DEG = 60.0
"""Heads may lean so far in a picture that is not turned: up to here mediapipe follows them."""
SMALL_PX = 288
"""Longer side to which a picture is scaled down before it is looked at in the other turns: too small for tiles, so a
face that is not upright must span a sixth of the picture."""


def look_upright(image: np.ndarray, detector: Detector, turns: Sequence[int]) -> tuple[list[Face], int | None]:
    """Return the faces of a picture (H, W, 3) uint8, and the turn that makes the largest one upright.

    ``turns`` are the turns to look at, in degrees clockwise; others than the first are tried only if the first leaves
    doubts. The turn is the only one given, else ``None`` if no face is clearly seen. Landmarks are in the picture as it
    came.

    >>> from PIL import Image
    >>> from tclr.pipeline.faces import TURNS, open_detector
    >>> from tclr.schemas.config import DetectConfig
    >>> picture = np.array(Image.open("clips/2D+3D/F001/T1/0966.jpg").rotate(180))
    >>> look_upright(picture, open_detector(DetectConfig()), TURNS)[1]
    180
    """
    faces = look_turned(detector, image, turns[0])
    if len(turns) == 1:
        return faces, turns[0]
    best, best_score = faces, _score_largest(image, faces, detector)
    if best_score < SURE_SCORE:
        scale = min(1.0, SMALL_PX / max(image.shape[:2]))
        small = image if scale == 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for turn in turns[1:]:
            faces = look_turned(detector, small, turn)
            score = _score_largest(small, faces, detector)
            if score > best_score:
                best_score = score
                best = [face.placed(face.landmarks / np.float32(scale)) for face in faces]
    return best, _turn_of(_largest(best)) if best_score > 0 else None


def _largest(faces: Sequence[Face]) -> Face:
    return max(faces, key=lambda face: face.size_px)


def _score_largest(image: np.ndarray, faces: Sequence[Face], detector: Detector) -> float:
    """Return the score of the largest face, 0 without any."""
    if not faces:
        return 0.0
    face = _largest(faces)
    if face.score is not None:
        return face.score
    return detector.score_crop(cut_check_crop(image, face.landmarks))


def cut_check_crop(image: np.ndarray, landmarks: np.ndarray, reduction: int = 1) -> np.ndarray:
    """Return the crop to score, (128, 128, 3) uint8; landmarks (K, 3) are in source pixels, see ``warp_crop``."""
    transform = align_transform(landmarks, TEMPLATES["tclr"], CHECK_SIZE_PX, 1.0)
    return warp_crop(image, transform, CHECK_SIZE_PX, reduction)


def _turn_of(face: Face) -> int:
    """Return the quarter turns clockwise, in degrees, that make a face upright."""
    transform = align_transform(face.landmarks, TEMPLATES["tclr"], CHECK_SIZE_PX, 1.0)
    tilt = math.degrees(math.atan2(transform[1, 0], transform[0, 0]))
    return 0 if abs(tilt) <= MAX_TILT_DEG else round(tilt / 90) % 4 * 90
