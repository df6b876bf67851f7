"""The mediapipe backend: 478 landmarks, 52 blendshapes and pose from the face landmarker bundle.

The face landmarker reports no confidence of its own, so ``score_crop`` asks the BlazeFace detector of the same
bundle, independently, whether the crop shows a face. Its filter over time, which makes landmarks late, is put out of
action; what is to be steadied is steadied without lag (``pipeline.crops``). So are the reports of its use that it would
send to Google (docs/privacy.md).
"""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

from tclr.pipeline.faces.face import Face, pose_from_rotation
from tclr.pipeline.faces.mediapipe_arrays import ArrayResult, call_directly, detect, detect_for_video
from tclr.pipeline.faces.models import find_model
from tclr.pipeline.system import caught_stderr
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.config import DetectConfig

SCORE_FLOOR = 0.05
"""BlazeFace candidates below this are not reported; chosen by us: far below any sensible ``min_score``."""
TIME_STRETCH = 100_000
"""How much slower mediapipe is told that time goes: its filter (One Euro; Casiez et al., CHI 2012), which works only
where one face is looked for, then finds that everything has had time to move. Left on, it made crops follow a moving
head 17 ms late (docs/alignment.md)."""

Result = TypeVar("Result")

NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: the port "discard" of this machine."""


def divert_reports(proxy: str = NOWHERE) -> None:
    """Have mediapipe send the reports of its use to a proxy instead of Google.

    Since 0.10.35 it sends metrics to ``https://play.googleapis.com/log`` and has no setting against it (its privacy
    notice; google-ai-edge/mediapipe, issue 6291). It does so by libcurl, which heeds these variables; Python keeps a
    copy of its own (``os.environ``), which does not change, so that models can still be fetched.
    """
    os.putenv("https_proxy", proxy)
    os.putenv("no_proxy", "localhost,127.0.0.1")  # not empty: libcurl would then ask NO_PROXY, which may be "*"


divert_reports()


def _quiet() -> AbstractContextManager[object]:
    """Keep what mediapipe's C++ code writes to standard error at its start out of the user's sight, unless it fails."""
    return nullcontext() if logging.getLogger("tclr").isEnabledFor(logging.INFO) else caught_stderr()


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
    """One of mediapipe's tasks, opened when it is first used; what it writes to standard error meanwhile is caught."""

    def __init__(self, open_task: Callable[[], Any]) -> None:
        self._open_task = open_task
        self.task: Any = None

    def use(self, call: Callable[..., Result], *args: Any) -> Result:
        """Return what a call of the task gives."""
        if self.task is not None:
            return call(self.task, *args)
        with _quiet():
            self.task = self._open_task()
            call_directly(self.task)
            return call(self.task, *args)

    def close(self) -> None:
        """Free the task; the next use opens it anew."""
        if self.task is not None:
            with _quiet():
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
        self._bundle = str(find_model())
        self._landmarker = _Model(lambda: self._open_landmarker(self._mode, self.n_faces))  # settled by its first use
        self._looker = _Model(lambda: self._open_landmarker(vision.RunningMode.IMAGE, config.max_faces))
        self._checker = _Model(self._open_checker)

    @staticmethod
    def prepare(config: DetectConfig) -> None:
        """Find or fetch the bundle."""
        find_model()

    def _open_landmarker(self, mode: vision.RunningMode, n_faces: int) -> vision.FaceLandmarker:
        config = self._config
        return vision.FaceLandmarker.create_from_options(
            vision.FaceLandmarkerOptions(
                base_options=BaseOptions(model_asset_path=self._bundle),
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
        with zipfile.ZipFile(self._bundle) as bundle:
            blazeface = BaseOptions(model_asset_buffer=bundle.read("face_detector.tflite"))
        options = vision.FaceDetectorOptions(base_options=blazeface, min_detection_confidence=SCORE_FLOOR)
        return vision.FaceDetector.create_from_options(options)

    def detect(self, images: Sequence[np.ndarray], timestamps_s: Sequence[float]) -> list[list[Face]]:
        """Return the faces of the next frames."""
        return [self._detect_frame(image, time_s) for image, time_s in zip(images, timestamps_s, strict=True)]

    def _detect_frame(self, image: np.ndarray, timestamp_s: float) -> list[Face]:
        if self._mode == vision.RunningMode.IMAGE:
            return _to_faces(self._landmarker.use(detect, _to_image(image)), image)
        # mediapipe counts whole milliseconds and wants them to rise
        self._last_ms = max(self._last_ms + TIME_STRETCH, round(timestamp_s * 1000) * TIME_STRETCH)
        return _to_faces(self._landmarker.use(detect_for_video, _to_image(image), self._last_ms), image)

    def look(self, image: np.ndarray) -> list[Face]:
        """Return the faces of one image, found by a landmarker of its own.

        Landmarks, not BlazeFace's boxes alone: what it takes for a face and the landmark model does not is nobody.
        """
        return _to_faces(self._looker.use(detect, _to_image(image)), image)

    def score_crop(self, crop: np.ndarray) -> float:
        """Return BlazeFace's best score on a crop, 0 where it finds nothing."""
        found = self._checker.use(vision.FaceDetector.detect, _to_image(crop)).detections
        return max((float(detection.categories[0].score) for detection in found), default=0.0)

    def reset(self) -> None:
        """Open the landmarker anew (some 20 ms): it has no other way to forget the last frame's faces."""
        if self._mode == vision.RunningMode.VIDEO:
            self._landmarker.close()
            self._last_ms = -TIME_STRETCH

    def close(self) -> None:
        """Free the models."""
        for model in (self._landmarker, self._looker, self._checker):
            model.close()
