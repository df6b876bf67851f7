"""Normals and rims of surfaces of triangles: vertices (V, 3), triangles (F, 3)."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

FADE_CM = 1.2
"""Width of the face's rim that fades into what is around it; the relief reaches 1.6 cm under it."""


def find_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the unit normals (V, 3) float32 of vertices, means of their triangles' weighted by area.

    >>> find_normals(np.eye(3), np.array([[0, 1, 2]]))[0].round(3).tolist()
    [0.5770000219345093, 0.5770000219345093, 0.5770000219345093]
    """
    corners = vertices[triangles]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    whose = (np.ones(triangles.size), (triangles.ravel(), np.repeat(np.arange(len(triangles)), 3)))
    summed = sparse.csr_matrix(whose, shape=(len(vertices), len(triangles))) @ flat
    return (summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def find_rim(triangles: np.ndarray, n: int) -> np.ndarray:
    """Return which (n,) of n vertices lie on the rim of a surface."""
    pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, count = np.unique(pairs, axis=0, return_counts=True)
    rim = np.zeros(n, bool)
    rim[unique[count == 1]] = True
    return rim


def fade_face(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return the opacities (V,) of a face in head coordinates: it ends softly at its outer rim, and under the chin.

    A photograph shows the skin under the chin from the side, so that the mesh would smear it.
    """
    rim = vertices[find_rim(triangles, len(vertices))]
    outer = rim[(np.abs(rim[:, 0]) > 5.3) | (rim[:, 1] > 5.5) | (rim[:, 1] < -6.5)]  # not lids and lips
    distance, _ = cKDTree(outer).query(vertices) if len(outer) else (np.full(len(vertices), FADE_CM), None)
    down = -find_normals(vertices, triangles)[:, 1]
    under = np.clip((down - 0.55) / 0.25, 0, 1) * np.clip(-vertices[:, 1] - 5.0, 0, 1)
    return (np.clip(distance / FADE_CM, 0, 1) * (1 - under)).astype(np.float32)
