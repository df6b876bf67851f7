"""Eyeballs that turn: spheres in the head, with the iris and the white of the photograph.

What lids hide in the photograph is filled in: the iris by the colours that the visible part has at the same
distance from its centre, the white by a pale colour as bright as its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from tclr.pipeline.tools.people.head.fit import HeadFit
from tclr.pipeline.tools.people.head.mesh import FaceModel

LIDS = {
    "right": (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    "left": (362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382),
}
"""Landmarks around each eye, by the subject's side."""
IRISES = {"right": (468, 469, 470, 471, 472), "left": (473, 474, 475, 476, 477)}
"""Landmarks of each iris: its centre, then four points of its edge."""
TEXTURE_PX = 128
REACH_RAD = 1.25
"""Angle from the optical axis to the texture's edge."""
RINGS, SPOKES = 20, 36
IRIS_CM = (0.5, 0.72)
"""Smallest and largest radius of an iris, in the model's centimetres; 0.58 is the mean of people."""


@dataclass(frozen=True)
class Eye:
    """An eyeball, looking along its own z axis."""

    centre: np.ndarray
    """(3,) in head coordinates."""
    radius_cm: float
    rest: np.ndarray
    """(2,): yaw and pitch at which the sphere shows the iris where the photograph does, in radians; see ``turn``."""
    gaze: np.ndarray
    """(2,): yaw and pitch of the gaze in the photograph: the direction of its camera, which people look into."""
    texture: np.ndarray
    """(TEXTURE_PX, TEXTURE_PX, 3) uint8: the eyeball from the front, by angle from its axis."""

    def place(self, shift: np.ndarray) -> np.ndarray:
        """Return the vertices (V, 3) in head coordinates of an eyeball that turns by yaw and pitch (2,)."""
        return (self.centre + self.radius_cm * cap()[0] @ turn(self.rest + shift).T).astype(np.float32)


def turn(gaze: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) of an eye that looks along yaw (+ to the right of the picture) and pitch (+ down)."""
    (sy, sp), (cy, cp) = np.sin(gaze), np.cos(gaze)
    return np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])


def cap() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the front of a unit sphere: vertices (V, 3), their places in the texture (V, 2), triangles (F, 3)."""
    angle = np.linspace(0, REACH_RAD, RINGS)[:, None]
    around = np.linspace(0, 2 * np.pi, SPOKES, endpoint=False)[None]
    x, y = np.cos(around), np.sin(around)
    points = np.stack([np.sin(angle) * x, np.sin(angle) * y, np.cos(angle) + 0 * x], axis=-1)
    uv = 0.5 + 0.5 * (angle / REACH_RAD)[..., None] * np.stack([x, -y], axis=-1)
    index = np.arange(RINGS * SPOKES).reshape(RINGS, SPOKES)
    inner, outer = index[:-1], index[1:]
    corners = np.stack([inner, outer, np.roll(outer, -1, 1), np.roll(inner, -1, 1)], axis=-1).reshape(-1, 4)
    triangles = np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]]).astype(np.int32)
    return points.reshape(-1, 3), uv.reshape(-1, 2).astype(np.float32), triangles


def build_eyes(model: FaceModel, fit: HeadFit, picture: np.ndarray, landmarks: np.ndarray) -> dict[str, Eye]:
    """Make both eyeballs of a fitted portrait."""
    return {side: _build_eye(model.eyes[side], fit, picture, landmarks, side) for side in ("left", "right")}


def _build_eye(rows: np.ndarray, fit: HeadFit, picture: np.ndarray, landmarks: np.ndarray, side: str) -> Eye:
    points = fit.vertices[rows]
    radius_cm = float(np.ptp(points[:, 0])) / 2
    middle = (points.min(0) + points.max(0)) / 2
    centre = np.array([middle[0], middle[1], points[:, 2].min() + radius_cm])
    iris = landmarks[list(IRISES[side]), :2].astype(float)
    front = fit.to_camera(centre + [0, 0, radius_cm])[2]
    seen = fit.to_head(fit.camera.lift(iris, np.full(len(iris), front)))
    x, y = np.clip((seen[0] - centre)[:2] / radius_cm, -0.5, 0.5)
    rest = _direction(np.array([x, y, np.sqrt(1 - x * x - y * y)]))
    iris_cm = float(np.clip(np.linalg.norm(seen[1:] - seen[0], axis=1).mean(), *IRIS_CM))
    gaze = _direction(fit.to_head(np.array([0.0, 0.0, fit.camera.distance_cm])) - centre)
    blank = Eye(centre, radius_cm, rest, gaze, np.zeros((TEXTURE_PX, TEXTURE_PX, 3), np.uint8))
    lids = landmarks[list(LIDS[side]), :2]
    return replace(blank, texture=_paint(blank, fit, picture, lids, np.arcsin(iris_cm / radius_cm)))


def _direction(vector: np.ndarray) -> np.ndarray:
    """Return the yaw and pitch (2,) of a vector (3,) in head coordinates; see ``turn``."""
    x, y, z = vector / np.linalg.norm(vector)
    return np.array([np.arctan2(x, z), -np.arcsin(y)])


def _paint(eye: Eye, fit: HeadFit, picture: np.ndarray, lids: np.ndarray, iris_rad: float) -> np.ndarray:
    """Return the texture of an eyeball whose iris spans ``iris_rad`` from its centre."""
    axis = np.linspace(-REACH_RAD, REACH_RAD, TEXTURE_PX)
    x, y = np.meshgrid(axis, -axis)
    angle = np.hypot(x, y)
    away = np.sinc(angle / np.pi)
    points = np.stack([away * x, away * y, np.cos(angle)], axis=-1)
    pixels = fit.camera.project(fit.to_camera(eye.centre + eye.radius_cm * points @ turn(eye.rest).T))
    colours = np.stack(
        [
            map_coordinates(picture[..., k].astype(np.float32), pixels[..., ::-1].transpose(2, 0, 1), order=1)
            for k in range(3)
        ],
        axis=-1,
    )
    visible = _inside(pixels, lids) & (points[..., 2] > 0.2)
    share = cv2.GaussianBlur(visible.astype(np.float32), (0, 0), 1.5) * visible
    return np.clip(
        _fill(colours, visible, angle, iris_rad) * (1 - share[..., None]) + colours * share[..., None], 0, 255
    ).astype(np.uint8)


def _inside(pixels: np.ndarray, lids: np.ndarray) -> np.ndarray:
    """Return which of the pixels (..., 2) lie between the lids (n, 2), away from lashes and corners."""
    middle = lids.mean(0)
    hull = ((lids - middle) * [0.86, 0.72] + middle + [0, 0.02 * np.ptp(lids[:, 0])]).astype(np.float32)
    flat = pixels.reshape(-1, 2)
    inside = [cv2.pointPolygonTest(hull, (float(x), float(y)), False) >= 0 for x, y in flat]
    return np.array(inside).reshape(pixels.shape[:-1])


def _fill(colours: np.ndarray, visible: np.ndarray, angle: np.ndarray, iris_rad: float) -> np.ndarray:
    """Return the eyeball's colours (H, W, 3) as they are at each angle from the axis, from the visible part."""
    edges = np.linspace(0, 1.15 * iris_rad, 12)
    middles, rings = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        ring = visible & (angle >= low) & (angle < high)
        if ring.sum() > 3:
            middles.append((low + high) / 2)
            rings.append(np.median(colours[ring], axis=0))
    white = visible & (angle > 1.2 * iris_rad)
    bright = np.percentile(colours[white].mean(1), 80) if white.sum() > 20 else 190.0
    pale = 0.9 * np.clip(bright, 110, 215) * np.array([1.03, 0.99, 0.96])
    profile = np.stack([np.interp(angle, middles, np.array(rings)[:, k]) for k in range(3)], axis=-1) if rings else pale
    in_iris = np.clip((1.1 * iris_rad - angle) / (0.12 * iris_rad), 0, 1)[..., None]
    shade = 1 - 0.25 * np.clip(angle / REACH_RAD, 0, 1)[..., None] ** 2
    return in_iris * profile + (1 - in_iris) * pale * shade
