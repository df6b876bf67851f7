"""A relief of the photograph: the parts of a person that the face's mesh leaves out, as a grid with depth.

Hair, ears, neck and clothes lie on a grid over the picture. Where the fitted head is, the grid takes its depth; beyond
the head's outline it takes the nearest depth, and at the person's outline it bends back, so that a turning head shows
a side. Under the face the grid is left out. It follows the face's edge where that moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from tclr.pipeline.tools.people.head.fit import HeadFit
from tclr.pipeline.tools.people.head.mesh import N_FACE, FaceModel
from tclr.pipeline.tools.people.head.surface import fade_face

CELL_PX = 9
"""Chosen by us: 12,000 vertices for a portrait, below a hair strand's width after rendering."""
ROUNDING_CM, ROUNDING_DEPTH_CM = 1.5, 1.0
"""Width of the rim that bends back, and how far: a head turned by 35 degrees then keeps its width."""
EAR_HEIGHTS_CM, DEEPEST_CM = (-5.0, -2.5, 4.5, 8.0), (-1.0, 1.9, 1.9, -0.5)
"""Depths, by height over the head's origin between the ears, beyond which nothing lies: a photograph shows no back of a
head, and few pixels of an ear's side, which would be drawn out."""
N_NEAREST = 6


@dataclass(frozen=True)
class Relief:
    """The grid around a face. V vertices, in the order of rows."""

    vertices: np.ndarray
    """(V, 3) float32 in head coordinates."""
    uv: np.ndarray
    """(V, 2) float32: place in the picture, 0..1, y down."""
    triangles: np.ndarray
    """(F, 3) int32, anticlockwise from the camera."""
    follows: np.ndarray
    """(V, N_NEAREST) int32: vertices of the face whose displacement a vertex follows."""
    weights: np.ndarray
    """(V, N_NEAREST) float32: how much, falling with distance from the face."""
    head_share: np.ndarray
    """(V,) float32: 1 turns with the head, 0 stays with the body."""

    def follow(self, displacement: np.ndarray) -> np.ndarray:
        """Return the vertices (V, 3) under displacements (N_FACE or more, 3) of the face."""
        return self.vertices + np.einsum("vk,vkx->vx", self.weights, displacement[self.follows])


def build_relief(fit: HeadFit, model: FaceModel, matte: np.ndarray) -> Relief:
    """Build the grid for a matte (H, W) of the fitted portrait."""
    height, width = matte.shape
    columns, rows = np.arange(0, width + CELL_PX, CELL_PX), np.arange(0, height + CELL_PX, CELL_PX)
    pixels = np.stack(np.meshgrid(columns, rows), axis=-1).astype(np.float64)
    placed = fit.to_camera(fit.vertices)
    depth = _depths(fit, model, placed, pixels) - _rounding(fit, matte, pixels)
    shape = depth.shape
    outline = cv2.convexHull(fit.camera.project(placed[:N_FACE]).astype(np.float32))
    covered = _covered(fit, model, placed, shape)
    vertices = fit.to_head(fit.camera.lift(pixels.reshape(-1, 2), depth.ravel()))
    follows, weights = _follow(fit.vertices[:N_FACE], fit.camera.project(placed[:N_FACE]), pixels, outline)
    uv = pixels.reshape(-1, 2) / (width, height)
    return Relief(
        vertices.astype(np.float32),
        uv.astype(np.float32),
        _cells(matte, covered),
        follows,
        weights,
        _head_share(vertices),
    )


def _splat(fit: HeadFit, placed: np.ndarray, triangles: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the nearest depth of triangles at each grid point, -inf where there are none."""
    corners = placed[triangles]
    samples = np.concatenate([corners.mean(1), *(corners[:, k] for k in range(3))]).astype(np.float64)
    samples = np.concatenate([samples, (corners[:, 0] + corners[:, 1]) / 2, (corners[:, 1] + corners[:, 2]) / 2])
    at = np.rint(fit.camera.project(samples) / CELL_PX).astype(int)
    seen = (at >= 0).all(1) & (at[:, 0] < shape[1]) & (at[:, 1] < shape[0])
    depth = np.full(shape, -np.inf)
    np.maximum.at(depth, (at[seen, 1], at[seen, 0]), samples[seen, 2])
    return depth


def _depths(fit: HeadFit, model: FaceModel, placed: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return the depth z (rows, columns) in centimetres: the head's where it is, the nearest elsewhere, smoothed."""
    depth = _splat(fit, placed, model.triangles["head"], pixels.shape[:2])
    known = ndimage.binary_opening(ndimage.binary_closing(np.isfinite(depth), iterations=2))
    _, (rows, columns) = ndimage.distance_transform_edt(~np.isfinite(depth), return_indices=True)
    filled = ndimage.median_filter(depth[rows, columns], 3)
    _, (rows, columns) = ndimage.distance_transform_edt(~ndimage.binary_erosion(known), return_indices=True)
    spread = filled[rows, columns]
    height = (fit.camera.centre_px[1] - pixels[..., 1]) * fit.camera.distance_cm / fit.camera.focal_px - fit.offset[1]
    spread = np.maximum(spread, fit.offset[2] + np.interp(height, EAR_HEIGHTS_CM, DEEPEST_CM))
    return np.where(known, cv2.GaussianBlur(spread, (0, 0), 1.0), cv2.GaussianBlur(spread, (0, 0), 4.0))


def _rounding(fit: HeadFit, matte: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return how far (rows, columns) the rim of the person bends back, in centimetres."""
    small = cv2.resize(matte, None, fx=1 / CELL_PX, fy=1 / CELL_PX, interpolation=cv2.INTER_AREA)
    padded = np.pad(small > 0.5, ((1, 1), (1, 1)), mode="edge")
    cell_cm = CELL_PX * fit.camera.distance_cm / fit.camera.focal_px
    inside_cm = ndimage.distance_transform_edt(padded)[1:-1, 1:-1] * cell_cm
    rim = np.clip(1 - inside_cm / ROUNDING_CM, 0, 1) ** 2 * ROUNDING_DEPTH_CM
    return cv2.resize(rim, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _covered(fit: HeadFit, model: FaceModel, placed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return which grid points (rows, columns) lie well under the face's mesh."""
    face = model.triangles["face"]
    solid = fade_face(model.neutral[:N_FACE], face) > 0.02
    under = np.isfinite(_splat(fit, placed, face[solid[face].all(1)], shape)).astype(np.uint8)
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(under, iterations=2))
    return ndimage.binary_erosion(filled, iterations=4)


def _cells(matte: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Return two triangles for each cell with some of the person in it and a corner outside the face."""
    rows, columns = covered.shape
    solid = cv2.dilate((matte > 0.02).astype(np.uint8), np.ones((CELL_PX, CELL_PX)))
    y, x = (
        np.minimum(np.arange(rows) * CELL_PX, matte.shape[0] - 1),
        np.minimum(np.arange(columns) * CELL_PX, matte.shape[1] - 1),
    )
    person = solid[np.ix_(y, x)] > 0
    quads = np.arange(rows * columns).reshape(rows, columns)
    corners = np.stack([quads[:-1, :-1], quads[1:, :-1], quads[1:, 1:], quads[:-1, 1:]], axis=-1).reshape(-1, 4)
    kept = corners[person.ravel()[corners].any(1) & ~covered.ravel()[corners].all(1)]
    return np.concatenate([kept[:, [0, 1, 2]], kept[:, [0, 2, 3]]]).astype(np.int32)


def _follow(face: np.ndarray, at: np.ndarray, pixels: np.ndarray, outline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which vertices of the face each grid point follows, and weights that fade outside the face."""
    flat = pixels.reshape(-1, 2)
    distance, follows = cKDTree(at).query(flat, k=min(N_NEAREST, len(at)))
    outside = np.array([-cv2.pointPolygonTest(outline, (float(x), float(y)), True) for x, y in flat])
    reach = 0.10 * np.ptp(at[:, 0])
    fade = np.exp(-((np.clip(outside, 0, None) / reach) ** 2))
    weights = 1 / (distance + 1.0)
    return follows.astype(np.int32), (weights / weights.sum(1, keepdims=True) * fade[:, None]).astype(np.float32)


def _head_share(vertices: np.ndarray) -> np.ndarray:
    """Return how far each vertex (V, 3) in head coordinates turns with the head: the neck twists in between."""
    rise = np.clip((vertices[:, 1] + 17.0) / 9.0, 0, 1)
    return (rise * rise * (3 - 2 * rise)).astype(np.float32)
