"""The protocol of detector backends, and opening the backend that the settings name."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np

from tclr.pipeline.faces.face import Face
from tclr.schemas.config import DetectConfig
from tclr.schemas.errors import SettingError, suggestion

GROUP = "tclr.detectors"


class Detector(Protocol):
    """Finds faces in the frames of one clip. It may keep tracking state, so each clip opens its own."""

    name: str
    """Name that the store records, with the models' versions."""
    n_landmarks: int
    """478 (mediapipe's order), 68 (iBUG's) or 5 (eyes, nose, corners of the mouth); see ``align.TEMPLATES``."""
    blendshape_names: tuple[str, ...]
    """Names of ``Face.blendshapes``; empty if there are none."""
    batch_size: int
    """Best number of frames per call of ``detect``."""
    n_faces: int
    """Most faces that ``detect`` looks for per frame; may be set before its first call."""

    def detect(self, images: Sequence[np.ndarray], timestamps_s: Sequence[float]) -> list[list[Face]]:
        """Return the faces of each of the next frames, (H, W, 3) uint8 RGB; timestamps must not decrease."""
        ...

    def look(self, image: np.ndarray) -> list[Face]:
        """Return the faces of one image, at most ``config.max_faces``, independently of earlier frames."""
        ...

    def score_crop(self, crop: np.ndarray) -> float:
        """Return a face detector's confidence, 0..1, that a crop (S, S, 3) uint8 shows a face.

        It is called only for faces without a ``score``. If cores are idle, a second detector is opened for it alone,
        since no detector is used by two threads.
        """
        ...

    def reset(self) -> None:
        """Forget the frames so far: the next one is unrelated to them."""
        ...

    def close(self) -> None:
        """Free the models."""
        ...


class DetectorFactory(Protocol):
    """The object that an entry point names, usually a class: called as ``factory(config, video=..., n_faces=...)``.

    It may have a function ``prepare(config)`` that finds or fetches its model files, or else raises ``ModelError``.
    ``ensure_models`` calls it; if there is none, it opens a detector instead.
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
            f"Unknown detector {name!r}. Known detectors: {', '.join(sorted(points))}.{suggestion(name, points)} "
            "Install the package that provides it; reinstall tclr if its own are missing."
        )
    try:
        factory: DetectorFactory = points[name].load()
    except (ImportError, AttributeError) as error:
        raise SettingError(
            f"Cannot load detector {name!r} from {points[name].value}: {error}. Reinstall its package."
        ) from error
    return factory


def ensure_models(config: DetectConfig) -> None:
    """Find or fetch the model files of the detector that the settings name, before any worker needs them.

    Raises what ``open_detector`` does.

    >>> from tclr.schemas.config import DetectConfig
    >>> ensure_models(DetectConfig(detector="none"))
    Traceback (most recent call last):
    tclr.schemas.errors.SettingError: Unknown detector 'none'. Known detectors: face-alignment, landmarker, ...
    """
    prepare = getattr(_load_factory(config.detector), "prepare", None)
    if prepare is not None:
        prepare(config)
    else:
        open_detector(config).close()


def open_detector(config: DetectConfig, *, video: bool = True) -> Detector:
    """Open the detector that the settings name; without ``video`` it treats images independently.

    Raises
    ------
    SettingError
        If no installed backend has that name.
    ModelError
        If a model file is missing or damaged.

    Examples
    --------
    >>> from tclr.schemas.config import DetectConfig
    >>> open_detector(DetectConfig()).n_landmarks
    478
    """
    factory = _load_factory(config.detector)
    return factory(config, video=video, n_faces=config.max_faces)


def detect_image(image: np.ndarray, config: DetectConfig | None = None) -> list[Face]:
    """Return the faces of one still image, (H, W, 3) uint8 RGB.

    >>> from PIL import Image
    >>> (face,) = detect_image(np.array(Image.open("clips/2D+3D/F001/T1/0966.jpg")))
    >>> face.landmarks.shape, face.blendshapes.shape
    ((478, 3), (52,))
    """
    with closing(open_detector(config or DetectConfig(), video=False)) as detector:
        return detector.detect([image], [0.0])[0]


def face_triangles() -> np.ndarray:
    """Return the triangles of mediapipe's face mesh, (852, 3) landmark indices; eyes and mouth are left open.

    >>> face_triangles()[0]
    array([127,  34, 139])
    """
    from tclr.pipeline.faces import mediapipe

    return mediapipe.face_triangles()
