"""Things drawn before faces, and what of each region they leave visible.

A layer is (H, W, 4) float32, 0..255: colour times opacity, and opacity. Landmarks are mediapipe's, (478, 2), in pixels
of the picture. Beards, clear glasses and shadows hide nothing: a judge of visibility must learn to see past them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from tclr.pipeline.tools.people import REGIONS, SPRITE_PX, UNIT_PX, paint_sprite

LIDS = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380))
"""Landmarks around each eye."""
MASK_TOP = {"nose": (234, 117, 6, 346, 454), "mouth": (132, 147, 2, 376, 361)}
"""Upper edges of masks, from ear to ear: over the bridge of the nose, or below the tip."""
JAW = (454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234)
SKIN_AT = ((0.50, 0.22), (0.27, 0.62), (0.73, 0.62))
"""Forehead and cheeks in a crop of template ``tclr``, as shares of its side."""
SPRITES = ("hand", "microphone", "cup", "telephone")


@dataclass(frozen=True)
class Paints:
    """What things are painted with: (n, S, S, 3) uint8 crops of faces for skin, and sprites by kind."""

    crops: np.ndarray
    sprites: dict[str, list[np.ndarray]]

    @classmethod
    def prepare(cls, crops: np.ndarray, count: int, rng: np.random.Generator) -> Paints:
        """Paint ``count`` sprites of each kind, hands in the skin of some of the crops."""

        def paint(kind: str) -> np.ndarray:
            return paint_sprite(kind, skin_of(crops[rng.integers(len(crops))], rng) * rng.uniform(0.5, 1.1), rng)

        return cls(crops, {kind: [paint(kind) for _ in range(count)] for kind in SPRITES})


def skin_of(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the mean colour (3,) of a crop's forehead or of a cheek."""
    return _skin_patch(crop, rng).reshape(-1, 3).mean(axis=0)


def _skin_patch(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side, (x, y) = len(crop), SKIN_AT[rng.integers(len(SKIN_AT))]
    half, left, top = side // 16, int(x * side), int(y * side)
    return crop[top - half : top + half, left - half : left + half].astype(np.float32)


def fill(shape: tuple[int, int], paints: Paints, rng: np.random.Generator) -> np.ndarray:
    """Return a picture (H, W, 3) float32 of skin, cloth, paper or whatever else, with light from one side."""
    size = shape[1], shape[0]
    out: np.ndarray
    kind = rng.choice(["skin", "patch", "plain", "blotches", "stripes", "grain"], p=[0.3, 0.15, 0.2, 0.15, 0.1, 0.1])
    if kind == "patch":
        out = cv2.resize(_skin_patch(paints.crops[rng.integers(len(paints.crops))], rng), size)
    elif kind == "blotches":
        cells = rng.uniform(0, 256, (*rng.integers(2, 9, 2), 3)).astype(np.float32)
        out = cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR)
    else:
        is_skin = kind in ("skin", "grain")
        of = paints.crops[rng.integers(len(paints.crops))]
        colour = skin_of(of, rng) * rng.uniform(0.5, 1.15) if is_skin else rng.uniform(0, 256, 3)
        out = np.full((*shape, 3), colour, np.float32)
    if kind == "stripes":
        out = out * (1 + rng.uniform(0.1, 0.6) * np.sign(_wave(shape, rng)))[..., None]
    if kind == "grain":
        out = out + cv2.GaussianBlur(rng.normal(0, 60, out.shape).astype(np.float32), (0, 0), rng.uniform(0.5, 2))
    for _ in range(rng.integers(0, 4)):  # folds and creases
        out = out * (1 - rng.uniform(0, 0.4) * np.exp(-((_wave(shape, rng) / rng.uniform(0.05, 0.5)) ** 2)))[..., None]
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    light = 1 + rng.normal(0, 0.15) * x + rng.normal(0, 0.15) * y
    return np.clip(out * light[..., None], 0, 255).astype(np.float32)


def _wave(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a bent wave (H, W), -1..1, across a random direction."""
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    angle, bend = rng.uniform(0, np.pi), rng.normal(0, 1.0)
    along = x * np.cos(angle) + y * np.sin(angle) + bend * (x - 0.5) * (y - 0.5)
    return np.sin(2 * np.pi * (rng.uniform(0.5, 6) * along + rng.random()))


def _polygon(shape: tuple[int, int], points: np.ndarray, soft_px: float = 0.0) -> np.ndarray:
    """Return the opacity (H, W) float32, 0..1, of a polygon (n, 2)."""
    mask = np.zeros(shape, np.float32)
    cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    return cv2.GaussianBlur(mask, (0, 0), soft_px) if soft_px > 0.2 else mask


def _layer(colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return np.dstack([colours * opacity[..., None], 255 * opacity]).astype(np.float32)


def _width(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[454] - landmarks[234]))


def _target(landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a point on or near a region of the face; the mouth is half of them."""
    name = rng.choice(list(REGIONS), p=[0.1, 0.2, 0.1, 0.45, 0.15])
    points = landmarks[list(REGIONS[name])]
    middle = points.mean(axis=0) if rng.random() < 0.6 else points[rng.integers(len(points))]
    return middle + rng.normal(0, 0.12, 2) * _width(landmarks)


def _sprite(
    kind: str, shape: tuple[int, int], landmarks: np.ndarray, paints: Paints, rng: np.random.Generator
) -> np.ndarray:
    sprite = paints.sprites[kind][rng.integers(len(paints.sprites[kind]))]
    scale = _width(landmarks) / UNIT_PX * rng.uniform(0.75, 1.4)
    turn = rng.normal(0, 0.8) if kind == "hand" else rng.normal(0, 0.35)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
    matrix[:, 2] = _target(landmarks, rng) - matrix[:, :2] @ np.full(2, SPRITE_PX / 2)
    return cv2.warpAffine(sprite, matrix, shape[::-1], flags=cv2.INTER_AREA)


def _blob(shape: tuple[int, int], landmarks: np.ndarray, paints: Paints, rng: np.random.Generator) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = 1 + sum(rng.normal(0, 0.35 / n) * np.cos(n * angle + rng.uniform(0, 6.3)) for n in range(2, 6))
    outline = np.stack([np.cos(angle), np.sin(angle)], 1) * np.clip(radius, 0.2, 2)[:, None]
    turn = rng.uniform(0, np.pi)
    outline = outline * rng.uniform(0.5, 1.0, 2) @ [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    points = _target(landmarks, rng) + outline * _width(landmarks) * rng.uniform(0.15, 0.5)
    return _layer(fill(shape, paints, rng), _polygon(shape, points, rng.uniform(0, 0.02) * shape[0]))


def _sheet(shape: tuple[int, int], landmarks: np.ndarray, paints: Paints, rng: np.random.Generator) -> np.ndarray:
    half = _width(landmarks) * rng.uniform(0.12, 0.6, 2)
    turn = rng.normal(0, 0.5)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    corners = corners @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    points = _target(landmarks, rng) + corners
    return _layer(fill(shape, paints, rng), _polygon(shape, points, rng.uniform(0, 0.01) * shape[0]))


def _mask(shape: tuple[int, int], landmarks: np.ndarray, paints: Paints, rng: np.random.Generator) -> np.ndarray:
    """Return a mask over mouth and chin, mostly over the nose, too; or a scarf, which reaches below the picture."""
    width = _width(landmarks)
    top = landmarks[list(MASK_TOP["nose" if rng.random() < 0.75 else "mouth"])]
    below = landmarks[list(JAW)][1:-1] + [0, 0.04 * width]
    if rng.random() < 0.25:
        below = np.array([[shape[1] * 1.5, shape[0] * 1.5], [-0.5 * shape[1], shape[0] * 1.5]])
    top = top + rng.normal(0, 0.05, 2) * width + rng.normal(0, 0.015, top.shape) * width
    points = np.concatenate([top, below])
    return _layer(fill(shape, paints, rng), _polygon(shape, points, rng.uniform(0, 0.01) * shape[0]))


def _lenses(landmarks: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Return the outlines of both lenses: superellipses around the eyes, turned with the face."""
    across = landmarks[263] - landmarks[33]
    across = across / np.linalg.norm(across)
    axes = np.stack([across, [-across[1], across[0]]])
    half = _width(landmarks) * np.array([rng.uniform(0.15, 0.22), rng.uniform(0.09, 0.17)])
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    unit = np.stack([np.cos(angle), np.sin(angle)], 1)
    outline = (np.sign(unit) * np.abs(unit) ** (2 / rng.uniform(2, 4)) * half) @ axes
    drop = axes[1] * rng.uniform(-0.02, 0.05) * _width(landmarks)
    return [landmarks[list(eye)].mean(axis=0) + drop + outline for eye in LIDS]


def _sunglasses(shape: tuple[int, int], landmarks: np.ndarray, paints: Paints, rng: np.random.Generator) -> np.ndarray:
    lenses = _lenses(landmarks, rng)
    opacity = np.maximum(*(_polygon(shape, lens, 0.4) for lens in lenses)) * rng.uniform(0.85, 1)
    left, right = (np.rint(lens.mean(axis=0)).astype(int).tolist() for lens in lenses)
    cv2.line(opacity, left, right, 1.0, max(1, shape[0] // 40))
    y = np.linspace(-1, 1, shape[0])[:, None, None]
    glare = np.clip(rng.uniform(0, 90, 3) + rng.normal(0, 25) * y + 15 * _wave(shape, rng)[..., None], 0, 255)
    return _layer(np.broadcast_to(glare, (*shape, 3)), opacity)


def _hair(shape: tuple[int, int], landmarks: np.ndarray, paints: Paints, rng: np.random.Generator) -> np.ndarray:
    """Return strands that fall from above over brows and eyes, or from a side."""
    width = _width(landmarks)
    start = landmarks[10] + rng.normal(0, 0.35, 2) * width * [1, 0.3]
    end = _target(landmarks, rng) + [0, rng.uniform(0, 0.3) * width]
    colour = np.array([rng.uniform(10, 60), 0, 0])
    colour[1:] = colour[0] * rng.uniform(0.6, 1.0), colour[0] * rng.uniform(0.4, 0.9)
    layer, spread = np.zeros((*shape, 4), np.float32), rng.uniform(0.03, 0.25) * width
    share = np.linspace(0, 1, 16)[:, None]
    bow = rng.normal(0, 0.2) * width * np.sin(np.pi * share) * [1, 0]
    for _ in range(rng.integers(20, 120)):
        points = start + share * (end - start) + bow + rng.normal(0, spread, 2) * (0.4 + 0.6 * share)
        shade = [*(colour * rng.uniform(0.6, 1.8)), 255.0]
        cv2.polylines(layer, [np.rint(points * 16).astype(np.int32)], False, shade, 1, cv2.LINE_AA, 4)
    return layer


def _edge(shape: tuple[int, int], landmarks: np.ndarray, paints: Paints, rng: np.random.Generator) -> np.ndarray:
    """Return black from a line on, as beyond the picture's edge."""
    turn = rng.choice(4) * np.pi / 2 + rng.normal(0, 0.1)
    normal, middle = np.array([np.cos(turn), np.sin(turn)]), landmarks.mean(axis=0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    beyond = (x - middle[0]) * normal[0] + (y - middle[1]) * normal[1] > rng.uniform(0.1, 0.6) * _width(landmarks)
    return _layer(np.zeros((*shape, 3), np.float32), beyond.astype(np.float32))


Draw = Callable[[tuple[int, int], np.ndarray, Paints, np.random.Generator], np.ndarray]
THINGS: dict[str, Draw] = {
    "blob": _blob,
    "sheet": _sheet,
    "mask": _mask,
    "sunglasses": _sunglasses,
    "hair": _hair,
    "edge": _edge,
}


def draw_thing(
    kind: str, shape: tuple[int, int], landmarks: np.ndarray, paints: Paints, rng: np.random.Generator
) -> np.ndarray:
    """Return the layer of a thing of ``SPRITES`` or ``THINGS`` before a face in a picture of (H, W)."""
    if kind in SPRITES:
        return _sprite(kind, shape, landmarks, paints, rng)
    return THINGS[kind](shape, landmarks, paints, rng)


def lay_over(image: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 with a layer before it."""
    return np.clip(layer[..., :3] + image * (1 - layer[..., 3:] / 255), 0, 255).astype(np.uint8)


def visible_shares(landmarks: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Return the visible share (5,), 0..1, of the area of each of ``REGIONS``, within the picture.

    ``opacity`` (H, W) is 0..1. Brows and eyes are two areas each; their share is the mean of both.
    """
    return np.array([_visible_share(landmarks[list(rows)], name, opacity) for name, rows in REGIONS.items()])


def _visible_share(points: np.ndarray, name: str, opacity: np.ndarray) -> float:
    half = len(points) // 2
    parts = [points[:half], points[half:]] if name in ("brows", "eyes") else [points]
    shares = []
    for part in parts:
        area = np.zeros(opacity.shape, np.uint8)
        cv2.fillConvexPoly(area, cv2.convexHull(np.rint(part).astype(np.int32)), 1)
        if area.any():
            shares.append(1 - float(opacity[area == 1].mean()))
    return float(np.mean(shares)) if shares else 0.0


def add_beard(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture with a beard, or stubble, around the mouth: it hides nothing that counts."""
    shape = image.shape[:2]
    jaw = landmarks[list(JAW)]
    upper = landmarks[[234, 205, 98, 2, 327, 425, 454]] + rng.normal(0, 0.02) * _width(landmarks)
    area = _polygon(shape, np.concatenate([jaw, upper]), 0.03 * shape[0])
    lips = _polygon(shape, cv2.convexHull(landmarks[list(REGIONS["mouth"])].astype(np.float32))[:, 0], 0.8)
    grain = cv2.GaussianBlur(rng.normal(0, 1, shape).astype(np.float32), (0, 0), rng.uniform(0.5, 1.2))
    opacity = np.clip(area * (1 - lips) * rng.uniform(0.3, 0.95) * (1 + 0.5 * grain), 0, 1)
    colour = np.full((*shape, 3), rng.uniform(10, 110), np.float32) * [1, rng.uniform(0.7, 1), rng.uniform(0.6, 1)]
    return lay_over(image, _layer(colour * (1 + 0.25 * grain[..., None]), opacity))


def add_glasses(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture with clear glasses: rims, and a little glare."""
    shape, out = image.shape[:2], image.copy()
    colour = tuple(float(v) for v in rng.uniform(0, 120, 3))
    lenses = _lenses(landmarks, rng)
    thick = int(rng.integers(1, max(2, shape[0] // 32) + 1))
    cv2.polylines(out, [np.rint(lens * 16).astype(np.int32) for lens in lenses], True, colour, thick, cv2.LINE_AA, 4)
    opacity = np.maximum(*(_polygon(shape, lens, 0.5) for lens in lenses)) * rng.uniform(0, 0.3)
    return lay_over(out, _layer(np.full((*shape, 3), 255 * rng.uniform(0.2, 1), np.float32), opacity))


def add_shadow(image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture with a shadow, or a bright spot, over part of it."""
    edge = np.clip(_wave(image.shape[:2], rng) * rng.uniform(0.5, 4), -1, 1)
    return np.clip(image * (1 + rng.uniform(0.1, 0.7) * (edge - 0.7) / 1.7)[..., None], 0, 255).astype(np.uint8)


HARMLESS = (add_beard, add_glasses, add_shadow)
"""What leaves every region visible."""
