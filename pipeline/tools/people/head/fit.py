"""Fits the morphable head to the landmarks of a portrait, so that mesh and photograph coincide.

Two steps. Identity coefficients, rotation, place and focal length come from regularised least squares on 468
landmarks. What is left is taken up by a thin-plate spline in the picture plane, so that contours of lids, lips and
jaw lie exactly where the detector sees them.

Camera coordinates are centimetres: x to the right of the picture, y up, z towards the camera, which is at
``(0, 0, distance)`` and looks along -z. Picture coordinates are pixels, x right and y down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.optimize import approx_fprime
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from tclr.pipeline.tools.people.head.mesh import FaceModel

PORTRAIT_DISTANCE_CM = 160.0
"""Chosen by us: portraits are taken from 1.5 m to 2 m, where perspective changes slowly."""
LANDMARK_NOISE = 0.012
"""Standard deviation of a landmark about its vertex, in face widths: measured on fits, rounded."""
INNER_LIPS = ((78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308))
"""Landmarks of the inner edges of upper and lower lip, from the left of the picture."""
STEPS = 8
CLOSED_GAP = 0.03
"""Lips whose gap is below this share of the face's width count as closed; mediapipe sees gaps of 0.01 there."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera before the head."""

    distance_cm: float
    focal_px: float
    centre_px: tuple[float, float]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return picture coordinates (..., 2) of camera coordinates (..., 3)."""
        scale = self.focal_px / (self.distance_cm - points[..., 2])
        x = self.centre_px[0] + scale * points[..., 0]
        return np.stack([x, self.centre_px[1] - scale * points[..., 1]], axis=-1)

    def lift(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Return the camera coordinates (..., 3) of pixels (..., 2) at ``depth`` z (...) in centimetres."""
        scale = (self.distance_cm - depth) / self.focal_px
        x, y = (pixels - np.array(self.centre_px)).T
        return np.stack([x.T * scale, -y.T * scale, depth], axis=-1)


@dataclass(frozen=True)
class HeadFit:
    """A head that coincides with a photograph when it is seen by ``camera``."""

    camera: Camera
    rotation: np.ndarray
    """(3, 3): from head to camera coordinates in the photograph."""
    offset: np.ndarray
    """(3,) centimetres: where the head's origin is in camera coordinates."""
    coefficients: np.ndarray
    """(K,) identity coefficients in standard deviations."""
    vertices: np.ndarray
    """(V, 3) float32: the neutral head in head coordinates, warped to the photograph."""
    error_px: float
    """Median distance of landmarks and their vertices before the spline."""

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Return the camera coordinates of head coordinates (..., 3) in the photograph."""
        return points @ self.rotation.T + self.offset

    def to_head(self, points: np.ndarray) -> np.ndarray:
        """Return the head coordinates of camera coordinates (..., 3) in the photograph."""
        return (points - self.offset) @ self.rotation


def fit_head(model: FaceModel, landmarks: np.ndarray, centre_px: tuple[float, float]) -> HeadFit:
    """Fit a head to landmarks (478, 2 or more) in pixels of a photograph whose optical axis is at ``centre_px``."""
    points = close_lips(landmarks[:, :2].astype(float))
    known = np.flatnonzero(model.landmarks >= 0)
    fitted = _fit_coefficients(model, points[known], known, centre_px)
    return _warp(fitted, model, points[known], known)


def close_lips(points: np.ndarray) -> np.ndarray:
    """Return landmarks (478, 2) whose inner lips meet, unless they are clearly parted."""
    upper, lower = (list(lip) for lip in INNER_LIPS)
    gaps = np.linalg.norm(points[upper] - points[lower], axis=1)
    if gaps.max() > CLOSED_GAP * np.ptp(points[:468, 0]):
        return points
    closed = points.copy()
    closed[upper] = closed[lower] = (points[upper] + points[lower]) / 2
    return closed


def _fit_coefficients(model: FaceModel, points: np.ndarray, known: np.ndarray, centre: tuple[float, float]) -> HeadFit:
    """Fit pose, focal length and identity coefficients to the known landmarks (n, 2)."""
    rows = model.landmarks[known]
    mean, modes = model.neutral[rows].astype(float), model.identities[:, rows].astype(float)
    width_px = float(np.ptp(points[:, 0]))
    focal_px = width_px / np.ptp(mean[:, 0]) * PORTRAIT_DISTANCE_CM
    middle = Camera(PORTRAIT_DISTANCE_CM, focal_px, centre).lift(points.mean(0), np.zeros(()))[:2] - mean.mean(0)[:2]

    def unpack(values: np.ndarray) -> tuple[Camera, np.ndarray, np.ndarray, np.ndarray]:
        camera = Camera(PORTRAIT_DISTANCE_CM, focal_px * float(np.exp(values[5])), centre)
        offset = np.array([values[3], values[4], 0.0])
        return camera, Rotation.from_rotvec(values[:3]).as_matrix(), offset, values[6:]

    def place(values: np.ndarray) -> tuple[Camera, np.ndarray]:
        camera, rotation, offset, coefficients = unpack(values)
        shape = mean + np.tensordot(coefficients, modes, 1)
        return camera, shape @ rotation.T + offset

    def residuals(values: np.ndarray) -> np.ndarray:
        camera, placed = place(values)
        misses = (camera.project(placed) - points) / (LANDMARK_NOISE * width_px)
        return np.concatenate([misses.ravel(), values[6:]])

    start = np.concatenate([np.zeros(3), middle, [0.0], np.zeros(len(modes))])
    values = _gauss_newton(residuals, start)
    camera, rotation, offset, coefficients = unpack(values)
    _, placed = place(values)
    error_px = float(np.median(np.linalg.norm(camera.project(placed) - points, axis=1)))
    vertices = model.neutral + np.tensordot(coefficients.astype(np.float32), model.identities, 1)
    return HeadFit(camera, rotation, offset, coefficients, vertices, error_px)


def _gauss_newton(residuals: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """Return the values (n,) that minimise the sum of squared residuals; the prior on coefficients keeps it tame."""
    for _ in range(STEPS):
        slopes = approx_fprime(values, residuals, 1e-5)
        misses = residuals(values)
        step = np.linalg.solve(slopes.T @ slopes + 1e-9 * np.eye(len(values)), slopes.T @ misses)
        values = values - step
        if np.abs(step).max() < 1e-4:
            break
    return values


def _warp(fitted: HeadFit, model: FaceModel, points: np.ndarray, known: np.ndarray) -> HeadFit:
    """Move all vertices in the picture plane so that the known landmarks (n, 2) lie on their vertices."""
    placed = fitted.to_camera(fitted.vertices)
    pixels = fitted.camera.project(placed)
    at = pixels[model.landmarks[known]]
    _, first = np.unique(model.landmarks[known], return_index=True)
    spline = RBFInterpolator(at[first], (points - at)[first], kernel="thin_plate_spline", smoothing=1.0)
    shift = spline(pixels) * _fade(pixels, at, 0.12 * np.ptp(points[:, 0]))[:, None]
    placed = fitted.camera.lift(pixels + shift, placed[:, 2])
    vertices = fitted.to_head(placed).astype(np.float32)
    return HeadFit(fitted.camera, fitted.rotation, fitted.offset, fitted.coefficients, vertices, fitted.error_px)


def _fade(pixels: np.ndarray, known: np.ndarray, reach_px: float) -> np.ndarray:
    """Return weights (V,) that fall from 1 at known points (n, 2) to 0 far beyond ``reach_px``."""
    distance, _ = cKDTree(known).query(pixels)
    return np.exp(-((distance / reach_px) ** 2))
