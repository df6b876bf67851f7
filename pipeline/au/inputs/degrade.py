"""Crops made as poor as real video: coarse, compressed, noisy, smeared, grey, half hidden, with another background.

Rendered and studio faces are sharp and unobstructed. A head trained on them alone relies on details that a webcam does
not show.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

FACE_CENTRE, FACE_RADII = (0.5, 0.56), (0.37, 0.47)
"""The oval of a face in a crop of template ``tclr``, as shares of its side."""
EACH = 0.4
"""Probability of each way for a spoilt crop: two or three together are common."""

Spoil = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def coarsen(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shrink to between a fifth and the whole of the side, and enlarge again."""
    side = len(crop)
    small = max(round(side * rng.uniform(0.2, 1.0)), 8)
    shrunk = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_LINEAR)


def compress(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Encode as JPEG of quality 10 to 80, and decode."""
    quality = int(rng.integers(10, 81))
    data = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB))


def add_noise(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise of up to 16 grey levels, on each channel."""
    noise = rng.standard_normal(crop.shape, np.float32) * rng.uniform(2, 16)
    return (crop + noise).clip(0, 255).astype(np.uint8)


def smear(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur along a line of up to a twelfth of the side, as motion does."""
    length = max(int(rng.uniform(0.02, 0.08) * len(crop)), 2)
    angle = rng.uniform(0, np.pi)
    offsets = np.linspace(-length / 2, length / 2, 2 * length + 1)
    half = length // 2 + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    rows, columns = half + np.rint(offsets * np.sin(angle)), half + np.rint(offsets * np.cos(angle))
    kernel[rows.astype(int), columns.astype(int)] = 1
    return cv2.filter2D(crop, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def remove_colour(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the crop in shades of grey."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def _random_fill(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return an image of one colour, or of large blotches."""
    if rng.random() < 0.5:
        return np.broadcast_to(rng.integers(0, 256, 3, np.uint8), shape)
    cells = rng.integers(0, 256, (4, 4, 3), np.uint8)
    return cv2.resize(cells, shape[1::-1], interpolation=cv2.INTER_CUBIC)


def hide(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw an ellipse over it, like a hand, hair or a microphone: 0.1 to 0.35 of the side in each direction."""
    side = len(crop)
    centre = tuple(int(value) for value in rng.uniform(0, side, 2))
    axes = tuple(int(value) for value in rng.uniform(0.05, 0.18, 2) * side)
    mask = np.zeros(crop.shape[:2], np.uint8)
    cv2.ellipse(mask, centre, axes, rng.uniform(0, 180), 0, 360, 1, -1)
    return np.where(mask[..., None] == 1, _random_fill(crop.shape, rng), crop)


def change_background(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Replace what lies outside the oval of the face, with a soft edge."""
    side = len(crop)
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    (centre_x, centre_y), (radius_x, radius_y) = FACE_CENTRE, FACE_RADII
    radius = np.hypot((x - centre_x) / radius_x, (y - centre_y) / radius_y)
    outside = np.clip((radius - 1) / 0.15, 0, 1)[..., None]
    return (crop * (1 - outside) + _random_fill(crop.shape, rng) * outside).astype(np.uint8)


SPOILS: tuple[Spoil, ...] = (smear, remove_colour, coarsen, add_noise, compress)
"""What a poor camera does, in the order in which it happens."""
WAYS: tuple[Spoil, ...] = (change_background, hide, *SPOILS)
"""In the order in which they happen to a recording."""


def degrade(crops: np.ndarray, share: float, seeds: np.ndarray) -> np.ndarray:
    """Return a copy of (n, S, S, 3) uint8 RGB crops of which a share, 0..1, is spoilt at random.

    What happens to a crop depends on its own one of the (n,) int seeds alone.
    """
    out = crops.copy()
    for place, seed in enumerate(seeds.tolist()):
        rng = np.random.default_rng(seed)
        if rng.random() < share:
            for way in WAYS:
                if rng.random() < EACH:
                    out[place] = way(out[place], rng)
    return out
