"""The protocol of a detector backend, and how the backend that the settings name is found and opened."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np

from tclr.pipeline.faces.face import Face
from tclr.schemas.config import DetectConfig
from tclr.schemas.errors import SettingError

GROUP = "tclr.detectors"


class Detector(Protocol):
    """Finds faces in the frames of one clip; may hold the state of tracking, so each clip opens its own."""

    name: str
    """As the store records it, with the models' versions."""
    n_landmarks: int
    """478, 68 or 5, in the order of mediapipe, iBUG or eyes, nose, corners of the mouth (``align.TEMPLATES``)."""
    blendshape_names: tuple[str, ...]
    """Names of ``Face.blendshapes``; empty if there are none."""
    batch_size: int
    """Frames that ``detect`` is best given at once."""
    n_faces: int
    """Most faces that ``detect`` looks for in a frame; may be set before its first call."""

    def detect(self, images: Sequence[np.ndarray], timestamps_s: Sequence[float]) -> list[list[Face]]:
        """Return the faces of each of the next frames, (H, W, 3) uint8 RGB; timestamps must not fall."""
        ...

    def look(self, image: np.ndarray) -> list[Face]:
        """Return the faces of one image, at most ``config.max_faces``, whatever the frames before it."""
        ...

    def score_crop(self, crop: np.ndarray) -> float:
        """Return how sure a face detector is, 0..1, that a crop (S, S, 3) uint8 shows a face.

        Asked only for faces that have no ``score`` of their own. Where cores are idle a second detector is opened
        for it, whose ``detect`` is never called: no detector is used by two threads.
        """
        ...

    def reset(self) -> None:
        """Forget the frames so far: the next one has nothing to do with them."""
        ...

    def close(self) -> None:
        """Free the models."""
        ...


class DetectorFactory(Protocol):
    """What an entry point names, a class as a rule: called as ``factory(config, video=..., n_faces=...)``.

    It may have a function ``prepare(config)`` that finds or fetches its model files and raises ``ModelError`` if it
    cannot; ``ensure_models`` calls it, and without it opens a detector to see.
    """

    def __call__(self, config: DetectConfig, *, video: bool, n_faces: int) -> Detector:
        """Open a detector; see ``open_detector``."""
        ...


def known_detectors() -> list[str]:
    """Return the names of all installed backends, sorted."""
    return sorted(point.name for point in entry_points(group=GROUP))


def _load_factory(name: str) -> DetectorFactory:
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise SettingError(
            f"Unknown detector {name!r}. Known detectors: {', '.join(sorted(points))}. "
            "Install the package that brings it (tclr's own again, if they are missing)."
        )
    try:
        factory: DetectorFactory = points[name].load()
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"Cannot load detector {name!r} from {points[name].value}: {error}. Install its package again."
        ) from error
    return factory


def ensure_models(config: DetectConfig) -> None:
    """Find the model files of the detector that the settings name, or fetch them, before any worker needs them.

    Raises what ``open_detector`` does.
    """
    prepare = getattr(_load_factory(config.detector), "prepare", None)
    if prepare is not None:
        prepare(config)
    else:
        open_detector(config).close()


def open_detector(config: DetectConfig, *, video: bool = True) -> Detector:
    """Open the detector that the settings name; without ``video`` it treats each image on its own.

    Raises
    ------
    SettingError
        If no installed backend has that name.
    ModelError
        If a model file is missing or damaged.
    """
    factory = _load_factory(config.detector)
    return factory(config, video=video, n_faces=config.max_faces)


def detect_image(image: np.ndarray, config: DetectConfig | None = None) -> list[Face]:
    """Return the faces of one still image, (H, W, 3) uint8 RGB."""
    with closing(open_detector(config or DetectConfig(), video=False)) as detector:
        return detector.detect([image], [0.0])[0]


def face_triangles() -> np.ndarray:
    """Return the triangles of mediapipe's face mesh, (852, 3) landmark indices; eyes and mouth are left open."""
    from tclr.pipeline.faces import mediapipe

    return mediapipe.face_triangles()
