"""Where photo people look, as an eye of human size would: their eyeballs are larger than those of people.

The head of ICT-FaceKit has eyeballs of 1.50 cm radius in a face of human size. A pupil that moves by as much as theirs
belongs to an eye that turns further: it lies 1.05 cm before the point that the eye turns about (1.35 cm from there to
the front of the eye, of which 0.3 cm are before the pupil as it is seen through the cornea).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tclr.pipeline.tools.people import PIVOT, pose_rotation, read_settings, read_truth, recall_scene

MESH_RADIUS_CM, PUPIL_RADIUS_CM = 1.50, 1.05
EYES_CM = np.array([0.0, 3.4, 9.0])
"""Midway between the eyes, in head coordinates of the mesh."""


@dataclass(frozen=True)
class ClipTruth:
    """What is true of the T frames of a clip; directions are relative to the line from the face to the camera."""

    looks: np.ndarray
    """(T, 2, 3): unit vectors along which the left and the right eye look."""
    rotation: np.ndarray
    """(T, 3, 3): of the head."""
    closed: np.ndarray
    """(T, 2): AU43 of either eye, 0..1."""
    place_mm: np.ndarray
    """(T, 3): where the eyes are, x right, y down, z away from the camera."""
    focal_px: float
    """Of the camera."""


def read_clip_truth(people: Path, person: str, clip: str) -> ClipTruth:
    """Return what is true of a clip in a folder of ``tclr people``, such as ``a`` of ``P000``.

    >>> read_clip_truth(Path("clips"), "P000", "a")
    Traceback (most recent call last):
    tclr.schemas.errors.InputError: Expected a folder of 'tclr people', but clips has no settings.json. ...
    """
    name = f"{person}_{clip}"
    scene = recall_scene(person, clip, read_settings(people))
    turned = read_truth(people, name, "gaze").reshape(-1, 2, 2)  # left and right eye; yaw and pitch
    in_photograph = (turned - scene.gaze[:, None]).mean(axis=0)
    rotation = np.stack([pose_rotation(angles) for angles in scene.pose])
    place = scene.pivot + rotation @ (EYES_CM - PIVOT)
    to_camera = np.swapaxes(_turn_to(np.array([0, 0, scene.camera.distance_cm]) - place), 1, 2)
    looks = np.einsum("tij,tej->tei", to_camera @ rotation, _as_human(turned, in_photograph))
    place_mm = 10 * np.column_stack([place[:, 0], -place[:, 1], scene.camera.distance_cm - place[:, 2]])
    closed = read_truth(people, name, "sides")[:, -2:]
    return ClipTruth(looks, to_camera @ rotation, closed, place_mm, scene.camera.focal_px)


def _as_human(turned: np.ndarray, in_photograph: np.ndarray) -> np.ndarray:
    """Return directions (T, 2, 3) in the head of eyes whose pupils lie where those of the mesh do.

    ``turned`` (T, 2, 2) is yaw and pitch of the mesh's eyes, ``in_photograph`` (2, 2) those in the photograph, in which
    people look into the camera.
    """
    start, now = _direction(in_photograph), _direction(turned)
    sines = start[..., :2] + MESH_RADIUS_CM / PUPIL_RADIUS_CM * (now - start)[..., :2]
    sines = sines * np.minimum(1, 0.98 / np.linalg.norm(sines, axis=-1, keepdims=True))
    return np.concatenate([sines, np.sqrt(1 - (sines**2).sum(axis=-1, keepdims=True))], axis=-1)


def _direction(angles: np.ndarray) -> np.ndarray:
    """Return the unit vectors (..., 3) of yaw and pitch (..., 2)."""
    yaw, pitch = np.moveaxis(angles, -1, 0)
    return np.stack([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)], axis=-1)


def _turn_to(vectors: np.ndarray) -> np.ndarray:
    """Return the rotations (T, 3, 3) by yaw and pitch that turn the z axis to vectors (T, 3)."""
    x, y, z = vectors.T
    angles = np.stack([-np.arctan2(y, np.hypot(x, z)), np.arctan2(x, z), np.zeros(len(x))], axis=1)
    return np.stack([pose_rotation(turn) for turn in angles])
