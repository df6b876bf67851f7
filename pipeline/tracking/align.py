"""Similarity transform from landmarks to the template, and the warp that cuts the crop.

The transform is the least-squares similarity of Umeyama, "Least-squares estimation of transformation parameters
between two point patterns", IEEE PAMI 1991, from points that facial action hardly moves: eyes, nose and mouth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from tclr.schemas.errors import InputError

EYES_NOSE = {478: ((33, 133), (362, 263), (1,)), 68: ((36, 39), (42, 45), (30,)), 5: ((0,), (1,), (2,))}
"""Landmark indices, by number of landmarks, whose means are the left eye, the right eye (as seen in the picture) and
the tip of the nose. The corners of an eye are averaged, so that a blink does not move the crop."""
MOUTH = {478: (61, 291), 68: (48, 54), 5: (3, 4)}
"""Left and right corner of the mouth."""


@dataclass(frozen=True)
class Template:
    """Positions of a crop's alignment points."""

    points: np.ndarray
    """(n, 2): x and y as fractions of the crop's side."""
    groups: dict[int, tuple[tuple[int, ...], ...]]
    """By number of landmarks, the one or two indices whose mean is each point."""

    @cached_property
    def indices(self) -> dict[int, np.ndarray]:
        """``groups`` as (n, 2) arrays; a single landmark appears twice."""
        return {number: np.array([(group[0], group[-1]) for group in groups]) for number, groups in self.groups.items()}


TEMPLATES = {
    "tclr": Template(
        # brows to chin, even with the jaw dropped, and a little room around; the corners of the mouth are averaged, so
        # that a smile does not move the crop
        np.array([[0.335, 0.40], [0.665, 0.40], [0.50, 0.575], [0.50, 0.725]]),
        {number: (*EYES_NOSE[number], MOUTH[number]) for number in EYES_NOSE},
    ),
    "arcface": Template(
        # InsightFace's template of 112 pixels, as ArcFace uses it (Deng et al., CVPR 2019)
        np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
        / 112,
        {number: (*EYES_NOSE[number], *((corner,) for corner in MOUTH[number])) for number in EYES_NOSE},
    ),
}

SAME_TIME_SIGMAS = 0.01
"""Times closer than this fraction of the smoothing width count as one when a parabola is fitted."""
COARSE_SCALE = 0.5
"""Below this scale pixels are averaged before they are warped, so that the crop does not alias."""


def anchor_points(landmarks: np.ndarray, template: Template) -> np.ndarray:
    """Return the alignment points (n, 2) float64 of one face, in source pixels and the template's order.

    Landmarks are (K, 2 or 3), K = 478 (mediapipe), 68 (face-alignment) or 5 (eyes, nose, corners of the mouth).
    """
    if len(landmarks) not in template.groups:
        known = " or ".join(str(number) for number in sorted(template.groups))
        raise InputError(f"Expected {known} landmarks per face, but got {len(landmarks)}.")
    return landmarks[template.indices[len(landmarks)], :2].astype(np.float64).mean(axis=1)


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the similarity transform (2, 3) float64 that maps source points closest to target points.

    Points are (n, 2), at least two and not all the same. The transform is ``[s R | t]``: rotation and positive scale,
    no reflection. In complex numbers it is z -> c z + t, and the least-squares c is a quotient of two sums, which
    equals Umeyama's eq. 40 to 43.
    """
    z, target_z = ([complex(x, y) for x, y in points.tolist()] for points in (source, target))
    mean, target_mean = sum(z) / len(z), sum(target_z) / len(z)
    size = sum(abs(point - mean) ** 2 for point in z)
    c = sum((point - mean).conjugate() * (to - target_mean) for point, to in zip(z, target_z, strict=True)) / size
    t = target_mean - c * mean
    return np.array([[c.real, -c.imag, t.real], [c.imag, c.real, t.imag]])


def points_transform(points: np.ndarray, template: Template, size: int, margin: float) -> np.ndarray:
    """Return the transform (2, 3) float64 from source pixels to the pixels of a crop of side ``size``.

    It maps alignment points (n, 2) of ``anchor_points`` closest to the template. ``margin`` zooms out around the crop's
    centre; 1 leaves the template unchanged.
    """
    # pixel centres are whole numbers, so a crop of S pixels spans -0.5 to S - 0.5
    target = ((template.points - 0.5) / margin + 0.5) * size - 0.5
    return fit_similarity(points, target)


def align_transform(landmarks: np.ndarray, template: Template, size: int, margin: float) -> np.ndarray:
    """Return one face's transform from source pixels to crop pixels, unsmoothed; see ``points_transform``."""
    return points_transform(anchor_points(landmarks, template), template, size, margin)


def compute_side(landmarks: np.ndarray) -> float:
    """Return the number of source pixels that one side of a face's crop with margin 1 spans."""
    unit = align_transform(landmarks, TEMPLATES["tclr"], 1, 1.0)
    return float(1 / np.hypot(*unit[:, 0]))


def smooth_points(times_s: np.ndarray, points: np.ndarray, at_s: float, sigma_s: float) -> np.ndarray:
    """Return the smoothed points at a time, from a parabola fitted to them with Gaussian weights around that time.

    The fit is local-quadratic (Cleveland, "Robust locally weighted regression", JASA 1979). It has no lag and averages
    jitter away. It keeps constant speed and acceleration exactly, even at the ends of a track.

    Points are (m, n, 2) at times (m,), which never decrease and include ``at_s``; the result is (n, 2). ``sigma_s`` is
    the width of the Gaussian.
    """
    offset = (times_s - at_s) / sigma_s
    n_times = 1 + int(np.count_nonzero(np.diff(offset) > SAME_TIME_SIGMAS))  # a parabola needs three
    powers = offset ** np.arange(min(3, n_times))[:, None]
    weighted = powers * np.exp(-0.5 * offset**2)
    kernel = np.linalg.solve(weighted @ powers.T, weighted)[0]  # the fit's value at offset 0
    return (kernel @ points.reshape(len(points), -1)).reshape(points.shape[1:])


def warp_crop(image: np.ndarray, transform: np.ndarray, size: int, reduction: int = 1) -> np.ndarray:
    """Cut the crop (size, size, 3) uint8 out of an image (H, W, 3); it is black outside the image.

    The transform maps source pixels to crop pixels. ``reduction`` is the number of source pixels per pixel of the
    image: 2 if it was decoded at half size.
    """
    if reduction > 1:  # pixel centres: source = (pixel + 0.5) * reduction - 0.5
        shift = transform[:, :2] @ np.full(2, 0.5 * reduction - 0.5) + transform[:, 2]
        transform = np.column_stack([transform[:, :2] * reduction, shift])
    scale = math.sqrt(abs(transform[0, 0] * transform[1, 1] - transform[0, 1] * transform[1, 0]))
    part, transform = _cut_part(image, transform, size, int(1 / scale) if scale < COARSE_SCALE else 1)
    # OpenCV warps four channels twice as fast as three
    warped = cv2.warpAffine(cv2.cvtColor(part, cv2.COLOR_RGB2RGBA), transform, (size, size), flags=cv2.INTER_LINEAR)
    return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)


def _cut_part(image: np.ndarray, transform: np.ndarray, size: int, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the part that the crop needs, averaged over ``factor`` x ``factor`` pixels, and its transform."""
    (xx, xy, left), (yx, yy, top) = cv2.invertAffineTransform(transform).tolist()
    right, bottom = left + size * (max(xx, 0) + max(xy, 0)), top + size * (max(yx, 0) + max(yy, 0))
    left, top = left + size * (min(xx, 0) + min(xy, 0)), top + size * (min(yx, 0) + min(yy, 0))
    height, width = image.shape[:2]
    x0, y0 = min(max(int(left) - 1 - factor, 0), width - 1), min(max(int(top) - 1 - factor, 0), height - 1)
    x1, y1 = min(max(int(right) + 2 + factor, x0 + 1), width), min(max(int(bottom) + 2 + factor, y0 + 1), height)
    part, x_step, y_step = image[y0:y1, x0:x1], 1.0, 1.0
    if factor > 1:
        small = max(1, (x1 - x0) // factor), max(1, (y1 - y0) // factor)
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
        x_step, y_step = (x1 - x0) / small[0], (y1 - y0) / small[1]
    # pixel centres: source = (part + 0.5) * step - 0.5 + origin
    to_source = np.array([[x_step, 0, x0 + 0.5 * x_step - 0.5], [0, y_step, y0 + 0.5 * y_step - 0.5], [0, 0, 1]])
    return part, transform @ to_source


def compute_sharpness(crop: np.ndarray) -> float:
    """Return the variance of the Laplacian of a crop's grey levels; motion blur and upscaling lower it.

    Only crops of the same size are comparable. Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield
    microscopy", ICPR 2000.
    """
    laplacian = cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_16S)  # whole numbers below 1021: exact
    return float(cv2.meanStdDev(laplacian)[1].item() ** 2)
