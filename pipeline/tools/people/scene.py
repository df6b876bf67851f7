"""Plans what surrounds the actions: head and eye movement, camera, light, backdrop and the quality of the video.

None of it depends on the Action Units, so that nothing but the face tells them. Angles are radians as in
``faces.pose_from_rotation``: pitch + down, yaw + to the right of the picture, roll + anticlockwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from tclr.pipeline.tools.people.head import Camera
from tclr.pipeline.tools.people.render import Light

FPS = 25.0
POSE_LIMITS = np.deg2rad([20.0, 35.0, 15.0])
"""Largest pitch, yaw and roll."""
GAZE_LIMITS = np.array([0.42, 0.30])
"""Largest turn of an eye from its place in the photograph: yaw and pitch in radians."""
FACE_WIDTH_CM = 15.0
KNEE = 0.55
"""Linear light from which a camera's curve bends, so that bright skin keeps its detail."""


@dataclass(frozen=True)
class Scene:
    """Everything of a clip of T frames but the person and the actions."""

    pose: np.ndarray
    """(T, 3): pitch, yaw, roll of the head."""
    pivot: np.ndarray
    """(T, 3): where the neck carries the head, camera coordinates in centimetres."""
    gaze: np.ndarray
    """(T, 2): how far the eyes turn from their place in the photograph, yaw and pitch."""
    camera: Camera
    lights: list[Light]
    backdrop: np.ndarray
    """(H, W, 3) float32 RGB, larger than a frame by ``backdrop_drift``."""
    drift: np.ndarray
    """(T, 2): where a frame begins in the backdrop, in pixels x and y."""
    quality: Quality


@dataclass(frozen=True)
class Quality:
    """How the camera and the file spoil the picture."""

    brightness: float
    """Of the face's skin, 0..255: cameras expose for it."""
    gamma: float
    noise: float
    """Standard deviation of sensor noise, of 255."""
    blur_px: float
    reduction: float
    """The picture is reduced to this share of its size, and enlarged again."""
    crf: int
    """x264's constant rate factor."""


def plan_scene(frames: int, size_px: tuple[int, int], rng: np.random.Generator) -> Scene:
    """Plan a clip of ``frames`` frames of width and height ``size_px``."""
    motion, view, light, back, spoil = rng.spawn(5)
    pose = plan_pose(frames, motion)
    camera = _plan_camera(size_px, view)
    backdrop, drift = _plan_backdrop(frames, size_px, back)
    return Scene(
        pose=pose,
        pivot=_plan_place(frames, view),
        gaze=plan_gaze(frames, pose, motion),
        camera=camera,
        lights=_plan_lights(frames, light),
        backdrop=backdrop,
        drift=drift,
        quality=_plan_quality(spoil),
    )


def waves(frames: int, count: int, rng: np.random.Generator, *, fastest_hz: float = 0.7) -> np.ndarray:
    """Return smooth curves (frames, count) of about -1..1: three slow sines each."""
    seconds = np.arange(frames)[:, None, None] / FPS
    frequency = rng.uniform(0.06, fastest_hz, (3, count))
    phase = rng.uniform(0, 2 * np.pi, (3, count))
    size = np.array([0.6, 0.3, 0.1])[:, None]
    return (size * np.sin(2 * np.pi * frequency * seconds + phase)).sum(1)


def plan_pose(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return pitch, yaw and roll (frames, 3): a direction that the head keeps to, and movement about it."""
    towards = np.clip(rng.normal(0, [0.38, 0.42, 0.30], 3), -0.8, 0.8)
    lively = rng.uniform(0.1, 0.55)
    return np.clip(towards + lively * waves(frames, 3, rng), -1, 1) * POSE_LIMITS


def plan_gaze(frames: int, pose: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the turn of the eyes (frames, 2): jumps between places, or a look that stays on the camera."""
    jumps = np.zeros((frames, 2))
    at = 0
    while at < frames:
        length = int(rng.uniform(8, 50))
        jumps[at : at + length] = rng.normal(0, [0.16, 0.09], 2) * (rng.random() < 0.7)
        at += length
    jumps = ndimage.gaussian_filter1d(jumps, 0.8, axis=0, mode="nearest")  # a saccade lasts some 50 ms
    held = rng.choice([0.0, 0.9], p=[0.4, 0.6])
    return np.clip(jumps - held * pose[:, [1, 0]], -GAZE_LIMITS, GAZE_LIMITS)


def _plan_camera(size_px: tuple[int, int], rng: np.random.Generator) -> Camera:
    """Return a camera from 45 cm (a telephone) to 220 cm, with a face of 0.42 to 0.66 of the picture's width."""
    distance = float(np.exp(rng.uniform(np.log(45), np.log(220))))
    width_px = size_px[0] * rng.uniform(0.42, 0.66)
    return Camera(distance, width_px / FACE_WIDTH_CM * (distance - 4), (size_px[0] / 2, size_px[1] / 2))


def _plan_place(frames: int, rng: np.random.Generator) -> np.ndarray:
    place = np.array([rng.normal(0, 1.4), -5.0 + rng.normal(0, 1.0), 0.0])
    return place + waves(frames, 3, rng, fastest_hz=0.4) * rng.uniform(0.1, 1.2, 3) * [1, 0.7, 1.5]


def _plan_lights(frames: int, rng: np.random.Generator) -> list[Light]:
    """Return a light per frame: a direction, its share of all light, and the colours of both parts."""
    hard = rng.uniform(0.15, 0.75)
    around, above = rng.normal(0, 0.8), rng.normal(0.45, 0.3)
    warmth = rng.normal(0, 0.10)
    tint, other = (np.array([1 + w, 1.0, 1 - w]) for w in (warmth, -0.5 * warmth + rng.normal(0, 0.05)))
    course = waves(frames, 3, rng, fastest_hz=0.4) * [0.15, 0.08, 0.08]
    lights = []
    for turn, lift, flicker in course:
        direction = np.array([np.sin(around + turn), np.tan(np.clip(above + lift, -0.4, 1.1)), np.cos(around + turn)])
        lights.append(Light(direction, (1 - hard) * other * 1.05, hard * tint * (1.25 + flicker)))
    return lights


def _plan_quality(rng: np.random.Generator) -> Quality:
    poor = rng.random() < 0.25
    return Quality(
        brightness=float(np.clip(rng.normal(138, 28), 70, 200)),
        gamma=float(rng.uniform(0.85, 1.2)),
        noise=float(rng.uniform(0.5, 3.0) * (2.0 if poor else 1.0)),
        blur_px=float(rng.uniform(0.0, 0.5) + (rng.uniform(0, 0.8) if poor else 0)),
        reduction=float(rng.uniform(0.45, 0.8) if poor else 1.0),
        crf=int(rng.integers(16, 25) + (rng.integers(4, 12) if poor else 0)),
    )


def _plan_backdrop(frames: int, size_px: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a backdrop and where each of the frames begins in it."""
    margin = 16
    width, height = size_px[0] + 2 * margin, size_px[1] + 2 * margin
    paint = (_plain_wall, _room, _room, _foliage)[rng.integers(4)]
    backdrop = np.clip(paint(height, width, rng), 0, 255).astype(np.float32)
    drift = margin + margin * 0.9 * waves(frames, 2, rng, fastest_hz=0.3) * (rng.random() < 0.4)
    return backdrop, drift


def _colour(rng: np.random.Generator) -> np.ndarray:
    """Return a colour (3,) as walls and things have: mostly not saturated."""
    grey = rng.uniform(25, 235)
    return np.clip(grey + rng.normal(0, 1, 3) * rng.choice([8, 20, 55], p=[0.5, 0.35, 0.15]), 0, 255)


def _plain_wall(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    shade = 1 + 0.25 * (rng.normal() * x + rng.normal() * y) / 2
    grain = cv2.GaussianBlur(rng.normal(0, 25, (height, width)), (0, 0), rng.uniform(1, 6))
    return _colour(rng) * shade[..., None] + grain[..., None]


def _room(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return shelves, windows and doors out of focus."""
    picture = _plain_wall(height, width, rng)
    for _ in range(rng.integers(4, 16)):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(8, width // 2), rng.integers(8, height // 2)
        picture[y : y + h, x : x + w] = _colour(rng) * rng.uniform(0.7, 1.3)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.0, 7.0))


def _foliage(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return soft spots of light and dark, as of trees far behind."""
    base, other = _colour(rng), _colour(rng)
    mix = np.zeros((height, width))
    for scale in (9, 25, 60):
        mix += cv2.GaussianBlur(rng.normal(0, 1, (height, width)), (0, 0), scale) * scale
    mix = 1 / (1 + np.exp(-mix))
    return base * mix[..., None] + other * (1 - mix[..., None])


def find_exposure(skin: np.ndarray, light: Light, quality: Quality) -> float:
    """Return the factor, of linear light, that shows skin of a colour (3,) in a light as bright as the quality asks.

    Dark skin is exposed less than in full, as cameras do.
    """
    towards = light.direction / np.linalg.norm(light.direction)
    lit = light.ambient + light.diffuse * max((towards[2] + 0.25) / 1.25, 0)
    now = 255 * ((np.clip(skin, 1, 255) / 255) ** 2.2 * lit).mean() ** (1 / 2.2)
    wanted = quality.brightness * (np.clip(skin, 1, 255).mean() / 165) ** 0.6
    return float(np.clip(wanted / now, 0.4, 2.5) ** 2.2)


def spoil(picture: np.ndarray, quality: Quality, exposure: float, rng: np.random.Generator) -> np.ndarray:
    """Return a frame (H, W, 3) uint8 as the camera delivers it, from a picture (H, W, 3) float32, 0..255."""
    height, width = picture.shape[:2]
    if quality.reduction < 1:
        small = (max(8, round(width * quality.reduction)), max(8, round(height * quality.reduction)))
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    if quality.blur_px > 0.15:
        picture = cv2.GaussianBlur(picture, (0, 0), quality.blur_px)
    linear = exposure * (np.clip(picture, 0, 255) / 255) ** 2.2
    rolled = np.where(linear > KNEE, 1 - (1 - KNEE) * np.exp(-(linear - KNEE) / (1 - KNEE)), linear)
    exposed = 255 * rolled ** (quality.gamma / 2.2)
    noisy = exposed + rng.normal(0, quality.noise, exposed.shape)
    frame = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
    return frame if quality.reduction == 1 else cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
