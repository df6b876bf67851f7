"""Read the results of mediapipe's face landmarker as arrays, without a detour through other threads.

Its own reader makes a Python object of every landmark, 478 per face, which takes a sixth of the time of preprocessing.
The code called here is mediapipe's own; only the result's type and the thread differ.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import mediapipe as mp
import numpy as np
from mediapipe.tasks.python import vision


@dataclass(frozen=True)
class ArrayResult:
    """The faces of a picture.

    Per face, ``landmarks``: (K, 3) float32, fractions of the picture's width, height and width; ``blendshapes``: (52,)
    float32; ``matrices``: (4, 4) float, canonical face to camera.
    """

    landmarks: list[np.ndarray]
    blendshapes: list[np.ndarray]
    matrices: list[np.ndarray]

    @classmethod
    def from_ctypes(cls, result: Any) -> ArrayResult:
        """Copy the faces of mediapipe's C structure, which mediapipe then frees."""
        return cls(
            [
                _columns(face.landmarks, face.landmarks_count, "xyz")
                for face in result.face_landmarks[: result.face_landmarks_count]
            ],
            [
                _columns(face.categories, face.categories_count, ["score"])[:, 0]
                for face in result.face_blendshapes[: result.face_blendshapes_count]
            ],
            [
                matrix.to_numpy()
                for matrix in result.facial_transformation_matrixes[: result.facial_transformation_matrixes_count]
            ],
        )


def _columns(first: Any, count: int, names: Any) -> np.ndarray:
    """Copy float fields of ``count`` consecutive C structures, as (count, len(names)) float32."""
    kind = first._type_
    rows = np.frombuffer((kind * count).from_address(ctypes.addressof(first.contents)), np.uint8)
    rows = rows.reshape(count, ctypes.sizeof(kind))
    starts = [getattr(kind, name).offset for name in names]
    return np.concatenate([rows[:, start : start + 4] for start in starts], axis=1).view(np.float32)


def _run_now(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
    done: Future[Any] = Future()
    done.set_result(call(*args, **kwargs))
    return done


def call_directly(task: Any) -> None:
    """Make a mediapipe task call its C library in the caller's thread; only one thread may call at a time.

    Otherwise each call is handed to the task's own thread, twice per frame, and each hand-over waits for Python's lock.
    That takes a twentieth of preprocessing's time while other threads crop and write. Versions of mediapipe that keep
    their thread elsewhere are left unchanged.
    """
    executor = getattr(getattr(task, "_lib", None), "_executor", None)
    if isinstance(executor, Executor):
        vars(executor)["submit"] = _run_now


def _with_arrays(method: Any) -> Callable[..., Any]:
    """Return a method of mediapipe as a function that returns an ``ArrayResult``."""
    names = {**method.__globals__, "FaceLandmarkerResult": ArrayResult}
    return FunctionType(method.__code__, names, method.__name__, method.__defaults__)


_detect = _with_arrays(vision.FaceLandmarker.detect)
_detect_for_video = _with_arrays(vision.FaceLandmarker.detect_for_video)


def detect(landmarker: vision.FaceLandmarker, image: mp.Image) -> ArrayResult:
    """Return the faces of a picture; the landmarker is in image mode."""
    return _as_arrays(_detect(landmarker, image))


def detect_for_video(landmarker: vision.FaceLandmarker, image: mp.Image, timestamp_ms: int) -> ArrayResult:
    """Return the faces of the next frame; the landmarker is in video mode."""
    return _as_arrays(_detect_for_video(landmarker, image, timestamp_ms))


def _as_arrays(result: Any) -> ArrayResult:
    """Convert mediapipe's own result to arrays, for versions whose C structures cannot be read."""
    if isinstance(result, ArrayResult):
        return result
    return ArrayResult(
        [np.array([(point.x, point.y, point.z) for point in face], np.float32) for face in result.face_landmarks],
        [np.array([shape.score for shape in face], np.float32) for face in result.face_blendshapes],
        [np.asarray(matrix) for matrix in result.facial_transformation_matrixes],
    )
