"""Facial movement from landmarks and blendshapes: the targets of pretraining's geometry loss.

A rigid fit on points that hardly move relative to the skull brings all landmarks of a clip to one head pose. The clip's
median face is then subtracted, which leaves the movement of each point without head pose, position, size or identity.
Blendshapes, if the detector gives them, are reduced by their median, too. All of it is in the store; no labels are
needed.

Source of the rigid fit: Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
IEEE TPAMI 1991.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES


@dataclass(frozen=True)
class Topology:
    """Landmarks of one detector: the points whose movement is measured, and the points that give the head pose.

    ``pairs`` are points of the right and left half of the face: first the outer eye corners, then eyes, brows, mouth,
    nose and cheeks. ``middle`` are points on the midline. ``rigid`` are points that muscles hardly move; ``upright``
    are a high and a low point on the midline.
    """

    pairs: tuple[tuple[int, int], ...]
    middle: tuple[int, ...]
    rigid: tuple[int, ...]
    upright: tuple[int, int]

    @property
    def chosen(self) -> list[int]:
        """The points whose movement is measured: right and left alternating, then the midline."""
        return [*(point for pair in self.pairs for point in pair), *self.middle]


MESH = Topology(
    pairs=(
        *((33, 263), (133, 362), (159, 386), (145, 374), (70, 300), (63, 293), (105, 334), (66, 296), (107, 336)),
        *((55, 285), (61, 291), (57, 287), (78, 308), (40, 270), (91, 321), (37, 267), (84, 314), (82, 312)),
        *((87, 317), (83, 313), (48, 278), (98, 327), (50, 280), (205, 425), (118, 347), (214, 434)),
    ),
    middle=(0, 17, 13, 14, 2, 164, 9, 8, 18, 200, 199, 152),
    rigid=(10, 109, 338, 67, 297, 103, 332, 54, 284, 21, 251, 127, 356, 168, 6, 197, 195, 5, 4, 33, 263, 133, 362),
    upright=(10, 4),
)
"""mediapipe's mesh."""
IBUG = Topology(
    pairs=(
        *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46), (17, 26), (18, 25), (19, 24), (20, 23)),
        *((21, 22), (31, 35), (32, 34), (48, 54), (49, 53), (50, 52), (60, 64), (61, 63), (59, 55), (58, 56)),
        *((67, 65), (5, 11)),
    ),
    middle=(33, 51, 62, 66, 57, 8),
    rigid=(0, 1, 15, 16, 27, 28, 29, 30, 36, 39, 42, 45),
    upright=(27, 30),
)
"""iBUG's 68 points, as face-alignment gives them."""
TOPOLOGIES = {478: MESH, 68: IBUG}
"""Topologies by number of landmarks."""
UNIT = 0.03
"""Unit of movement as a share of the distance between the outer eye corners. It is about the spread of all coordinates
on rendered people, so targets are near 1."""
BLENDSHAPE_UNIT = 0.15
"""Unit of blendshapes, which are 0..1."""
ROUNDS = 3
"""Rigid fits: the first to one frame, the others to the median of the fitted frames. The third moves no point by more
than a thousandth."""
LIMIT = 4.0
"""Movements are clipped here, in units; larger ones are landmarks that jumped."""


def n_targets(n_landmarks: int) -> int:
    """Return the number of movement values per frame: x, y and z of each chosen point; 0 for unknown landmarks.

    >>> n_targets(478), n_targets(68), n_targets(5)
    (192, 150, 0)
    """
    return 3 * len(TOPOLOGIES[n_landmarks].chosen) if n_landmarks in TOPOLOGIES else 0


def fit_rigid(points: np.ndarray, reference: np.ndarray, rigid: np.ndarray) -> np.ndarray:
    """Rotate, scale and shift the points (T, K, 3) of each frame so that its ``rigid`` ones best fit ``reference``.

    >>> reference = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> turned = 5 + 2 * reference[:, [1, 0, 2]] * [1, -1, 1]
    >>> bool(np.allclose(fit_rigid(turned[None], reference, rigid=np.arange(4)), reference))
    True
    """
    centre = points[:, rigid].mean(axis=1, keepdims=True)
    target = reference[rigid] - reference[rigid].mean(axis=0)
    source = points[:, rigid] - centre
    u, stretch, vt = np.linalg.svd(source.transpose(0, 2, 1) @ target)
    signs = np.ones_like(stretch)
    signs[:, 2] = np.sign(np.linalg.det(u @ vt))
    scale = (stretch * signs).sum(axis=1) / np.square(source).sum(axis=(1, 2))
    rotation = (u * signs[:, None, :]) @ vt
    return scale[:, None, None] * ((points - centre) @ rotation) + reference[rigid].mean(axis=0)


def movement(landmarks: np.ndarray) -> np.ndarray:
    """Return the movement of a clip's chosen points relative to its median face.

    ``landmarks`` (T, K, 3) are source pixels, NaN where there is no face. The result is (T, ``n_targets(K)``) float32:
    x, y and z of each point, in units of ``UNIT``, clipped to -LIMIT..LIMIT. It is NaN where there is no face, and
    everywhere if landmarks have no depth (all z are 0).
    """
    topology = TOPOLOGIES[landmarks.shape[1]]
    out = np.full((len(landmarks), n_targets(landmarks.shape[1])), np.nan, np.float32)
    known = np.isfinite(landmarks).all(axis=(1, 2))
    if not landmarks[known, :, 2].any():  # without depth, head rotation looks like movement
        return out
    points = landmarks[known].astype(np.float64)
    reference = points[len(points) // 2]
    for _ in range(ROUNDS):
        reference = upright(reference, topology.pairs[0], topology.upright)
        fitted = fit_rigid(points, reference, np.array(topology.rigid))
        reference = np.median(fitted, axis=0)
    right_eye, left_eye = reference[list(topology.pairs[0])]
    moved = (fitted - reference)[:, topology.chosen] / (np.linalg.norm(right_eye - left_eye) * UNIT)
    out[known] = moved.clip(-LIMIT, LIMIT).reshape(len(points), -1)
    return out


def upright(face: np.ndarray, eyes: tuple[int, int], middle: tuple[int, int]) -> np.ndarray:
    """Rotate a face (K, 3) to the axes of all clips: eyes along x, the midline in the plane of x and y."""
    x = face[eyes[1]] - face[eyes[0]]
    x /= np.linalg.norm(x)
    z = np.cross(x, face[middle[1]] - face[middle[0]])
    z /= np.linalg.norm(z)
    return (face - face.mean(axis=0)) @ np.stack([x, np.cross(z, x), z], axis=1)


def mirror_index(n_numbers: int) -> tuple[np.ndarray, np.ndarray]:
    """Return index and sign (G,) that mirror the G targets of ``clip_targets``: ``targets[..., index] * sign``.

    Right and left are swapped, and x changes its sign. ``n_numbers`` is G, from which the kind of targets follows.

    >>> index, sign = mirror_index(n_targets(68))
    >>> index[:6], sign[:3]
    (array([3, 4, 5, 0, 1, 2]), array([-1.,  1.,  1.], dtype=float32))
    """
    kinds = {n_targets(count) + extra: count for count in TOPOLOGIES for extra in (0, len(BLENDSHAPE_NAMES))}
    topology = TOPOLOGIES[kinds[n_numbers]]
    n_paired, n_points = 2 * len(topology.pairs), len(topology.chosen)
    points = np.array([*np.arange(n_paired).reshape(-1, 2)[:, ::-1].flat, *range(n_paired, n_points)])
    index = (3 * points[:, None] + np.arange(3)).ravel()
    sign = np.tile(np.array([-1, 1, 1], np.float32), n_points)
    if n_numbers > len(index):
        other = {"Left": "Right", "Right": "Left"}
        swapped = [re.sub("Left|Right", lambda side: other[side[0]], name) for name in BLENDSHAPE_NAMES]
        index = np.append(index, [len(index) + BLENDSHAPE_NAMES.index(name) for name in swapped])
        sign = np.append(sign, np.ones(len(swapped), np.float32))
    return index, sign


def clip_targets(store: Store, info: ClipInfo) -> np.ndarray:
    """Return a clip's targets (T, G) float32, NaN where there is no face: movement and, if stored, blendshapes.

    The first columns are those of ``movement``. The 52 blendshapes follow, less their median and in units of
    ``BLENDSHAPE_UNIT``. G is 0 for an unknown kind of landmarks.
    """
    landmarks = store.read(info, "landmarks")
    if landmarks.shape[1] not in TOPOLOGIES:
        return np.zeros((len(landmarks), 0), np.float32)
    moved = movement(landmarks)
    if "blendshapes" not in store.fields(info):
        return moved
    shapes = store.read(info, "blendshapes")
    known = np.isfinite(shapes).all(axis=1)
    if known.any():
        shapes = (shapes - np.median(shapes[known], axis=0)) / BLENDSHAPE_UNIT
    return np.concatenate([moved, shapes.astype(np.float32)], axis=1)
