"""Furrows that actions dig into the skin: lines of light and shade, of random depth and detail per person.

A map is (SIZE_PX, SIZE_PX) float32 over the box of the face in the photograph: below 0 in the furrow, above 0 on the
fold that rises beside it. Groups of action units deepen a map; where they are on the face follows FACS (Ekman, Friesen
and Hager, "Facial Action Coding System", 2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

SIZE_PX = 512
Point = int | tuple[int, int]


@dataclass(frozen=True)
class Group:
    """Furrows that deepen together. Paths run through landmarks; a pair counts as their midpoint."""

    actions: tuple[tuple[int, float], ...]
    """Action units, and how much of the furrow each makes."""
    paths: tuple[tuple[Point, ...], ...]
    width: float
    """Of a line, in face widths."""
    depth: float
    spread: float = 0.022
    """Standard deviation of the finer lines' distance from the main one, in face widths."""


GROUPS: tuple[Group, ...] = (
    Group(((1, 0.9), (2, 0.25)), (((66, 69), (107, 108), (9, 151), (336, 337), (296, 299)),), 0.008, 0.30, 0.06),
    Group(
        ((2, 0.9), (1, 0.15)),
        (((63, 68), (105, 104), (66, 69)), ((293, 298), (334, 333), (296, 299))),
        0.008,
        0.30,
        0.05,
    ),
    Group(
        ((4, 1.0), (9, 0.3)),
        (((107, 9), (55, 9), (193, 8)), ((336, 9), (285, 9), (417, 8)), ((55, 107), (55, 8)), ((285, 336), (285, 8))),
        0.009,
        0.34,
    ),
    Group(
        ((6, 0.9), (7, 0.35), (12, 0.15)),
        (
            (130, 35, (143, 111)), (130, (226, 35), 143), (130, 25, 31, 228, 229, 230, 231),
            (359, 265, (372, 340)), (359, (446, 265), 372), (359, 255, 261, 448, 449, 450, 451),
        ),
        0.007,
        0.26,
    ),
    Group(
        ((9, 1.0), (10, 0.1)),
        (
            (193, (122, 193), 122), (417, (351, 417), 351), (188, (196, 174), (196, 6)), (412, (419, 399), (419, 6)),
            (55, 193, 245), (285, 417, 465),
        ),
        0.008,
        0.30,
    ),
    Group(
        ((12, 0.8), (10, 0.8), (6, 0.2), (9, 0.3)),
        ((129, 203, 206, 216, 212), (358, 423, 426, 436, 432)),
        0.012,
        0.30,
    ),
    Group(
        ((14, 1.0), (15, 0.7), (24, 0.3), (20, 0.3)),
        (((57, 186), (57, 212), (43, 202)), ((287, 410), (287, 432), (273, 422))),
        0.012,
        0.32,
    ),
    Group(
        ((17, 1.0), (15, 0.2), (24, 0.3)),
        ((182, (83, 201), (18, 200), (313, 421), 406), (208, (199, 200), 428), (171, 199, 396)),
        0.010,
        0.28,
    ),
)  # fmt: skip
"""Eight groups: forehead, its sides, between the brows, round the eyes, nose, nose to mouth, mouth corners, chin."""


@dataclass(frozen=True)
class Furrows:
    """The furrows of a person."""

    maps: np.ndarray
    """(8, SIZE_PX, SIZE_PX) float32, from -1 to 1."""
    box: tuple[float, float, float, float]
    """x0 y0 x1 y1 of the maps in the photograph, 0..1."""

    def weigh(self, intensities: dict[int, np.ndarray]) -> np.ndarray:
        """Return how deep each map is, (8, 2) float32 by side, from the intensities (2,) of action units."""
        deep = [sum(share * intensities[au] for au, share in group.actions) for group in GROUPS]
        return np.clip(np.stack(deep), 0, 1).astype(np.float32)


def draw_furrows(landmarks: np.ndarray, size_px: tuple[int, int], rng: np.random.Generator) -> Furrows:
    """Draw the furrows of a person with landmarks (478, 2 or more) in a picture of width and height ``size_px``."""
    points = landmarks[:468, :2].astype(float)
    low, high = points.min(0), points.max(0)
    margin = 0.12 * (high - low)
    low, high = low - margin, high + margin
    unit_px = SIZE_PX / (high - low).max()
    low = (low + high) / 2 - SIZE_PX / unit_px / 2
    age = rng.uniform(0.15, 1.0)
    maps = np.stack([_draw((points - low) * unit_px, group, age, rng) for group in GROUPS])
    x0, y0 = low / size_px
    x1, y1 = (low + SIZE_PX / unit_px) / size_px
    return Furrows(maps.astype(np.float32), (float(x0), float(y0), float(x1), float(y1)))


def _draw(points: np.ndarray, group: Group, age: float, rng: np.random.Generator) -> np.ndarray:
    """Return the map of one group for points (468, 2) in the map's pixels."""
    width_px = float(np.ptp(points[:, 0]))
    canvas = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    for path in group.paths:
        line = np.array([points[list(point) if isinstance(point, tuple) else [point]].mean(0) for point in path])
        _draw_line(canvas, line, group.width * width_px * rng.uniform(0.6, 1.4), rng.uniform(0.5, 1.0), rng)
        for _ in range(rng.integers(0, 1 + round(2 * age))):  # finer lines beside it
            beside = (
                line
                + rng.normal(0, group.spread * width_px, (1, 2)) * [0.3, 1]
                + rng.normal(0, 0.004 * width_px, line.shape)
            )
            _draw_line(canvas, beside, group.width * width_px * rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.6), rng)
    relief = canvas - 0.55 * np.roll(
        cv2.GaussianBlur(canvas, (0, 0), 0.012 * width_px), round(0.014 * width_px), axis=0
    )
    return np.clip(-relief * group.depth * (0.7 + 1.6 * age) * rng.uniform(0.6, 1.3), -1, 1)


def _draw_line(canvas: np.ndarray, line: np.ndarray, width_px: float, depth: float, rng: np.random.Generator) -> None:
    """Draw a soft line with thinning ends through points (n, 2), in place."""
    along = np.linspace(0, len(line) - 1, 40)
    smooth = np.stack([np.interp(along, np.arange(len(line)), line[:, k]) for k in range(2)], axis=1)
    smooth = cv2.blur(smooth.astype(np.float32), (1, 9), borderType=cv2.BORDER_REPLICATE)
    smooth += ndimage.gaussian_filter1d(rng.normal(0, width_px, smooth.shape), 5, axis=0)
    fade = np.sin(np.linspace(0.15, np.pi - 0.15, 40)) ** 0.7
    layer = np.zeros_like(canvas)
    for start, end, share in zip(smooth[:-1], smooth[1:], fade[:-1], strict=True):
        cv2.line(
            layer,
            (16 * start).astype(int).tolist(),
            (16 * end).astype(int).tolist(),
            float(share),
            max(1, round(width_px / 2)),
            cv2.LINE_AA,
            4,
        )
    np.maximum(canvas, depth * cv2.GaussianBlur(layer, (0, 0), width_px / 2), out=canvas)
