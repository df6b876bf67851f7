"""Moves the landmarks of a face by FACS action units, and draws the furrows that they make.

Landmarks are mediapipe's 478 points, ``(478, 3)`` float32 in pixels: x right, y down, z away from the camera.
Displacements are computed in the face's own frame (origin between the eyes, x along the eye line, y down,
the distance between the eyes = 1, about 62 mm) and then converted to pixels.

The effect of each action on the skin follows Ekman, Friesen and Hager, "Facial Action Coding System" (2002).
Sizes, radii and crease strengths were tuned by eye and by the response of mediapipe's blendshapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Part = Literal["all", "upper", "lower"]
Lids = tuple[tuple[int, ...], tuple[int, ...]]

# Contours of mediapipe's face mesh, from the left of the image to its right; eyes by image side.
LEFT_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133))
RIGHT_LIDS = ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263))
LEFT_FOLDS = ((247, 30, 29, 27, 28, 56, 190), (25, 110, 24, 23, 22, 26, 112))
RIGHT_FOLDS = ((414, 286, 258, 257, 259, 260, 467), (341, 256, 252, 253, 254, 339, 255))
EYES = ((LEFT_LIDS, LEFT_FOLDS), (RIGHT_LIDS, RIGHT_FOLDS))
UPPER_LIP = (
    (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    (76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306),
    (62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292),
    (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
)
LOWER_LIP = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    (76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306),
    (62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
)
INNER_UPPER, INNER_LOWER = UPPER_LIP[3], LOWER_LIP[3]
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
N_LANDMARKS = 478


@dataclass(frozen=True)
class Pull:
    """A patch of skin that a muscle pulls: a Gaussian around each anchor (a landmark's index).

    ``out`` (away from the midline) and ``up`` are its displacements at intensity 1, in eye distances. ``radius`` is the
    standard deviation along x and y. ``part`` limits the pull to the upper or the lower side of the mouth line.
    """

    anchors: tuple[int, ...]
    out: float
    up: float
    radius: tuple[float, float]
    part: Part = "all"


@dataclass(frozen=True)
class Crease:
    """A deepening furrow: a line through landmarks (a pair: their midpoint), darker by ``depth``."""

    path: tuple[int | tuple[int, int], ...]
    depth: float


@dataclass(frozen=True)
class Action:
    """One action unit at intensity 1: pulls, lip thinning, the share of the eye that each lid closes, creases."""

    pulls: tuple[Pull, ...] = ()
    thin_lips: float = 0.0
    upper_lid: float = 0.0
    lower_lid: float = 0.0
    creases: tuple[Crease, ...] = ()


ACTIONS: dict[int, Action] = {
    # Medial frontalis raises the inner brow; short lines across the middle of the forehead.
    1: Action(
        pulls=(Pull((107, 336), -0.01, 0.13, (0.19, 0.20)),),
        creases=(Crease(((66, 69), (107, 108), (9, 151), (336, 337), (296, 299)), 0.16),),
    ),
    # Lateral frontalis arches the outer brow and stretches the lid fold under it.
    2: Action(
        pulls=(Pull((70, 300), 0.02, 0.15, (0.22, 0.20)),),
        creases=(Crease(((63, 68), (105, 104), (66, 69)), 0.14), Crease(((296, 299), (334, 333), (293, 298)), 0.14)),
    ),
    # Corrugator and depressor supercilii lower the brows and draw them together: upright lines between.
    4: Action(
        pulls=(Pull((55, 285), -0.08, -0.12, (0.18, 0.18)), Pull((105, 334), -0.02, -0.08, (0.24, 0.16))),
        upper_lid=0.08,
        creases=(Crease(((107, 9), (55, 9), (193, 8)), 0.22), Crease(((336, 9), (285, 9), (417, 8)), 0.22)),
    ),
    # Orbicularis oculi, outer part: raises the cheek, narrows the eye, bags below it, crow's feet beside it.
    6: Action(
        pulls=(Pull((118, 347), 0.0, 0.085, (0.24, 0.17)), Pull((35, 265), -0.04, 0.02, (0.12, 0.16))),
        upper_lid=0.10,
        lower_lid=0.22,
        creases=(
            Crease((130, 35, (143, 111)), 0.18),
            Crease((130, (226, 35), 143), 0.18),
            Crease((359, 265, (372, 340)), 0.18),
            Crease((359, (446, 265), 372), 0.18),
            Crease((31, 228, 229, 230, 231), 0.20),
            Crease((261, 448, 449, 450, 451), 0.20),
        ),
    ),
    # Orbicularis oculi, inner part: tightens the lids, the lower one rises and straightens.
    7: Action(
        upper_lid=0.20,
        lower_lid=0.36,
        creases=(Crease((25, 110, 24, 23, 22, 26), 0.16), Crease((255, 339, 254, 253, 252, 256), 0.16)),
    ),
    # Levator labii superioris raises the upper lip, most beside its centre, and the skin up to the cheek.
    10: Action(
        pulls=(
            Pull((39, 269), 0.01, 0.065, (0.18, 0.12), "upper"),
            Pull((203, 423), 0.02, 0.055, (0.16, 0.17), "upper"),
            Pull((64, 294), 0.02, 0.035, (0.08, 0.08)),
        ),
        creases=(Crease((129, (129, 203), 206), 0.26), Crease((358, (358, 423), 426), 0.26)),
    ),
    # Zygomaticus major pulls the lip corners up and out, lifts the cheek, deepens the nasolabial furrow.
    12: Action(
        pulls=(Pull((61, 291), 0.10, 0.12, (0.20, 0.15)), Pull((205, 425), 0.04, 0.06, (0.22, 0.20))),
        thin_lips=0.10,
        creases=(Crease((129, 203, 206, 216, 212), 0.24), Crease((358, 423, 426, 436, 432), 0.24)),
    ),
    # Buccinator tightens the corners against the teeth: they draw out and a dimple forms beside them.
    14: Action(
        pulls=(Pull((61, 291), 0.075, 0.02, (0.12, 0.09)), Pull((212, 432), -0.05, 0.0, (0.09, 0.14))),
        thin_lips=0.18,
        creases=(
            Crease(((57, 186), (57, 212), (57, 212), (43, 202)), 0.30),
            Crease(((287, 410), (287, 432), (287, 432), (273, 422)), 0.30),
        ),
    ),
    # Depressor anguli oris pulls the corners down; pouching below them.
    15: Action(
        pulls=(Pull((61, 291), 0.015, -0.13, (0.12, 0.13)), Pull((204, 424), 0.0, -0.03, (0.12, 0.12))),
        creases=(Crease((61, (43, 202), (202, 204), 211), 0.20), Crease((291, (273, 422), (422, 424), 431), 0.20)),
    ),
    # Mentalis pushes the chin boss and the lower lip up: a furrow under the lip, a puckered chin.
    17: Action(
        pulls=(
            Pull((199,), 0.0, 0.10, (0.24, 0.16), "lower"),
            Pull((17,), 0.0, 0.075, (0.22, 0.12), "lower"),
            Pull((0,), 0.0, 0.04, (0.20, 0.12), "upper"),
        ),
        creases=(
            Crease((182, (83, 201), (18, 200), (313, 421), 406), 0.22),
            Crease((208, (199, 200), 428), 0.12),
            Crease((171, 199, 396), 0.12),
        ),
    ),
    # Orbicularis oris tightens the lips: narrower red, narrower mouth, fine upright lines.
    23: Action(
        pulls=(Pull((61, 291), -0.085, 0.0, (0.16, 0.13)),),
        thin_lips=0.40,
        creases=(
            Crease(((37, 167), 37), 0.08),
            Crease(((267, 393), 267), 0.08),
            Crease((40, (40, 92)), 0.08),
            Crease((270, (270, 322)), 0.08),
            Crease((84, (84, 83)), 0.08),
            Crease((314, (314, 313)), 0.08),
        ),
    ),
    # Orbicularis oris presses the lips together: they thin and widen a little, the skin round them bulges.
    24: Action(
        pulls=(
            Pull((61, 291), 0.02, 0.0, (0.12, 0.10)),
            Pull((17,), 0.0, 0.015, (0.24, 0.10), "lower"),
            Pull((0,), 0.0, -0.015, (0.24, 0.10), "upper"),
        ),
        thin_lips=0.68,
        creases=(
            Crease(((91, 106), (84, 83), (17, 18), (314, 313), (321, 335)), 0.22),
            Crease((61, (57, 43)), 0.25),
            Crease((291, (287, 273)), 0.25),
        ),
    ),
    # The lips part.
    25: Action(pulls=(Pull((17,), 0.0, -0.09, (0.26, 0.12), "lower"), Pull((0,), 0.0, 0.030, (0.22, 0.10), "upper"))),
    # The jaw drops: chin and lower lip go down together, cheeks lengthen, corners come in a little.
    26: Action(pulls=(Pull((200,), 0.0, -0.25, (0.62, 0.42), "lower"), Pull((61, 291), -0.03, -0.03, (0.15, 0.15)))),
    # Blink: levator palpebrae lets go, the upper lid comes down to the lower.
    45: Action(upper_lid=0.88, lower_lid=0.12),
}
"""The animated action units, by number."""

AUS = tuple(ACTIONS)


@dataclass(frozen=True)
class FaceFrame:
    """The face's own frame: origin (2,) in pixels, axes (2, 2) as rows, and one eye distance in pixels."""

    origin: np.ndarray
    axes: np.ndarray
    unit_px: float

    def to_face(self, points_px: np.ndarray) -> np.ndarray:
        """Convert positions (..., 2) from pixels to eye distances."""
        return (points_px - self.origin) @ self.axes.T / self.unit_px

    def to_pixels(self, vectors: np.ndarray) -> np.ndarray:
        """Convert displacements (..., 2) from eye distances to pixels."""
        return vectors @ self.axes * self.unit_px


def fit_frame(landmarks: np.ndarray) -> FaceFrame:
    """Fit the face's frame to landmarks (478, 3), using the eye corners, which no lid moves."""
    left, right = (landmarks[list(pair), :2].mean(0) for pair in ((33, 133), (362, 263)))
    unit_px = float(np.linalg.norm(right - left))
    x_axis = (right - left) / unit_px
    axes = np.stack([x_axis, [-x_axis[1], x_axis[0]]]).astype(np.float32)
    return FaceFrame(((left + right) / 2).astype(np.float32), axes, unit_px)


def smoothstep(x: np.ndarray) -> np.ndarray:
    """Rise smoothly from 0 at x <= 0 to 1 at x >= 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _mouth_line(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Return x, y (11,) of the line between the lips, the mouth's centre x and its half width."""
    line = (points[list(INNER_UPPER)] + points[list(INNER_LOWER)]) / 2
    left, right = points[61], points[291]
    return line[:, 0], line[:, 1], float(left[0] + right[0]) / 2, float(right[0] - left[0]) / 2


def _lower_share(points: np.ndarray) -> np.ndarray:
    """Return how far each landmark (478,) follows lower lip and jaw: 0 above the mouth line, 1 below."""
    line_x, line_y, centre_x, half_width = _mouth_line(points)
    below = points[:, 1] - np.interp(points[:, 0], line_x, line_y)
    share = smoothstep((below + 0.12) / 0.32)
    opening = np.sqrt(np.clip(1 - ((points[:, 0] - centre_x) / half_width) ** 2, 0, 1))
    for lips, side in ((UPPER_LIP, -0.5), (LOWER_LIP, 0.5)):
        index = np.unique(lips)
        share[index] = 0.5 + side * opening[index]
    return share.astype(np.float32)


def _hold_lids() -> np.ndarray:
    """Return the share (478,) of a skin pull that each landmark follows; lids stay on the eyeball."""
    share = np.ones(N_LANDMARKS, np.float32)
    share[np.unique(LEFT_FOLDS + RIGHT_FOLDS)] = 0.75
    share[np.unique(LEFT_LIDS + RIGHT_LIDS)] = 0.0
    return share


def _pull_field(pull: Pull, points: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Return the displacement (478, 2) of one pull at intensity 1, in eye distances."""
    parts = {"all": np.ones_like(lower), "upper": 1 - lower, "lower": lower}
    field = np.zeros_like(points)
    for anchor in pull.anchors:
        offset = (points - points[anchor]) / np.array(pull.radius, np.float32)
        weight = np.exp(-0.5 * (offset**2).sum(1)) * parts[pull.part] * _hold_lids()
        side = np.sign(points[anchor, 0]) if len(pull.anchors) > 1 else 0.0
        field += weight[:, None] * np.array([side * pull.out, -pull.up], np.float32)
    return field


def _thinning_field(points: np.ndarray) -> np.ndarray:
    """Return the displacement (478, 2) that rolls the red of both lips in towards the mouth line."""
    line_x, line_y, centre_x, half_width = _mouth_line(points)
    height = points[:, 1] - np.interp(points[:, 0], line_x, line_y)
    thickness = np.abs(height[[0, 17]]).max()
    across = smoothstep(1.35 - np.abs(points[:, 0] - centre_x) / half_width)
    roll = -height * np.exp(-0.5 * (height / (1.3 * thickness)) ** 2) * across
    return np.stack([np.zeros_like(roll), roll], axis=1)


def build_moves(neutral: np.ndarray) -> np.ndarray:
    """Return the displacements (len(AUS), 478, 2) in pixels of a neutral face (478, 3) under each action unit.

    They are for intensity 1, in the order of `AUS`, without the lids, which `apply_actions` moves.
    """
    frame = fit_frame(neutral)
    points = frame.to_face(neutral[:, :2])
    lower, thinning = _lower_share(points), _thinning_field(points)
    moves = np.zeros((len(AUS), N_LANDMARKS, 2), np.float32)
    for row, action in enumerate(ACTIONS.values()):
        moves[row] = action.thin_lips * thinning
        for pull in action.pulls:
            moves[row] += _pull_field(pull, points, lower)
    return frame.to_pixels(moves)


def apply_actions(neutral: np.ndarray, moves: np.ndarray, intensities: np.ndarray) -> np.ndarray:
    """Return the landmarks (478, 3) of a face under action units.

    ``neutral`` (478, 3) is the neutral face, ``moves`` are from `build_moves`, ``intensities`` (len(AUS),) are 0..1.
    """
    landmarks = neutral.copy()
    landmarks[:, :2] += np.einsum("a,alx->lx", intensities, moves)
    lids = np.array([(action.upper_lid, action.lower_lid) for action in ACTIONS.values()])
    upper, lower = intensities @ lids
    _close_lids(landmarks, upper, lower)
    _keep_lips_apart(landmarks)
    return landmarks


def _close_lids(landmarks: np.ndarray, upper: float, lower: float) -> None:
    """Bring the lids together, in place; ``upper`` and ``lower`` are shares of the eye's opening."""
    scale = 1 / max(1.0, upper + lower)
    for lids, folds in EYES:
        gap = landmarks[list(lids[1]), :2] - landmarks[list(lids[0]), :2]
        middle = gap[1:-1].mean(0)
        landmarks[list(lids[0]), :2] += upper * scale * gap
        landmarks[list(lids[1]), :2] -= lower * scale * gap
        landmarks[list(folds[0]), :2] += 0.45 * upper * scale * middle
        landmarks[list(folds[1]), :2] -= 0.6 * lower * scale * middle


def _keep_lips_apart(landmarks: np.ndarray) -> None:
    """Let the lips' edges meet in the middle where they have crossed, in place."""
    upper, lower = landmarks[list(INNER_UPPER)], landmarks[list(INNER_LOWER)]
    overlap = np.clip(upper[:, 1] - lower[:, 1], 0, None) / 2
    landmarks[list(INNER_UPPER), 1] -= overlap
    landmarks[list(INNER_LOWER), 1] += overlap


def measure_closure(lids: Lids, rest: np.ndarray, now: np.ndarray) -> float:
    """Return how far an eye is closed: 0 as at rest, 1 shut. Points are (n, 2) or (n, 3)."""
    upper, lower = (list(lid) for lid in lids)
    was_px, is_px = (np.abs(points[lower, 1] - points[upper, 1]).sum() for points in (rest, now))
    return float(np.clip(1 - is_px / was_px, 0, 1))


def slide_lids(source: np.ndarray, rest: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Return the source points (n, 2) with the upper lids' edges moved up to bare skin as the eyes close.

    Otherwise the lashes would be stretched over the lid. ``rest`` and ``now`` are (n, 3) vertices without and with
    action units.
    """
    slid = source.copy()
    for lids, (fold, _) in EYES:
        edge = list(lids[0][1:-1])
        slid[edge] += 0.6 * measure_closure(lids, rest, now) * (source[list(fold)] - source[edge])
    return slid


def inset_lips(landmarks: np.ndarray, amount: float) -> np.ndarray:
    """Return landmarks (478, 3) with the lips' inner edges moved into the red, off the teeth between them."""
    moved = landmarks.copy()
    for lips in (UPPER_LIP, LOWER_LIP):
        inner, middle = list(lips[3]), list(lips[2])
        moved[inner] += amount * (landmarks[middle] - landmarks[inner])
    return moved


def relax_smile(landmarks: np.ndarray, amount: float) -> np.ndarray:
    """Return landmarks (478, 3) with closed lips and without a smile of ``amount`` (1: AU12 in full)."""
    relaxed = landmarks.copy()
    relaxed[:, :2] -= amount * build_moves(landmarks)[AUS.index(12)]
    frame = fit_frame(relaxed)
    points = frame.to_face(relaxed[:, :2])
    line_x, line_y, *_ = _mouth_line(points)
    gap = points[list(INNER_LOWER), 1] - points[list(INNER_UPPER), 1]
    height = points[:, 1] - np.interp(points[:, 0], line_x, line_y)
    near = np.exp(-0.5 * (height / 0.35) ** 2) * np.interp(points[:, 0], line_x, np.clip(gap, 0, None), 0, 0)
    close = np.stack([np.zeros_like(near), (0.5 - _lower_share(points)) * near], axis=1)
    relaxed[:, :2] += frame.to_pixels(close.astype(np.float32))
    return relaxed


def shade_creases(landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the furrows of every action unit, (len(AUS), height, width) float32, for a picture of that shape.

    They are relative changes of brightness at intensity 1: a dark line with a lighter fold of skin around it.
    """
    unit_px = fit_frame(landmarks).unit_px
    shades = np.zeros((len(AUS), *shape), np.float32)
    for row, action in enumerate(ACTIONS.values()):
        for crease in action.creases:
            points = [landmarks[list(p) if isinstance(p, tuple) else [p], :2].mean(0) for p in crease.path]
            shades[row] += crease.depth * _draw_crease(np.array(points), shape, 0.022 * unit_px)
    return shades


def _draw_crease(points: np.ndarray, shape: tuple[int, int], width_px: float) -> np.ndarray:
    """Return one furrow (height, width): -1 along the line through points (n, 2), tapering to its ends."""
    steps = np.linspace(0, len(points) - 1, 24)
    curve = np.stack([np.interp(steps, np.arange(len(points)), points[:, axis]) for axis in (0, 1)], axis=1)
    taper = np.sin(np.pi * np.linspace(0.06, 0.94, len(curve)))
    line = np.zeros(shape, np.float32)
    for start, end, strength in zip(curve[:-1], curve[1:], taper, strict=False):
        first, last = ([int(v) for v in np.round(point * 16)] for point in (start, end))
        cv2.line(line, first, last, float(strength), max(1, round(width_px)), cv2.LINE_8, 4)
    dark = cv2.GaussianBlur(line, (0, 0), width_px)
    wide = cv2.GaussianBlur(line, (0, 0), 3 * width_px)
    return (1.2 * wide - dark) / max(float(dark.max()), 1e-6)
