"""Head pose as mediapipe's geometry module finds it: the canonical face laid over the landmarks.

The landmarks are seen by a camera with a vertical field of view of 63 degrees. How far the face is from it follows from
how large it is, in two steps; then the canonical face is scaled, turned and moved onto it, by weighted least squares
(Umeyama, "Least-Squares Estimation of Transformation Parameters Between Two Point Patterns", PAMI 1991).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

FIELD_OF_VIEW = math.radians(63)
N_VERTICES, N_COLUMNS = 468, 5
"""Vertices of the canonical face: x, y, z and a place in a texture."""


@dataclass(frozen=True)
class CanonicalFace:
    """The points that a pose is measured by: landmark numbers (n,), places (n, 3) in cm, and root weights (n, 1)."""

    numbers: np.ndarray
    points: np.ndarray
    weights: np.ndarray

    @classmethod
    def parse(cls, content: bytes) -> CanonicalFace:
        """Read the bundle's file, a protocol buffer ``GeometryPipelineMetadata``.

        >>> from tclr.pipeline.faces import find_model
        >>> from tclr.pipeline.faces.landmarker.bundle import CANONICAL_FACE, read_entry
        >>> CanonicalFace.parse(read_entry(find_model(), CANONICAL_FACE)).points.shape
        (33, 3)
        """
        vertices: list[float] = []
        basis: dict[int, float] = {}
        for number, value in _fields(content):
            if number == 1 and isinstance(value, bytes):  # canonical_mesh
                vertices = [entry for field, entry in _fields(value) if field == 3 and isinstance(entry, float)]
            elif number == 2 and isinstance(value, bytes):  # procrustes_landmark_basis
                entry = dict(_fields(value))
                basis[int(entry.get(1, 0))] = float(entry[2])
        points = np.array(vertices).reshape(N_VERTICES, N_COLUMNS)[:, :3]
        numbers = np.array(sorted(basis))
        return cls(numbers, points[numbers], np.sqrt([[basis[number]] for number in numbers.tolist()]))

    def rotation(self, landmarks: np.ndarray, width: int, height: int) -> np.ndarray:
        """Return the (3, 3) rotation of the canonical face into the camera's frame: x right, y up, z to the camera.

        ``landmarks`` (478, 3) are in pixels of a picture of that size.
        """
        points = landmarks[:N_VERTICES].astype(np.float64)
        per_pixel = 2 * math.tan(FIELD_OF_VIEW / 2) / height  # at distance 1
        middle = float(points[:, 2].mean()) * per_pixel
        seen = (points[self.numbers] - [width / 2, height / 2, 0]) * per_pixel * [1, -1, 1]
        scale = self._fit(seen * [1, 1, -1])[1]
        scale *= self._fit(_place(seen, middle, scale))[1]
        return self._fit(_place(seen, middle, scale))[0]

    def _fit(self, target: np.ndarray) -> tuple[np.ndarray, float]:
        """Return rotation and scale of the canonical points onto (n, 3) others."""
        centred, size = self._centred
        cross = (self.weights * target).T @ centred
        u, _, vt = np.linalg.svd(cross)
        if np.linalg.det(u @ vt) < 0:
            u[:, 2] *= -1
        rotation = u @ vt
        return rotation, float((rotation * cross).sum() / size)

    @cached_property
    def _centred(self) -> tuple[np.ndarray, float]:
        """The weighted canonical points around their middle, (n, 3), and the sum of their squares."""
        source = self.weights * self.points
        centred = source - self.weights * ((self.weights * source).sum(axis=0) / float((self.weights**2).sum()))
        return centred, float((centred * source).sum())


def _place(seen: np.ndarray, middle: float, scale: float) -> np.ndarray:
    """Return the points in space of points seen at distance 1, (n, 3), of a face that is ``scale`` times as large."""
    depth = (seen[:, 2:] - middle + 1) / scale
    return np.concatenate([seen[:, :2] * depth, -depth], axis=1)


def _fields(content: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yield number and value of each field of a protocol buffer; 32 bits are read as a float."""
    place = 0
    while place < len(content):
        key, place = _read_varint(content, place)
        value: int | float | bytes
        if key & 7 == 0:
            value, place = _read_varint(content, place)
        elif key & 7 == 2:
            length, place = _read_varint(content, place)
            value, place = content[place : place + length], place + length
        else:
            value, place = struct.unpack_from("<f", content, place)[0], place + 4
        yield key >> 3, value


def _read_varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place
