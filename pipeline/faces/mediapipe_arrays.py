"""Reads what mediapipe's face landmarker finds as arrays, without a detour through other threads.

Its own reader makes a Python object of every landmark, 478 a face, which takes a sixth of the time that preprocessing
does. What is called here is mediapipe's own code, but for what it turns its C structures into and in which thread.
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

    ``landmarks``: (K, 3) float32 a face, shares of the picture's width, height and width. ``blendshapes``: (52,)
    float32 a face. ``matrices``: (4, 4) float a face, canonical face to camera.
    """

    landmarks: list[np.ndarray]
    blendshapes: list[np.ndarray]
    matrices: list[np.ndarray]

    @classmethod
    def from_ctypes(cls, result: Any) -> ArrayResult:
        """Copy the faces of mediapipe's C structure, which it frees afterwards."""
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
    """Copy float fields of ``count`` C structures that lie one behind the other; (count, len(names)) float32."""
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
    """Have one of mediapipe's tasks call its C library in the thread that asks; only one may ask at a time.

    Otherwise each call is handed to a thread of the task's own, twice a frame, and each handing over waits for Python's
    lock: a twentieth of preprocessing's time where other threads cut and write. Where a version of mediapipe keeps
    its thread elsewhere, everything stays as it is.
    """
    executor = getattr(getattr(task, "_lib", None), "_executor", None)
    if isinstance(executor, Executor):
        vars(executor)["submit"] = _run_now


def _with_arrays(method: Any) -> Callable[..., Any]:
    """Return a method of mediapipe's, as a function, that gives an ``ArrayResult`` where it would give its own."""
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
    """Turn mediapipe's own result into arrays, where a version of it does not let us read its C structures."""
    if isinstance(result, ArrayResult):
        return result
    return ArrayResult(
        [np.array([(point.x, point.y, point.z) for point in face], np.float32) for face in result.face_landmarks],
        [np.array([shape.score for shape in face], np.float32) for face in result.face_blendshapes],
        [np.asarray(matrix) for matrix in result.facial_transformation_matrixes],
    )
