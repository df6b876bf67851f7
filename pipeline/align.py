"""Similarity transform from landmarks to the template, and the warp that cuts the crop.

The transform is the least-squares similarity of Umeyama, "Least-squares estimation of transformation parameters
between two point patterns", IEEE PAMI 1991, from four points that facial action hardly moves: the two eyes, the
tip of the nose and the centre of the mouth.
"""

from __future__ import annotations

import cv2
import numpy as np

from tclr.schemas.errors import InputError

TEMPLATE = np.array([[0.335, 0.40], [0.665, 0.40], [0.50, 0.575], [0.50, 0.725]])
"""Left eye, right eye (as seen in the picture), nose tip, mouth centre, as shares of the crop's side; chosen by
us so that the crop shows brows to chin, also with the jaw dropped, with a little room around."""

ANCHORS: dict[int, tuple[tuple[int, ...], ...]] = {
    478: ((33, 133), (362, 263), (1,), (61, 291)),
    68: ((36, 39), (42, 45), (30,), (48, 54)),
}
"""Landmark indices whose mean gives each template point, by number of landmarks: eye corners, nose tip, mouth
corners. The corners of eyes and mouth are averaged, so that neither a blink nor a smile moves the crop."""

COARSE = 0.5
"""Downscaling beyond this factor is done in two steps, averaging first, so that the crop does not alias."""


def anchor_points(landmarks: np.ndarray) -> np.ndarray:
    """Return the four alignment points of one face.

    Parameters
    ----------
    landmarks : ndarray
        (K, 2 or 3), K = 478 (mediapipe) or 68 (face-alignment).

    Returns
    -------
    ndarray
        (4, 2) float64, source pixels, in the order of ``TEMPLATE``.

    Raises
    ------
    InputError
        If K is neither.
    """
    if len(landmarks) not in ANCHORS:
        known = " or ".join(str(number) for number in sorted(ANCHORS))
        raise InputError(f"Expected {known} landmarks a face, but got {len(landmarks)}.")
    points = landmarks[:, :2].astype(np.float64)
    return np.stack([points[list(group)].mean(axis=0) for group in ANCHORS[len(landmarks)]])


def fit_similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the similarity transform that takes source points nearest to target points.

    Parameters
    ----------
    source, target : ndarray
        (n, 2) points, n >= 2, not all the same.

    Returns
    -------
    ndarray
        (2, 3) float64 ``[s R | t]``: rotation and positive scale, no reflection (Umeyama 1991, eq. 40 to 43).
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    x, y = source - source_mean, target - target_mean
    u, singular, vt = np.linalg.svd(y.T @ x / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = (singular * sign).sum() / (x**2).sum() * len(source)
    matrix = scale * rotation
    return np.column_stack([matrix, target_mean - matrix @ source_mean])


def align_transform(landmarks: np.ndarray, size: int, margin: float) -> np.ndarray:
    """Return the transform from source pixels to crop pixels of one face.

    Parameters
    ----------
    landmarks : ndarray
        (K, 2 or 3) source pixels.
    size : int
        Crop side in pixels.
    margin : float
        Zoom out around the crop's centre; 1 is the template as it is.

    Returns
    -------
    ndarray
        (2, 3) float64.
    """
    target = ((TEMPLATE - 0.5) / margin + 0.5) * size
    return fit_similarity(anchor_points(landmarks), target)


def warp_crop(image: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """Cut the crop.

    Parameters
    ----------
    image : ndarray
        (H, W, 3) uint8.
    transform : ndarray
        (2, 3) source pixel to crop pixel.
    size : int
        Crop side in pixels.

    Returns
    -------
    ndarray
        (size, size, 3) uint8, black outside the image.
    """
    scale = float(np.sqrt(abs(np.linalg.det(transform[:, :2]))))
    if scale < COARSE:
        image, transform = _shrink(image, transform, size, int(1 / scale))
    return cv2.warpAffine(image, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _shrink(image: np.ndarray, transform: np.ndarray, size: int, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Average ``factor`` x ``factor`` pixels of the part that the crop needs; return it and its transform."""
    inverse = cv2.invertAffineTransform(transform)
    corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) @ inverse[:, :2].T + inverse[:, 2]
    height, width = image.shape[:2]
    x0, y0 = np.clip(np.floor(corners.min(axis=0)).astype(int) - factor, 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(corners.max(axis=0)).astype(int) + factor, (x0 + 1, y0 + 1), (width, height))
    part = image[y0:y1, x0:x1]
    small_size = (max(1, (x1 - x0) // factor), max(1, (y1 - y0) // factor))
    small = cv2.resize(part, small_size, interpolation=cv2.INTER_AREA)
    step = np.array([(x1 - x0) / small_size[0], (y1 - y0) / small_size[1]])
    # pixel centres: source = (small + 0.5) * step - 0.5 + origin
    offset = np.array([x0, y0]) + 0.5 * step - 0.5
    matrix = transform[:, :2] * step
    return small, np.column_stack([matrix, transform[:, :2] @ offset + transform[:, 2]])


def compute_sharpness(crop: np.ndarray) -> float:
    """Return the variance of the Laplacian of a crop's grey levels; motion blur and upscaling bring it down.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000. Only crops of one size
    compare.
    """
    return float(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())
