"""Puts a puppet before the camera: layers to draw, from a pose, a gaze and the puppet's own shape.

The head turns about the top of its neck; the body follows by a fifth. Angles are those of ``faces.pose_from_rotation``:
pitch + down, yaw + to the right of the picture, roll + anticlockwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from tclr.pipeline.tools.people.head import N_FACE, Pose, Puppet, cap, fade_face, find_normals
from tclr.pipeline.tools.people.render import Layer

PIVOT = np.array([0.0, -4.0, 0.0])
"""Where the neck carries the head, in head coordinates: below and behind the ears."""
BODY_SHARE = 0.2
"""How much of the head's turn the shoulders make."""
GUMS, TEETH, SOCKET = (0.66, 0.34, 0.33), (0.90, 0.86, 0.78), (0.48, 0.20, 0.18)
MOUTH_DEPTH_CM = 5.5
"""Depth behind the lips at which the mouth is dark."""


def pose_rotation(angles: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) of pitch, yaw and roll (3,) in radians, ``Ry(yaw) @ Rx(pitch) @ Rz(roll)``.

    >>> (pose_rotation(np.array([0, np.pi / 2, 0])) @ [0, 0, 1]).round().tolist()  # looks to the right
    [1.0, 0.0, 0.0]
    """
    pitch, yaw, roll = angles
    return Rotation.from_euler("YXZ", [yaw, pitch, roll]).as_matrix()


@dataclass(frozen=True)
class Rest:
    """What of a puppet does not change from frame to frame."""

    uv: np.ndarray
    face_normals: np.ndarray
    relief_normals: np.ndarray
    face_side: np.ndarray
    face_opacity: np.ndarray
    mouth: dict[str, tuple[np.ndarray, np.ndarray]]
    """By part: its vertices, and triangles that count among them."""
    eye: tuple[np.ndarray, np.ndarray, np.ndarray]


def prepare(puppet: Puppet) -> Rest:
    """Return the parts of layers that hold for all frames of a puppet."""
    fit = puppet.fit
    face = puppet.model.triangles["face"]
    side = 0.5 + 0.5 * np.clip(fit.vertices[:N_FACE, 0] / 1.0, -1, 1)
    relief = fit.to_camera(puppet.relief.vertices)
    return Rest(
        puppet.uv,
        find_normals(fit.to_camera(fit.vertices[:N_FACE]), face),
        find_normals(relief, puppet.relief.triangles),
        side.astype(np.float32),
        fade_face(puppet.model.neutral[:N_FACE], face),
        {part: _compact(puppet.model.triangles[part]) for part in ("socket", "gums", "teeth")},
        cap(),
    )


def _compact(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices that triangles (F, 3) use, and the triangles counted among them."""
    rows, inverse = np.unique(triangles, return_inverse=True)
    return rows, inverse.reshape(-1, 3).astype(np.int32)


@dataclass(frozen=True)
class Placement:
    """Where head and body are: rotations (3, 3), and the place of the pivot in camera coordinates."""

    head: np.ndarray
    body: np.ndarray
    pivot: np.ndarray

    def place(self, points: np.ndarray, share: np.ndarray | None = None) -> np.ndarray:
        """Return camera coordinates (V, 3) float32 of head coordinates; ``share`` (V,) turns with the head."""
        turned = (points - PIVOT) @ self.head.T
        if share is not None:
            turned = share[:, None] * turned + (1 - share[:, None]) * ((points - PIVOT) @ self.body.T)
        return (turned + self.pivot).astype(np.float32)


def place_head(angles: np.ndarray, pivot: np.ndarray) -> Placement:
    """Return the placement of a head with pitch, yaw and roll (3,) whose pivot is at (3,) in camera coordinates."""
    return Placement(pose_rotation(angles), pose_rotation(BODY_SHARE * np.asarray(angles)), np.asarray(pivot))


def build_layers(puppet: Puppet, rest: Rest, pose: Pose, gaze: np.ndarray, placement: Placement) -> list[list[Layer]]:
    """Return the passes of a puppet whose eyes turn by ``gaze`` (2,), yaw and pitch: eyes and mouth, then skin."""
    return [
        _eye_layers(puppet, rest, gaze, placement) + _mouth_layers(puppet, rest, pose, placement),
        [_relief_layer(puppet, rest, pose, placement), _face_layer(puppet, rest, pose, placement)],
    ]


def _eye_layers(puppet: Puppet, rest: Rest, gaze: np.ndarray, placement: Placement) -> list[Layer]:
    _, uv, triangles = rest.eye
    return [
        Layer(placement.place(eye.place(gaze)), triangles, uv, texture=f"eye_{side}", cut=0.0)
        for side, eye in puppet.eyes.items()
    ]


def _mouth_layers(puppet: Puppet, rest: Rest, pose: Pose, placement: Placement) -> list[Layer]:
    lips = pose.head[puppet.model.landmarks[[13, 14]]].mean(0)
    seen = np.clip(1 - (lips[2] - pose.head[:, 2] - 0.2) / MOUTH_DEPTH_CM, 0.16, 1)
    uv = np.stack([seen, seen], axis=1)
    layers = []
    for part, colour in (("socket", SOCKET), ("gums", GUMS), ("teeth", TEETH)):
        rows, triangles = rest.mouth[part]
        positions = placement.place(pose.head[rows])
        layers.append(Layer(positions, triangles, uv[rows], plain=(*colour, 1.0), two_sided=part == "socket"))
    return layers


def _relief_layer(puppet: Puppet, rest: Rest, pose: Pose, placement: Placement) -> Layer:
    relief = puppet.relief
    positions = placement.place(pose.relief, relief.head_share)
    return Layer(positions, relief.triangles, relief.uv, texture="skin", rest_normals=rest.relief_normals)


def _face_layer(puppet: Puppet, rest: Rest, pose: Pose, placement: Placement) -> Layer:
    return Layer(
        placement.place(pose.head[:N_FACE]),
        puppet.model.triangles["face"],
        rest.uv[:N_FACE],
        texture="skin",
        rest_normals=rest.face_normals,
        side=rest.face_side,
        opacity=rest.face_opacity,
        cut=0.0,
    )
