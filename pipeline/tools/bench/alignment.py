"""Measures how well crops stay in place: tracks a portrait with known motion and compares.

The motion is a similarity of the whole picture. The true position of every facial point is therefore known, up to a
constant: where the detector puts it on this face.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import cv2
import numpy as np

from tclr.pipeline.faces import open_detector
from tclr.pipeline.tools.synth import load_portraits
from tclr.pipeline.tracking import PeopleTracker, TrackedFrame, cut_crops, without_face
from tclr.pipeline.video import Frame, number_shots
from tclr.schemas.config import AlignConfig, DetectConfig

SIZE_PX = 360
FPS = 25.0
NOISE_STD = 6.0
"""Sensor noise in grey levels, as of a webcam in a dim room."""
CENTRE = np.array([SIZE_PX / 2, SIZE_PX / 2, 1.0])
"""A fixed point of the face: the portrait's centre."""


@dataclass(frozen=True)
class AlignmentRow:
    """The results of one width of smoothing.

    ``jitter_px`` is the standard deviation of a still face's position in the crop; ``error_px`` is the root mean square
    distance from the mean position while it moves; both are in crop pixels. ``lag_ms`` is the delay of the crop.
    """

    smooth_s: float
    jitter_px: float
    error_px: float
    lag_ms: float


def true_motion(n_frames: int, *, moving: bool) -> np.ndarray:
    """Return (n, 2, 3) transforms from the portrait to each frame: still, or shifting, rotating and zooming."""
    phase = 2 * np.pi * np.arange(n_frames) / FPS * moving
    angle, scale = np.radians(6) * np.sin(0.7 * phase), 1 + 0.06 * np.sin(0.4 * phase)
    shift = np.column_stack([25 * np.sin(phase), 12 * np.sin(1.3 * phase)])
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[cosine, -sine], [sine, cosine]]).transpose(2, 0, 1)
    return np.concatenate([matrix, (CENTRE[:2] + shift - matrix @ CENTRE[:2])[..., None]], axis=2)


def _frames(transforms: np.ndarray) -> Iterator[Frame]:
    portrait, rng = load_portraits()[0], np.random.default_rng(0)
    face = cv2.resize(portrait.picture[portrait.head], (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_CUBIC)
    for index, transform in enumerate(transforms):
        image = cv2.warpAffine(face, transform, (SIZE_PX, SIZE_PX), None, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
        noisy = image + rng.normal(0, NOISE_STD, image.shape)
        yield Frame(index, index / FPS, noisy.clip(0, 255).astype(np.uint8))


def _track(transforms: np.ndarray) -> list[TrackedFrame]:
    detect = DetectConfig()
    with closing(open_detector(detect)) as detector:
        detector.n_faces = 1
        tracked = PeopleTracker(detector, detect).track(number_shots(_frames(transforms)))
        return [found.get(0, without_face(frame)) for frame, found in tracked]


def _places(tracked: Sequence[TrackedFrame], transforms: np.ndarray, align: AlignConfig) -> np.ndarray:
    """Return (n, 2) positions of ``CENTRE`` in the crops."""
    return np.array(
        [
            item.transform @ (*transforms[item.tracked.frame.index] @ CENTRE, 1.0)
            for item in cut_crops(tracked, align)
            if item.transform is not None
        ]
    )


def _lag_ms(places: np.ndarray, transforms: np.ndarray, align: AlignConfig) -> float:
    """Return the delay that best explains how ``CENTRE`` moves in the crop.

    If the crop is late, the point slips ahead. To first order the slip is delay x velocity, which a regression solves.
    """
    velocity = np.gradient(transforms @ CENTRE, 1 / FPS, axis=0)
    slip = places - places.mean(axis=0)
    scale = align.size / SIZE_PX
    return float(1000 * (slip * velocity).sum() / (velocity**2).sum() / scale)


def check_alignment(smoothings_s: Sequence[float], *, n_frames: int = 150, size: int = 224) -> list[AlignmentRow]:
    """Measure jitter, error and lag in crops of ``size`` pixels for each value of ``AlignConfig.smooth_s``.

    >>> [row.jitter_px < 2 for row in check_alignment([0, 0.12], n_frames=10)]
    [True, True]
    """
    still, moving = (true_motion(n_frames, moving=flag) for flag in (False, True))
    still_track, moving_track = _track(still), _track(moving)
    rows = []
    for smooth_s in smoothings_s:
        align = AlignConfig(size=size, smooth_s=smooth_s)
        rest, path = _places(still_track, still, align), _places(moving_track, moving, align)
        jitter = float(np.sqrt(rest.var(axis=0).sum()))
        error = float(np.sqrt(path.var(axis=0).sum()))
        rows.append(AlignmentRow(smooth_s, jitter, error, _lag_ms(path, moving, align)))
    return rows
