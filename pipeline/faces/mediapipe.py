"""The mediapipe backend: 478 landmarks, 52 blendshapes and pose from the face landmarker bundle.

The face landmarker reports no confidence, so ``score_crop`` checks each crop independently with the BlazeFace detector
of the same bundle. The landmarker's filter over time, which delays landmarks, is disabled; ``tracking`` smooths crops
without lag. The usage reports that mediapipe would send to Google are blocked, too (docs/privacy.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

from tclr.pipeline.faces.face import Face, pose_from_rotation
from tclr.pipeline.faces.landmarker.boxes import SCORE_FLOOR, score_aligned
from tclr.pipeline.faces.landmarker.bundle import BOXES, read_entry
from tclr.pipeline.faces.mediapipe_arrays import ArrayResult, call_directly, detect, detect_for_video
from tclr.pipeline.faces.models import find_model
from tclr.pipeline.system import quiet_unless_verbose
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.config import DetectConfig

TIME_STRETCH = 100_000
"""Factor by which mediapipe's timestamps are stretched. Over such long steps its filter (One Euro; Casiez et al., CHI
2012), active only when it looks for one face, smooths nothing. With the filter on, crops followed a moving head 17 ms
late (docs/alignment.md)."""

Result = TypeVar("Result")

NOWHERE = "http://127.0.0.1:9"
"""A proxy that does not exist: the "discard" port of this machine."""


def divert_reports(proxy: str = NOWHERE) -> None:
    """Make mediapipe send its usage reports to a proxy instead of Google.

    Since 0.10.35 it sends metrics to ``https://play.googleapis.com/log`` and has no setting to stop it (its privacy
    notice; google-ai-edge/mediapipe, issue 6291). It uses libcurl, which obeys these variables. Python's own copy,
    ``os.environ``, does not change, so models can still be fetched.
    """
    os.putenv("https_proxy", proxy)
    os.putenv("no_proxy", "localhost,127.0.0.1")  # if empty, libcurl reads NO_PROXY, which may be "*"


divert_reports()


def _to_image(image: np.ndarray) -> mp.Image:
    return mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(image))


def _to_faces(result: ArrayResult, image: np.ndarray) -> list[Face]:
    height, width = image.shape[:2]
    scale = np.array([width, height, width], np.float32)
    return [
        Face(landmarks=points * scale, pose=pose_from_rotation(matrix[:3, :3]), blendshapes=shapes)
        for points, shapes, matrix in zip(result.landmarks, result.blendshapes, result.matrices, strict=True)
    ]


def face_triangles() -> np.ndarray:
    """Return the triangles of the face mesh, (852, 3) landmark indices; eyes and mouth are left open."""
    edges = vision.FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION
    return np.array([edge.start for edge in edges]).reshape(-1, 3)


class _Model:
    """A mediapipe task, opened at its first use, during which its standard error is caught."""

    def __init__(self, open_task: Callable[[], Any]) -> None:
        self._open_task = open_task
        self.task: Any = None

    def use(self, call: Callable[..., Result], *args: Any) -> Result:
        """Call the task and return the result."""
        if self.task is not None:
            return call(self.task, *args)
        with quiet_unless_verbose():
            self.task = self._open_task()
            call_directly(self.task)
            return call(self.task, *args)

    def close(self) -> None:
        """Free the task; the next use reopens it."""
        if self.task is not None:
            with quiet_unless_verbose():
                self.task.close()
            self.task = None


class MediapipeDetector:
    """Face landmarker in VIDEO mode (or IMAGE mode for stills) with BlazeFace as a check; see ``Detector``."""

    name = "mediapipe"
    n_landmarks = 478
    blendshape_names: tuple[str, ...] = BLENDSHAPE_NAMES
    batch_size = 1

    def __init__(self, config: DetectConfig, *, video: bool, n_faces: int) -> None:
        self._config = config
        self.n_faces = n_faces
        self._mode = vision.RunningMode.VIDEO if video else vision.RunningMode.IMAGE
        self._last_ms = -TIME_STRETCH
        self._bundle = find_model()
        self._landmarker = _Model(lambda: self._open_landmarker(self._mode, self.n_faces))  # n_faces may still change
        self._looker = _Model(lambda: self._open_landmarker(vision.RunningMode.IMAGE, config.max_faces))
        self._checker = _Model(self._open_checker)

    def _open_landmarker(self, mode: vision.RunningMode, n_faces: int) -> vision.FaceLandmarker:
        config = self._config
        return vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=str(self._bundle)),
                running_mode=mode,
                num_faces=n_faces,
                min_face_detection_confidence=config.min_detection_confidence,
                min_face_presence_confidence=config.min_presence_confidence,
                min_tracking_confidence=config.min_tracking_confidence,
                output_face_blendshapes=True,
                output_facial_transformation_matrixes=True,
            )
        )

    def _open_checker(self) -> vision.FaceDetector:
        blazeface = BaseOptions(model_asset_buffer=read_entry(self._bundle, BOXES))
        options = vision.FaceDetectorOptions(base_options=blazeface, min_detection_confidence=SCORE_FLOOR)
        return vision.FaceDetector.create_from_options(options)

    def detect(self, images: Sequence[np.ndarray], timestamps_s: Sequence[float]) -> list[list[Face]]:
        """Return the faces of the next frames."""
        return [self._detect_frame(image, time_s) for image, time_s in zip(images, timestamps_s, strict=True)]

    def _detect_frame(self, image: np.ndarray, timestamp_s: float) -> list[Face]:
        if self._mode == vision.RunningMode.IMAGE:
            return _to_faces(self._landmarker.use(detect, _to_image(image)), image)
        # mediapipe needs whole milliseconds that increase
        self._last_ms = max(self._last_ms + TIME_STRETCH, round(timestamp_s * 1000) * TIME_STRETCH)
        return _to_faces(self._landmarker.use(detect_for_video, _to_image(image), self._last_ms), image)

    def look(self, image: np.ndarray) -> list[Face]:
        """Return the faces of one image, found by a separate landmarker.

        BlazeFace's boxes are not enough: a box that the landmark model rejects is nobody's face.
        """
        return _to_faces(self._looker.use(detect, _to_image(image)), image)

    def look_at_all(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """Return the faces of several images, as ``look`` does."""
        return [self.look(image) for image in images]

    def score_crop(self, crop: np.ndarray) -> float:
        """Return BlazeFace's best score on a crop, 0 where it finds no face with eyes and mouth where they belong.

        Landmarks of a face upside down, or on its side, may be found the wrong way round.
        """
        found = self._checker.use(vision.FaceDetector.detect, _to_image(crop)).detections
        return score_aligned(
            (face.categories[0].score, np.array([point.y for point in face.keypoints])) for face in found
        )

    def reset(self) -> None:
        """Reopen the landmarker (about 20 ms): it has no other way to forget the last frame's faces."""
        if self._mode == vision.RunningMode.VIDEO:
            self._landmarker.close()
            self._last_ms = -TIME_STRETCH

    def close(self) -> None:
        """Free the models."""
        for model in (self._landmarker, self._looker, self._checker):
            model.close()
