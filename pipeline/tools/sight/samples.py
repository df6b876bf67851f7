"""Samples for the judge of visibility: faces with something before them, moved a little, as poor as real video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tclr.pipeline.au import SPOILS, shrink
from tclr.pipeline.store import Store
from tclr.pipeline.tools.sight.things import HARMLESS, Paints, draw_thing, lay_over, visible_shares

DRAWN_PX = 96
"""Side at which things are drawn."""
HIDDEN_SHARE, SECOND_SHARE, HARMLESS_SHARE, SPOILT_SHARE = 0.6, 0.15, 0.35, 0.75
"""Shares of samples with a thing, of these with a second one, with what hides nothing, and as of poor video."""

EACH = 0.4
"""Probability of each way in which such a sample is poor."""


@dataclass(frozen=True)
class Faces:
    """n faces without anything before them: crops (n, S, S, 3) uint8 RGB, landmarks (n, 478, 2) in their pixels."""

    crops: np.ndarray
    landmarks: np.ndarray


def read_faces(store: Store, subjects: Sequence[str], per_clip: int) -> Faces:
    """Return up to ``per_clip`` evenly spaced faces of each clip of some people."""
    crops, landmarks = [], []
    for info in store.clips:
        if info.subject not in subjects:
            continue
        rows = np.flatnonzero(store.face_mask(info))
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, per_clip).astype(int))] if len(rows) else rows
        crops.append(store.read_crops_at(info, rows))
        found, transform = (store.read(info, name)[rows] for name in ("landmarks", "transform"))
        landmarks.append(np.einsum("nij,nkj->nki", transform[..., :2], found[..., :2]) + transform[:, None, :, 2])
    return Faces(np.concatenate(crops), np.concatenate(landmarks))


def draw_samples(
    faces: Faces, paints: Paints, kinds: Sequence[str], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``count`` crops (n, 64, 64, 3) uint8 and the visible shares (n, 5) float32 of their regions."""
    samples = [_draw_sample(faces, int(rng.integers(len(faces.crops))), paints, kinds, rng) for _ in range(count)]
    return np.stack([crop for crop, _ in samples]), np.array([share for _, share in samples], np.float32)


def _draw_sample(
    faces: Faces, place: int, paints: Paints, kinds: Sequence[str], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    image, landmarks = _move(faces.crops[place], faces.landmarks[place], rng)
    shape, opacity = image.shape[:2], np.zeros(image.shape[:2], np.float32)
    if rng.random() < HARMLESS_SHARE:
        image = HARMLESS[rng.integers(len(HARMLESS))](image, landmarks, rng)
    if rng.random() < HIDDEN_SHARE:
        for _ in range(1 + (rng.random() < SECOND_SHARE)):
            layer = draw_thing(kinds[int(rng.integers(len(kinds)))], shape, landmarks, paints, rng)
            image = lay_over(image, layer)
            opacity = np.maximum(opacity, layer[..., 3] / 255)
    image = _expose(image, rng)
    if rng.random() < SPOILT_SHARE:
        for spoil in SPOILS:
            if rng.random() < EACH:
                image = spoil(image, rng)
    if rng.random() < 0.5:
        image, landmarks = image[:, ::-1], landmarks * [-1, 1] + [DRAWN_PX - 1, 0]
        opacity = opacity[:, ::-1]
    shares = visible_shares(landmarks, np.ascontiguousarray(opacity))
    return shrink(np.ascontiguousarray(image)), shares


def _move(crop: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a crop of side ``DRAWN_PX`` and its landmarks, as aligned by landmarks that are a little wrong.

    The detector guesses what it cannot see, so that crops of hidden faces are turned, shifted and of other sizes.
    """
    side, wrong = len(crop), rng.choice([0.3, 1.0], p=[0.6, 0.4])
    scale = DRAWN_PX / side * np.exp(rng.normal(0, 0.08 * wrong))
    turn = rng.normal(0, 0.10 * wrong)
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
    middle = np.full(2, DRAWN_PX / 2) + rng.normal(0, 0.04 * wrong, 2) * DRAWN_PX
    matrix[:, 2] = middle - matrix[:, :2] @ np.full(2, side / 2)
    moved = cv2.warpAffine(crop, matrix, (DRAWN_PX, DRAWN_PX), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return moved, landmarks @ matrix[:, :2].T + matrix[:, 2]


def _expose(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a picture in other light: gain, gamma, colour of the light, and haze."""
    gamma, gain = np.exp(rng.normal(0, 0.35)), np.exp(rng.normal(-0.2, 0.5))
    light = np.exp(rng.normal(0, 0.12, 3))
    value = (image / 255.0) ** gamma * gain * light
    haze = rng.uniform(0, 0.5) if rng.random() < 0.2 else 0.0
    value = value * (1 - haze) + rng.uniform(0, 1) * haze
    return np.clip(np.rint(255 * value), 0, 255).astype(np.uint8)
