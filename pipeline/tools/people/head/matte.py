"""Cuts a person out of a studio portrait: hair, ears, neck and clothes, without the backdrop's colour at their edges.

Pictures are (H, W, 3) uint8 RGB, mattes (H, W) float32, 0 backdrop to 1 person. The backdrop of the portrait sets is
plain; GrabCut (Rother et al., SIGGRAPH 2004) parts it from the person, and a guided filter (He et al., ECCV 2010) finds
hair.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

WORKING_WIDTH = 240
"""GrabCut needs about a second at this width, and half a minute at a portrait's."""
NEAR, FAR = 10.0, 34.0
"""Colour distances (of 255) that surely are backdrop, and person; chosen by us on the three sets."""


def cut_out(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the matte of the person whose landmarks (478, 2 or more), in pixels, are given."""
    height, width = image.shape[:2]
    scale = WORKING_WIDTH / width
    small = cv2.resize(image, (WORKING_WIDTH, round(height * scale)), interpolation=cv2.INTER_AREA)
    mask = _grab(small, landmarks[:468, :2] * scale)
    mask = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    matte = _add_shoulders(
        np.clip(1.25 * _guide(grey, np.clip(mask, 0, 1), radius_px=max(2, width // 130)) - 0.15, 0, 1), landmarks, image
    )
    return matte * (1 - _fringe(image, matte, landmarks))


def _fringe(image: np.ndarray, matte: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return how far each pixel (H, W) is backdrop between hairs: pale, grey, near the edge and above the chin."""
    backdrop = _backdrop(image)
    low, high = image.min(2).astype(np.float32), image.max(2).astype(np.float32)
    pale = np.clip(4 * (low / np.maximum(backdrop.min(2), 1) - 0.5), 0, 1)
    grey = np.clip((0.17 - (high - low) / np.maximum(high, 1)) / 0.07, 0, 1)
    face_px = float(np.ptp(landmarks[:468, 0]))
    near = np.clip(2 - ndimage.distance_transform_edt(matte > 0.5) / (0.04 * face_px), 0, 1)
    like = np.linalg.norm(image.astype(np.float32) - backdrop, axis=2) < NEAR
    white = np.clip(
        (np.median(backdrop[: len(backdrop) // 4].min(2)) - 225) / 15, 0, 1
    )  # elsewhere fair hair looks like it
    weights = (np.maximum(white * pale * grey, like) * near).astype(np.float32)
    weights[int(landmarks[152, 1]) :] = 0
    cv2.fillConvexPoly(weights, cv2.convexHull(landmarks[:468, :2].astype(np.int32)), 0.0)
    return cv2.GaussianBlur(weights, (0, 0), 0.8)


def _grab(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a mask (H, W) bool of the person in a small picture."""
    distance = np.linalg.norm(image.astype(np.float32) - _backdrop(image), axis=2)
    hints = np.where(distance > FAR, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    hints[distance < NEAR] = cv2.GC_BGD
    inside = np.zeros(hints.shape, np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(points.astype(np.int32)), 1)
    hints[inside > 0] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # GrabCut clusters colours from random beginnings
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(image), hints, (0, 0, 0, 0), *models, 2, cv2.GC_INIT_WITH_MASK)
    mask = ndimage.binary_fill_holes(np.isin(hints, (cv2.GC_FGD, cv2.GC_PR_FGD))) & ((distance >= NEAR) | (inside > 0))
    labels, _ = ndimage.label(mask)
    x, y = points.mean(0).astype(int)
    return ndimage.binary_opening(labels == labels[y, x], iterations=1)


def _backdrop(image: np.ndarray) -> np.ndarray:
    """Return the backdrop's colour (H, W, 3) float32: quadratic surfaces through the picture's upper edges."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    edge = np.zeros((height, width), bool)
    edge[: height // 25] = edge[: int(0.55 * height), : width // 25] = edge[: int(0.55 * height), -width // 25 :] = True
    colours = image[edge].astype(float)
    usual = np.linalg.norm(colours - np.median(colours, axis=0), axis=1) < 60  # hair may reach the edge
    surface, *_ = np.linalg.lstsq(terms[edge][usual], colours[usual], rcond=None)
    return (terms @ surface).astype(np.float32)


def _guide(grey: np.ndarray, mask: np.ndarray, *, radius_px: int, floor: float = 1e-4) -> np.ndarray:
    """Return a mask that follows the edges of a grey picture."""

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (2 * radius_px + 1, 2 * radius_px + 1))

    slope = (mean(grey * mask) - mean(grey) * mean(mask)) / (mean(grey * grey) - mean(grey) ** 2 + floor)
    return mean(slope) * grey + mean(mean(mask) - slope * mean(grey))


def clean_edges(image: np.ndarray, matte: np.ndarray, *, depth_px: int = 3) -> np.ndarray:
    """Return the picture with the colours of the person beyond its edge, so that no backdrop shines through."""
    inside = ndimage.binary_erosion(matte > 0.95, iterations=depth_px)
    _, (rows, columns) = ndimage.distance_transform_edt(~inside, return_indices=True)
    spread = cv2.GaussianBlur(image[rows, columns], (0, 0), 1.2)
    return np.where(inside[..., None], image, spread)


def dress(
    image: np.ndarray, matte: np.ndarray, landmarks: np.ndarray, colour: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return picture and matte with a neck and a shirt, for portraits that fade into white below the chin.

    ``colour`` (3,) is the shirt's. Portraits of 3DSK end so; see ``fades``.
    """
    height, width = matte.shape
    face_px = float(np.ptp(landmarks[:468, 0]))
    across, down = _from_chin(matte.shape, landmarks)
    picture, shape = _extend_neck(image.astype(np.float32), matte, landmarks)
    collar = down - 0.10 - 0.26 * np.sqrt(np.clip(1 - (across / 0.47) ** 2, 0, 1))
    cloth = np.clip(np.minimum(collar, _below_shoulders(across, down)) * face_px / 2 + 0.5, 0, 1)
    weave = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 1.2)
    folds = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), face_px / 7) * face_px / 7
    rim = np.exp(-np.clip(collar, 0, None) / 0.015)
    tone = 1 - 0.25 * np.abs(across) / 1.4 + 0.08 * weave + 0.10 * folds - 0.3 * rim
    picture += cloth[..., None] * (np.clip(tone, 0.2, 1.2)[..., None] * colour - picture)
    return np.clip(picture, 0, 255).astype(np.uint8), np.maximum(shape, cloth)


def _from_chin(shape: tuple[int, ...], landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far right of and below the chin's tip each pixel (H, W) is, in face widths."""
    face_px = float(np.ptp(landmarks[:468, 0]))
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return (x - landmarks[152, 0]) / face_px, (y - landmarks[152, 1]) / face_px


def _below_shoulders(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return how far each place is below the line of usual shoulders, in face widths."""
    wide = np.abs(across)
    return down - 0.07 - 0.34 * np.clip(wide - 0.33, 0, None) - 0.5 * np.clip(wide - 1.0, 0, None)


def fades(image: np.ndarray) -> bool:
    """Return whether a portrait fades into white: its backdrop is pure white above and below the person."""
    margin = image.shape[0] // 40
    return bool(min(np.median(image[:margin]), np.median(image[-margin:])) > 247)


def _add_shoulders(matte: np.ndarray, landmarks: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return a matte with shoulders, for white shirts before a pale backdrop, which look alike."""
    face_px = float(np.ptp(landmarks[:468, 0]))
    if fades(image) or matte[int(0.97 * len(matte))].sum() > 1.8 * face_px:
        return matte
    across, down = _from_chin(matte.shape, landmarks)
    below = np.minimum(_below_shoulders(across, down) - 0.12, 1.15 - np.abs(across))
    body = np.clip(below * face_px / 4 + 0.5, 0, 1)
    return np.maximum(matte, body)


def _extend_neck(picture: np.ndarray, matte: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Continue the skin under the chin down to the shirt, in place of a neck that fades into white."""
    chin, face_px = landmarks[152, :2], float(np.ptp(landmarks[:468, 0]))
    across, down = _from_chin(matte.shape, landmarks)
    row = int(chin[1] + 0.02 * face_px)
    middle = slice(int(chin[0] - 0.16 * face_px), int(chin[0] + 0.16 * face_px))
    tone = np.median(picture[row - 6 : row + 7, middle].reshape(-1, 3), axis=0)
    cheek = np.median([picture[y, x] for x, y in landmarks[[50, 280, 205, 425], :2].astype(int)], axis=0)
    tone = np.maximum(tone, 0.72 * cheek)  # not a beard's
    half = np.clip(matte[int(chin[1] - 0.12 * face_px)].sum() / 2 / face_px, 0.36, 0.46)
    faded = np.clip(4.0 * (picture.min(2) - tone.min()) / (255 - tone.min()), 0, 1) * np.clip(6 * (down + 0.22), 0, 1)
    faded *= np.clip(8 * (np.abs(across) - 0.18) + 8 * np.clip(down + 0.02, 0, None), 0, 1)
    faded = np.maximum(cv2.GaussianBlur(faded, (0, 0), 0.012 * face_px), np.clip((down - 0.02) / 0.12, 0, 1))
    round_off = (
        1.02 - 0.26 * np.clip(np.abs(across) / half, 0, 1.1) ** 3 - 0.12 * np.exp(-np.clip(down, 0, None) / 0.12)
    )
    neck = np.clip((half + 0.06 * np.clip(down - 0.1, 0, 1) - np.abs(across)) * face_px / 2 + 0.5, 0, 1)
    neck *= np.clip(14 * (down + 0.14), 0, 1)
    shape = np.maximum(matte * (down < -0.05), neck)
    return picture + faded[..., None] * (round_off[..., None] * tone - picture), shape


def pad(image: np.ndarray, matte: np.ndarray, margins: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return picture and matte continued beyond their edges: at both sides and at the bottom by ``margins`` pixels."""
    sides, bottom = margins
    around = ((0, bottom), (sides, sides))
    return np.pad(image, (*around, (0, 0)), mode="edge"), np.pad(matte, around, mode="edge")
