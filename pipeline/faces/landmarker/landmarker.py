"""The detector: who is where is known from the frame before, or found by BlazeFace; the landmark network does the rest.

As in mediapipe's graph, BlazeFace looks only while fewer faces are followed than are wanted. A face is followed in the
region of its last landmarks for as long as the landmark network believes in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import cv2
import numpy as np

from tclr.pipeline.faces.face import Face, LaterFace, pose_from_rotation
from tclr.pipeline.faces.landmarker.boxes import SAME_IN_CROP, SCORE_FLOOR, find_boxes, score_aligned
from tclr.pipeline.faces.landmarker.bundle import (
    BLENDSHAPES,
    BOXES,
    CANONICAL_FACE,
    GPU_STEP,
    LANDMARKS,
    open_network,
    read_entry,
)
from tclr.pipeline.faces.landmarker.pose import CanonicalFace
from tclr.pipeline.faces.landmarker.regions import Region, cut
from tclr.pipeline.faces.models import find_model
from tclr.pipeline.system import LiteNetwork
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.config import DetectConfig

INPUT_PX = 256
"""Side of the landmark network's input."""
N_LANDMARKS = 478
# fmt: off
SHAPE_LANDMARKS = np.array([
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80,
    81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153,
    154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249,
    251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314,
    317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382,
    384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, *range(468, 478),
])
# fmt: on
"""Landmarks that the blendshape network reads, in its order."""


def depth_scale(region: Region, aspect: float) -> float:
    """Return the scale of depth, source pixels per side of the region; ``aspect`` is width by height of the picture.

    It is the region's side for an upright face. mediapipe measures the side of a turned region in shares of the
    picture's width and height, and the bundled models have learnt from depths of that scale.

    >>> depth_scale(Region(0, 0, 100), 2.0), depth_scale(Region(0, 0, 100, math.pi / 2), 2.0)
    (100.0, 200.0)
    """
    return region.side * math.hypot(math.cos(region.angle), math.sin(region.angle) * aspect)


def open_landmark_network(bundle: Path, device: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return the landmark network: by LiteRT on the CPU, by PyTorch on a GPU, where all clips of a process share it."""
    if device == "cpu":
        return open_network(bundle, LANDMARKS)
    from tclr.pipeline.faces.landmarker.shared_network import shared_network

    return shared_network(bundle, LANDMARKS, device)


class FaceLandmarker:
    """The networks of the bundle as a detector; without ``video`` every frame is searched anew. See ``Detector``.

    >>> from PIL import Image
    >>> from tclr.schemas.config import DetectConfig
    >>> detector = FaceLandmarker(DetectConfig(), video=True, n_faces=1)
    >>> ((face,),) = detector.detect([np.array(Image.open("clips/2D+3D/F001/T1/0966.jpg"))], [0.0])
    >>> face.landmarks.shape, face.blendshapes.shape
    ((478, 3), (52,))
    """

    name = "landmarker"
    n_landmarks = N_LANDMARKS
    blendshape_names: tuple[str, ...] = BLENDSHAPE_NAMES

    def __init__(self, config: DetectConfig, *, video: bool, n_faces: int) -> None:
        self._config = config
        self._video = video
        self.n_faces = n_faces
        self.batch_size = 1 if video or config.device == "cpu" else GPU_STEP
        self._bundle = find_model()
        self._followed: list[Region] = []

    @cached_property
    def _boxes(self) -> LiteNetwork:
        return open_network(self._bundle, BOXES)

    @cached_property
    def _landmarks(self) -> Callable[[np.ndarray], list[np.ndarray]]:
        return open_landmark_network(self._bundle, self._config.device)

    @cached_property
    def _blendshapes(self) -> LiteNetwork:
        return open_network(self._bundle, BLENDSHAPES)

    @cached_property
    def _canonical(self) -> CanonicalFace:
        return CanonicalFace.parse(read_entry(self._bundle, CANONICAL_FACE))

    def detect(self, images: Sequence[np.ndarray], timestamps_s: Sequence[float]) -> list[list[Face]]:
        """Return the faces of the next frames."""
        if self._video:
            return [self._detect_frame(image) for image in images]
        return self._look_at(images, [self._regions(image, self.n_faces) for image in images])

    def _detect_frame(self, image: np.ndarray) -> list[Face]:
        regions = self._followed
        if len(regions) < self.n_faces:
            regions = self._join(self._regions(image, self.n_faces), regions)[: self.n_faces]
        (faces,) = self._look_at([image], [regions])
        self._followed = [Region.of_landmarks(face.landmarks) for face in faces]
        return faces

    def look(self, image: np.ndarray) -> list[Face]:
        """Return the faces of one image, at most ``max_faces``."""
        return self.look_at_all([image])[0]

    def look_at_all(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """Return the faces of several images, as ``look`` does, with few calls of the landmark network."""
        return self._look_at(images, [self._regions(image, self._config.max_faces) for image in images])

    def score_crop(self, crop: np.ndarray) -> float:
        """Return BlazeFace's best score on a crop, 0 where it finds no face with eyes and mouth where they belong."""
        boxes = find_boxes(self._boxes, crop, SCORE_FLOOR, same=SAME_IN_CROP)
        return score_aligned((box.score, box.keypoints[:, 1] / len(crop)) for box in boxes)

    def reset(self) -> None:
        """Forget the faces of the last frame."""
        self._followed = []

    def close(self) -> None:
        """Do nothing: the networks are those of the process, and stay for the next clip."""

    def _regions(self, image: np.ndarray, n_faces: int) -> list[Region]:
        boxes = find_boxes(self._boxes, image, self._config.min_detection_confidence, n_faces)
        return [box.region for box in boxes]

    def _join(self, found: Sequence[Region], followed: Sequence[Region]) -> list[Region]:
        """Return the regions of new faces, then those of the followed ones: these are where both overlap."""
        limit = self._config.min_tracking_confidence
        new = [region for region in found if all(region.overlap(known) <= limit for known in followed)]
        return [*new, *followed]

    def _look_at(self, images: Sequence[np.ndarray], regions: Sequence[Sequence[Region]]) -> list[list[Face]]:
        """Return the faces that the landmark network sees in some regions of each image, in few calls."""
        faces: list[list[Face]] = [[] for _ in images]
        places = [(number, region) for number, some in enumerate(regions) for region in some]
        for start in range(0, len(places), GPU_STEP):
            some = places[start : start + GPU_STEP]
            cuts = np.stack([cut(images[number], region, INPUT_PX, cv2.BORDER_REPLICATE) for number, region in some])
            points, logits, _ = self._landmarks(cuts / np.float32(255))
            for (number, region), seen, logit in zip(some, points, logits[:, 0].tolist(), strict=True):
                if 1 / (1 + math.exp(-logit)) > self._config.min_presence_confidence:
                    faces[number].append(self._to_face(seen.reshape(N_LANDMARKS, 3), region, images[number]))
        return faces

    def _to_face(self, seen: np.ndarray, region: Region, image: np.ndarray) -> Face:
        """Return the face of (478, 3) landmarks in pixels of a region's cut."""
        height, width = image.shape[:2]
        points, matrix = seen.astype(np.float64), region.matrix(INPUT_PX)
        placed = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        depth = points[:, 2:] * (depth_scale(region, width / height) / INPUT_PX)
        landmarks = np.concatenate([placed, depth], axis=1).astype(np.float32)
        return LaterFace(landmarks, partial(self._describe, landmarks, width, height))

    def _describe(self, landmarks: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the pose and the blendshapes of a face in a picture of that size."""
        pose = pose_from_rotation(self._canonical.rotation(landmarks, width, height))
        return pose, self._blendshapes(landmarks[None, SHAPE_LANDMARKS, :2])[0][0]
