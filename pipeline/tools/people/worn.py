"""What people wear on the face, as geometry in head coordinates: glasses, and masks over nose and mouth.

Positions are (V, 3) in centimetres. Glasses are rigid; a mask follows the skin, smoothed, a little before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tclr.pipeline.tools.people.head import N_FACE, FaceModel, Pose, Puppet, find_normals, find_rim
from tclr.pipeline.tools.people.render import Layer
from tclr.pipeline.tools.people.stage import Placement

TUBE_SIDES = 8
RIM_POINTS = 44
FRAME_COLOURS = ((0.05, 0.05, 0.06), (0.25, 0.14, 0.08), (0.45, 0.42, 0.38), (0.10, 0.12, 0.25), (0.40, 0.08, 0.08))
BRIDGE_LANDMARK = 168
EAR_DEPTH_CM = 2.4
"""Depth at which temples end, in head coordinates: where the relief's ears begin."""
MASK_TOP, MASK_BOTTOM, MASK_SIDE = 1.2, -8.6, 6.2
"""Limits of a mask on the mean head: height and half width in centimetres."""
MASK_COLOURS = ((150, 190, 215), (235, 235, 230), (45, 45, 50), (200, 160, 170), (110, 140, 120))
SMOOTHINGS = 60
MASK_GAP_CM = 0.35


@dataclass(frozen=True)
class Part:
    """A piece of glasses: a frame or a lens."""

    points: np.ndarray
    triangles: np.ndarray
    colour: tuple[float, float, float, float]
    shade: np.ndarray
    """(V,): share of the colour that is seen."""


def build_glasses(puppet: Puppet, rng: np.random.Generator) -> list[Part]:
    """Return the parts of glasses that fit a puppet's face."""
    vertices = puppet.fit.vertices + puppet.build
    bridge = vertices[puppet.model.landmarks[BRIDGE_LANDMARK]]
    eyes = {side: puppet.eyes[side].centre for side in ("left", "right")}
    half = np.array([rng.uniform(2.0, 2.45), rng.uniform(1.5, 2.2)])
    power, thick = rng.uniform(2.0, 3.6), rng.uniform(0.08, 0.22)
    colour = (*FRAME_COLOURS[rng.integers(len(FRAME_COLOURS))], 1.0)
    rims = {side: _rim(eye, bridge, half, power) for side, eye in eyes.items()}
    lines = [np.vstack([rim, rim[:1]]) for rim in rims.values()]
    lines.append(_bridge(rims))
    lines += [_temple(rim, vertices) for rim in rims.values()]
    frame = [_tube(line, thick) for line in lines]
    parts = [Part(points, triangles, colour, np.ones(len(points))) for points, triangles in frame]
    glare = float(rng.uniform(0.03, 0.16))
    return parts + [_lens(rim, glare, rng) for rim in rims.values()]


def _rim(eye: np.ndarray, bridge: np.ndarray, half: np.ndarray, power: float) -> np.ndarray:
    """Return the outline of a lens before an eye, (RIM_POINTS, 3): a superellipse on a curved front."""
    angle = np.linspace(0, 2 * np.pi, RIM_POINTS, endpoint=False)
    shape = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    shape = np.sign(shape) * np.abs(shape) ** (2 / power) * half
    x = eye[0] * 1.12 + shape[:, 0]
    return np.stack([x, eye[1] - 0.25 + shape[:, 1], bridge[2] + 0.75 - 0.03 * x**2], axis=1)


def _bridge(rims: dict[str, np.ndarray]) -> np.ndarray:
    """Return the line over the nose between both rims, (9, 3)."""
    left = rims["left"][rims["left"][:, 0].argmin()]
    right = rims["right"][rims["right"][:, 0].argmax()]
    share = np.linspace(0, 1, 9)[:, None]
    return left + share * (right - left) + np.sin(np.pi * share) * [0, 0.35, 0.25]


def _temple(rim: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Return the line from a rim to the ear, (7, 3)."""
    sign = np.sign(rim[:, 0].mean())
    start = rim[np.argmax(sign * rim[:, 0] + 0.25 * rim[:, 1])]
    wide = np.abs(vertices[:N_FACE, 0]).max() + 0.35
    share = np.linspace(0, 1, 7)[:, None]
    end = np.array([sign * wide, start[1] + 0.2, EAR_DEPTH_CM])
    return start + share * (end - start) + np.sin(np.pi * share) * [sign * 0.45, 0, 0]


def _tube(line: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and triangles of a tube along a line (n, 3)."""
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, np.array([0.1, 0.2, 1.0]))
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    up = np.cross(along, across)
    angle = np.linspace(0, 2 * np.pi, TUBE_SIDES, endpoint=False)[None, :, None]
    points = line[:, None] + radius * (np.cos(angle) * across[:, None] + np.sin(angle) * up[:, None])
    index = np.arange(points.shape[0] * TUBE_SIDES).reshape(-1, TUBE_SIDES)
    here, there = index[:-1], index[1:]
    corners = np.stack([here, there, np.roll(there, -1, 1), np.roll(here, -1, 1)], axis=-1).reshape(-1, 4)
    return points.reshape(-1, 3), np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]).astype(np.int32)


def _lens(rim: np.ndarray, glare: float, rng: np.random.Generator) -> Part:
    """Return a lens with a slight glare, brighter at one side."""
    points = np.vstack([rim.mean(0), rim])
    index = np.arange(1, len(points))
    triangles = np.stack([np.zeros_like(index), index, np.roll(index, -1)], axis=1).astype(np.int32)
    slope = rng.normal(0, 1, 2)
    shade = 0.5 + 0.25 * ((points[:, :2] - rim.mean(0)[:2]) @ slope)
    return Part(points, triangles, (1.0, 1.0, 1.0, glare), np.clip(shade, 0, 1.2))


def glasses_layers(parts: list[Part], placement: Placement) -> list[Layer]:
    """Return the layers of glasses on a head; they go into the pass of the face, after it."""
    return [
        Layer(
            placement.place(part.points),
            part.triangles,
            np.stack([part.shade, part.shade], axis=1),
            plain=part.colour,
            two_sided=True,
        )
        for part in parts
    ]


@dataclass(frozen=True)
class Mask:
    """A mask over nose, mouth and chin."""

    triangles: np.ndarray
    rows: np.ndarray
    """Vertices of the face that it covers."""
    smooth: sparse.csr_matrix
    uv: np.ndarray
    texture: np.ndarray

    def layer(self, pose: Pose, placement: Placement) -> Layer:
        """Return the mask on a head."""
        points = pose.head[self.rows]
        points = points + MASK_GAP_CM * find_normals(points, self.triangles)
        return Layer(
            placement.place(self.smooth @ points), self.triangles, self.uv, texture="mask", two_sided=True, cut=0.0
        )


def build_mask(model: FaceModel, rng: np.random.Generator) -> Mask:
    """Return a mask for heads of a model."""
    x, y, _ = model.neutral[:N_FACE].T
    within = (y < MASK_TOP - 0.10 * np.abs(x) ** 1.3) & (y > MASK_BOTTOM) & (np.abs(x) < MASK_SIDE)
    face = model.triangles["face"]
    kept = face[within[face].all(1)]
    kept = np.concatenate([kept, _close_mouth(model, kept)])
    rows, inverse = np.unique(kept, return_inverse=True)
    triangles = inverse.reshape(-1, 3).astype(np.int32)
    uv = np.stack([0.5 + x[rows] / (2 * MASK_SIDE), (MASK_TOP - y[rows]) / (MASK_TOP - MASK_BOTTOM)], axis=1)
    return Mask(triangles, rows, _smoother(triangles, len(rows)), np.clip(uv, 0, 1), _cloth(rng))


def _close_mouth(model: FaceModel, triangles: np.ndarray) -> np.ndarray:
    """Return triangles (F, 3) that close the hole between the lips: a fan over its rim, in the order of angles."""
    lips = model.neutral[model.landmarks[[61, 291, 0, 17]]]
    low, high = lips.min(0) - 0.2, lips.max(0) + 0.2
    rim = np.flatnonzero(find_rim(triangles, N_FACE))
    rim = rim[((model.neutral[rim] > low) & (model.neutral[rim] < high))[:, :2].all(1)]
    if len(rim) < 3:
        return np.zeros((0, 3), triangles.dtype)
    around = model.neutral[rim] - model.neutral[rim].mean(0)
    loop = rim[np.argsort(np.arctan2(around[:, 1], around[:, 0]))]
    return np.stack([np.full(len(loop) - 2, loop[0]), loop[1:-1], loop[2:]], axis=1).astype(triangles.dtype)


def _smoother(triangles: np.ndarray, n: int) -> sparse.csr_matrix:
    """Return the matrix (n, n) that averages neighbours often enough that a mask shows no lips."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    link = sparse.csr_matrix((np.ones(len(pairs)), pairs.T), shape=(n, n))
    link = ((link + link.T) > 0).astype(float)
    rim = sparse.diags(find_rim(triangles, n).astype(float))
    link = (sparse.identity(n) - rim) @ link + rim @ link @ rim  # the rim keeps its place, but loses its teeth
    neighbours = np.maximum(np.asarray(link.sum(1)).ravel(), 1)
    step = (0.5 * (sparse.identity(n) + sparse.diags(1 / neighbours) @ link)).tocsr()
    whole = step
    for _ in range(SMOOTHINGS.bit_length() - 1):
        whole = whole @ whole
    return whole.tocsr()


def _cloth(rng: np.random.Generator, size_px: int = 128) -> np.ndarray:
    """Return the texture (S, S, 3) uint8 of a mask: a weave with three pleats."""
    colour = np.array(MASK_COLOURS[rng.integers(len(MASK_COLOURS))]) * rng.uniform(0.85, 1.1)
    y = np.linspace(0, 1, size_px)[:, None]
    pleats = sum(np.exp(-(((y - at) / 0.015) ** 2)) for at in (0.35, 0.5, 0.65)) * rng.uniform(0, 0.35)
    shade = 1 - pleats + 0.12 * np.exp(-(((y - 0.03) / 0.02) ** 2)) + rng.normal(0, 0.015, (size_px, size_px))
    return np.clip(shade[..., None] * colour, 0, 255).astype(np.uint8)
