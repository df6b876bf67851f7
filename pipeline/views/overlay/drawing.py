"""Draws faces on a frame: box, landmarks and axes of the head on the picture, AU bars beside it.

Pictures are (H, W, 3) uint8 RGB and are changed in place.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from tclr.pipeline.faces import turn_points
from tclr.schemas.action_units import PRESENT

Colour = tuple[int, int, int]

TRACK_COLOURS: tuple[Colour, ...] = (
    (86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178),
)  # fmt: skip
"""Okabe and Ito's colours, which colour-blind people can distinguish."""
AXIS_COLOURS: tuple[Colour, ...] = ((255, 80, 80), (80, 220, 80), (90, 130, 255))
"""Colours of the head's x (to the right of the picture), y (up) and z (out of the face)."""
BACKGROUND, TROUGH, PALE, WHITE = (24, 24, 24), (60, 60, 60), (150, 150, 150), (240, 240, 240)
FONT = cv2.FONT_HERSHEY_SIMPLEX
PANEL_SHARE = 0.42
"""Width of a face's panel as a share of its height: room for an AU's name, bar and label."""
MAX_ROW_SHARE = 0.05
"""Largest height of an AU's row as a share of the panel's, so that a few AUs do not fill it."""


@dataclass(frozen=True)
class FaceView:
    """One face in one frame; unknown values are ``None`` or NaN."""

    name: str
    """Its clip, such as ``F001/T1``."""
    status: str
    colour: Colour
    bbox: np.ndarray | None
    """(4,) x0 y0 x1 y1 in pixels of the picture."""
    landmarks: np.ndarray | None
    """(K, 2) in pixels of the picture."""
    pose: np.ndarray | None
    """(3,) pitch, yaw, roll in radians, of the picture turned by ``rotation``."""
    aus: tuple[str, ...]
    """A names. The arrays below are (A,): probability and threshold 0..1, the others 0, 1 or NaN."""
    probability: np.ndarray
    present: np.ndarray
    true: np.ndarray
    threshold: np.ndarray
    rotation: int = 0
    """Degrees clockwise by which the picture was turned for the face to be upright."""


def rotation_from_pose(pose: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation ``Ry(yaw) @ Rx(pitch) @ Rz(roll)`` of (pitch, yaw, roll) in radians.

    It is the inverse of ``tclr.pipeline.faces.pose_from_rotation``.
    """
    return Rotation.from_euler("YXZ", np.asarray(pose)[[1, 0, 2]]).as_matrix()


def draw_face(image: np.ndarray, face: FaceView) -> None:
    """Draw the box, landmarks, head axes and name of a face on a picture, as far as they are known.

    >>> picture, nothing = np.zeros((90, 160, 3), np.uint8), np.zeros(0)
    >>> face = FaceView("anna", "ok", (255, 0, 0), np.array([9, 9, 60, 80]), None, None, (), *[nothing] * 4)
    >>> draw_face(picture, face)
    >>> bool(picture.any())
    True
    """
    if face.bbox is None:
        return
    thickness = max(1, round(image.shape[0] / 360))
    x0, y0, x1, y1 = (round(float(value)) for value in face.bbox)
    if face.landmarks is not None:
        for x, y in np.rint(face.landmarks).astype(int):
            cv2.circle(image, (int(x), int(y)), thickness, face.colour, -1, cv2.LINE_AA)
    cv2.rectangle(image, (x0, y0), (x1, y1), face.colour, thickness, cv2.LINE_AA)
    if face.pose is not None:
        origin = ((x0 + x1) // 2, (y0 + y1) // 2)
        _draw_axes(image, face.pose, face.rotation, origin, 0.4 * (y1 - y0), thickness + 1)
    _write(image, f"{face.name} {face.status}", (x0, max(y0 - 6 * thickness, 16)), image.shape[0] / 1200, face.colour)


def draw_panel(face: FaceView | None, height: int) -> np.ndarray:
    """Return the panel of a face's AU bars, (height, ``PANEL_SHARE`` of it, 3); without a face it is empty.

    >>> draw_panel(None, 100).shape
    (100, 42, 3)
    """
    width = even(PANEL_SHARE * height)
    panel = np.full((height, width, 3), BACKGROUND, np.uint8)
    if face is None:
        return panel
    pad, size = round(0.04 * width), height / 1200
    _write(panel, face.name, (pad, round(0.045 * height)), 1.2 * size, face.colour)
    _write(panel, face.status, (pad, round(0.085 * height)), size, PALE)
    if face.pose is not None:
        pitch, yaw, roll = np.degrees(face.pose)
        angles = f"pitch {pitch:+.0f}  yaw {yaw:+.0f}  roll {roll:+.0f}"
        _write(panel, angles, (pad, round(0.125 * height)), size, PALE)
    top = round(0.16 * height)
    row_px = min((height - top - pad) / max(len(face.aus), 1), MAX_ROW_SHARE * height)
    for i in range(len(face.aus)):
        _draw_bar(panel, face, i, round(top + (i + 0.15) * row_px), round(top + (i + 0.85) * row_px))
    return panel


def even(value: float) -> int:
    """Return the nearest even number: H.264 needs even sides."""
    return 2 * round(value / 2)


def _draw_axes(
    image: np.ndarray, pose: np.ndarray, turned: int, origin: tuple[int, int], length_px: float, thickness: int
) -> None:
    """Draw the head's axes in parallel projection, the farthest from the camera first."""
    rotation = rotation_from_pose(pose)
    tips = turn_points(rotation[:2].T * (length_px, -length_px), -turned % 360)
    for axis in np.argsort(rotation[2]):
        tip = (round(origin[0] + tips[axis, 0]), round(origin[1] + tips[axis, 1]))
        cv2.arrowedLine(image, origin, tip, AXIS_COLOURS[axis], thickness, cv2.LINE_AA, tipLength=0.15)


def _draw_bar(panel: np.ndarray, face: FaceView, i: int, top: int, bottom: int) -> None:
    """Draw the i-th AU: its name, probability (bar), threshold (line) and label (square, filled if present)."""
    width = panel.shape[1]
    pad, left = round(0.04 * width), round(0.26 * width)
    full_px = width - 2 * pad - round(0.06 * width) - left
    present = face.present[i] == PRESENT
    _write(panel, face.aus[i], (pad, bottom - 1), (bottom - top) / 30, WHITE if present else PALE)
    panel[top:bottom, left : left + full_px] = TROUGH
    if np.isfinite(face.probability[i]):
        length_px = round(float(face.probability[i]) * full_px)
        panel[top:bottom, left : left + length_px] = face.colour if present else PALE
    x = left + round(float(face.threshold[i]) * full_px)
    cv2.line(panel, (x, top), (x, bottom - 1), WHITE, 1)
    if np.isfinite(face.true[i]):
        x, side = left + full_px + pad, min(bottom - top, round(0.05 * width))
        cv2.rectangle(panel, (x, top), (x + side, top + side), WHITE, -1 if face.true[i] == PRESENT else 1)


def _write(image: np.ndarray, text: str, place: tuple[int, int], size: float, colour: Colour) -> None:
    """Write a line of text with a dark outline; its bottom left corner is at ``place``."""
    thickness = max(1, round(1.6 * size))
    for dx, dy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        cv2.putText(image, text, (place[0] + dx, place[1] + dy), FONT, size, (0, 0, 0), thickness, cv2.LINE_AA)
    cv2.putText(image, text, place, FONT, size, colour, thickness, cv2.LINE_AA)
