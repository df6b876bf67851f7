"""Things that come before a face: hands, microphones, cups, telephones and masks, and what of the face they hide.

A thing is a sprite, (H, W, 4) float32, 0..255, colours times opacity, that moves along a path; a mask is geometry
(``worn``). What is hidden is measured on what was drawn: for each region of the face the mean opacity over its vertices
that face the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

KINDS = ("hand", "microphone", "cup", "telephone", "mask")
SHARES = (0.42, 0.16, 0.11, 0.11, 0.20)
SPRITE_PX = 320
UNIT_PX = 100
"""Pixels of a sprite in a face's width."""
BROWS = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
EYES: tuple[int, ...] = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
EYES += (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382)
NOSE = (6, 197, 195, 5, 4, 1, 2, 98, 327, 48, 278, 64, 294, 115, 344, 220, 440, 45, 275, 131, 360)
MOUTH = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 13, 308, 14, 76, 306, 185, 409, 146, 375)
CHIN = (152, 148, 377, 176, 400, 149, 378, 175, 199, 200, 201, 421, 208, 428, 171, 396, 140, 369)
REGIONS = {"brows": BROWS, "eyes": EYES, "nose": NOSE, "mouth": MOUTH, "chin": CHIN}
"""Landmarks of the regions of a face."""
TARGETS = {
    "forehead": (0.0, -0.45),
    "eye": (0.28, -0.12),
    "cheek": (0.36, 0.2),
    "mouth": (0.0, 0.42),
    "chin": (0.0, 0.6),
}
"""Where a thing goes, in face widths right of and below the face's middle."""
FACING = 0.15
"""Cosine between a vertex's normal and the camera from which it counts as facing it."""


@dataclass(frozen=True)
class Occluder:
    """A thing before the face in T frames."""

    kind: str
    sprite: np.ndarray
    """(SPRITE_PX, SPRITE_PX, 4) float32."""
    places: np.ndarray
    """(T, 4): right of and below the face's middle in face widths, turn in radians, scale."""

    def draw(self, frame: int, middle: np.ndarray, width_px: float, size_px: tuple[int, int]) -> np.ndarray:
        """Return the layer (H, W, 4) of a frame whose face is at ``middle`` (2,) and ``width_px`` wide."""
        x, y, turn, scale = self.places[frame]
        scale *= width_px / UNIT_PX
        cos, sin = scale * np.cos(turn), scale * np.sin(turn)
        matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
        matrix[:, 2] = middle + width_px * np.array([x, y]) - matrix[:, :2] @ np.full(2, SPRITE_PX / 2)
        return cv2.warpAffine(self.sprite, matrix, size_px, flags=cv2.INTER_AREA if scale < 0.7 else cv2.INTER_LINEAR)


def plan_kinds(count: int, share: float, rng: np.random.Generator) -> list[str]:
    """Return what comes before the face in each of ``count`` clips; "" for nothing."""
    return [str(rng.choice(KINDS, p=SHARES)) if rng.random() < share else "" for _ in range(count)]


def plan_occluder(kind: str, frames: int, skin: np.ndarray, rng: np.random.Generator) -> Occluder:
    """Plan a thing of a kind, but no mask, for a clip; ``skin`` (3,) is the colour of hands."""
    return Occluder(kind, paint_sprite(kind, skin, rng), _plan_places(kind, frames, rng))


def paint_sprite(kind: str, skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the sprite of a thing of a kind, but no mask; ``skin`` (3,) is the colour of hands.

    >>> paint_sprite("cup", np.zeros(3), np.random.default_rng(0)).shape
    (320, 320, 4)
    """
    paint = {"hand": lambda: _hand(skin, rng), "microphone": lambda: _microphone(rng)}
    return paint.get(kind, lambda: _block(kind, rng))()


def _plan_places(kind: str, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return a path (frames, 4) that comes from below or beside, stays a while, and may leave."""
    names = {"microphone": ("mouth", "chin"), "cup": ("mouth",)}.get(kind, tuple(TARGETS))
    target = np.array(TARGETS[names[rng.integers(len(names))]]) * [rng.choice([-1, 1]), 1] + rng.normal(0, 0.06, 2)
    if kind in ("microphone", "cup"):
        target += [0, 0.18]
    away = np.array([rng.choice([-1, 1]) * rng.uniform(0.6, 1.8), rng.uniform(1.6, 2.4)])
    arrival, stay = rng.uniform(-0.3, 0.5) * frames, rng.uniform(0.3, 1.2) * frames
    moving = rng.uniform(8, 20)
    time = np.arange(frames)
    there = _ramp((time - arrival) / moving) * _ramp((arrival + stay + 2 * moving - time) / moving)
    place = away + there[:, None] * (target - away)
    sway = np.cumsum(rng.normal(0, 0.004, (frames, 2)), axis=0)
    turn = rng.normal(0, 0.35) + np.sign(place[:1, 0]) * 0.2 + 0.08 * np.sin(time / rng.uniform(8, 30))
    return np.column_stack([place + sway, turn * np.ones(frames), np.full(frames, rng.uniform(0.85, 1.2))])


def _ramp(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _capsule(start: tuple[float, float], end: tuple[float, float], radius: float) -> np.ndarray:
    """Return the height (SPRITE_PX, SPRITE_PX) of a rounded rod over the picture, in units; negative outside."""
    axis = (np.arange(SPRITE_PX) + 0.5 - SPRITE_PX / 2) / UNIT_PX
    x, y = np.meshgrid(axis, axis)
    a, b = np.array(start), np.array(end)
    along = np.clip(((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / max(((b - a) ** 2).sum(), 1e-9), 0, 1)
    squared = (x - a[0] - along * (b - a)[0]) ** 2 + (y - a[1] - along * (b - a)[1]) ** 2
    return np.where(squared < radius**2, np.sqrt(np.maximum(radius**2 - squared, 0)), -np.sqrt(squared) + radius)


def _shade(height: np.ndarray, colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a sprite of a surface with a height (S, S), lit from above."""
    smooth = cv2.GaussianBlur(np.maximum(height, 0), (0, 0), 2.0)
    dy, dx = np.gradient(smooth * UNIT_PX)
    normal = np.stack([-dx, -dy, np.ones_like(dx)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = np.array([rng.uniform(-0.4, 0.4), -0.6, 0.8])
    shade = 0.45 + 0.6 * np.clip(normal @ (light / np.linalg.norm(light)), 0, 1)
    grain = cv2.GaussianBlur(rng.normal(0, 1, height.shape), (0, 0), 1.5) * 0.05
    opacity = np.clip(0.5 + height * UNIT_PX, 0, 1)
    rgb = np.clip((shade + grain)[..., None] * colour, 0, 255)
    return (np.dstack([rgb, np.full(height.shape, 255.0)]) * opacity[..., None]).astype(np.float32)


def _hand(skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a hand with the wrist below: four fingers, more or less spread, and a thumb."""
    spread, length = rng.uniform(0.02, 0.22), rng.uniform(0.30, 0.42)
    height = np.maximum(_capsule((-0.10, 0.20), (0.10, 0.20), 0.20), _capsule((0, 0.3), (0.02, 1.6), 0.17))
    crease = np.zeros_like(height)
    for number, share in enumerate((0.86, 1.0, 0.95, 0.76)):
        root = -0.21 + 0.14 * number
        lean = (number - 1.5) * spread
        tip = (root + np.sin(lean) * length * share, 0.06 - np.cos(lean) * length * share)
        finger = _capsule((root, 0.12), tip, 0.068)
        crease += np.exp(-((finger / 0.012) ** 2)) * (height > 0) * (finger < 0.02)
        height = np.maximum(height, finger)
    height = np.maximum(height, _capsule((-0.2, 0.3), (-0.40 - spread / 2, 0.02), 0.078))
    sprite = _shade(height, skin * rng.uniform(0.9, 1.08), rng)
    sprite[..., :3] *= (1 - 0.35 * np.clip(crease, 0, 1))[..., None]
    return sprite if rng.random() < 0.5 else np.ascontiguousarray(sprite[:, ::-1])


def _microphone(rng: np.random.Generator) -> np.ndarray:
    """Return a microphone that stands upright: a head of wire on a dark handle."""
    head, handle = _capsule((0, -0.12), (0, -0.08), 0.17), _capsule((0, 0.1), (0.02, 1.5), 0.085)
    sprite = _shade(handle, np.full(3, rng.uniform(25, 70)), rng)
    ball = _shade(head, np.full(3, rng.uniform(70, 170)), rng)
    y, x = np.mgrid[:SPRITE_PX, :SPRITE_PX]
    ball[..., :3] *= (0.75 + 0.25 * (((x + y) // 3 + (x - y) // 3) % 2))[..., None]
    return ball + (1 - ball[..., 3:] / 255) * sprite


def _block(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Return a cup or a telephone: a rounded block of one colour with a stripe or a lens."""
    half = (0.24, 0.30) if kind == "cup" else (0.20, 0.42)
    axis = (np.arange(SPRITE_PX) + 0.5 - SPRITE_PX / 2) / UNIT_PX
    x, y = np.meshgrid(axis, axis)
    corner = np.hypot(np.clip(np.abs(x) - half[0] + 0.06, 0, None), np.clip(np.abs(y) - half[1] + 0.06, 0, None))
    height = np.minimum(0.06 - corner, 0.05)
    if kind == "cup":
        height = np.where(height > 0, np.sqrt(np.clip(half[0] ** 2 - x**2, 0, None)) * 0.8, height)
    colour = rng.uniform(20, 230, 3) if kind == "cup" else np.full(3, rng.uniform(15, 90))
    sprite = _shade(height, colour, rng)
    band = np.abs(y - rng.uniform(-0.1, 0.1)) < 0.07 if kind == "cup" else np.hypot(x - 0.1, y + 0.3) < 0.05
    sprite[..., :3] *= np.where(band, rng.uniform(0.4, 1.5), 1.0)[..., None]
    return np.minimum(sprite, sprite[..., 3:])


def find_visibility(
    rows: dict[str, np.ndarray],
    pixels: np.ndarray,
    facing: np.ndarray,
    opacity: np.ndarray | None,
    size_px: tuple[int, int],
) -> np.ndarray:
    """Return the visible share (5,) of the regions, 0..1.

    ``rows`` are vertices by region, ``pixels`` (V, 2) their places, ``facing`` (V,) the cosines of their normals with
    the camera, ``opacity`` (H, W) of what is before the face, 0..1. What is beyond the picture's edge is hidden.
    """
    shares = []
    for which in rows.values():
        seen = which[facing[which] > FACING]
        at = np.rint(pixels[seen]).astype(int)
        inside = (at >= 0).all(1) & (at[:, 0] < size_px[0]) & (at[:, 1] < size_px[1])
        visible = inside.astype(float)
        if opacity is not None:
            visible[inside] = 1 - opacity[at[inside, 1], at[inside, 0]]
        shares.append(float(visible.mean()) if len(visible) else 0.0)
    return np.array(shares)
