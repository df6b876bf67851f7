"""Makes the clips of one photo person: builds the puppet once, then moves, draws, spoils and encodes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase

import cv2
import numpy as np

from tclr.pipeline.faces import open_detector
from tclr.pipeline.system import replacing
from tclr.pipeline.tools.people.actions import AUS, FPS, plan_actions
from tclr.pipeline.tools.people.casting import Role, make_up, person_rng
from tclr.pipeline.tools.people.files import Truth, video_path, write_truth
from tclr.pipeline.tools.people.head import N_FACE, FaceModel, Furrows, Puppet, build_puppet, draw_furrows, find_normals
from tclr.pipeline.tools.people.occluders import REGIONS, Occluder, find_visibility, plan_kinds, plan_occluder
from tclr.pipeline.tools.people.portraits import read_portrait
from tclr.pipeline.tools.people.render import Renderer
from tclr.pipeline.tools.people.scene import FACE_WIDTH_CM, Scene, find_exposure, plan_scene, spoil
from tclr.pipeline.tools.people.settings import PeopleSettings
from tclr.pipeline.tools.people.stage import Rest, build_layers, place_head, prepare
from tclr.pipeline.tools.people.worn import Mask, Part, build_glasses, build_mask, glasses_layers
from tclr.pipeline.video import VideoWriter
from tclr.schemas.config import DetectConfig

BUILD, PLAN, DRAW, OCCLUDE = range(4)
"""Streams of random numbers, so that a change in one leaves the others as they are."""
PARTED = AUS.index(25)
"""Index of AU 25, whose label is what the mesh's lips show."""


Before = Occluder | Mask | None
"""What comes before a face."""


@dataclass
class Person:
    """A person who is ready for their clips."""

    role: Role
    puppet: Puppet
    rest: Rest
    furrows: Furrows
    glasses: list[Part]
    regions: dict[str, np.ndarray]
    """Vertices of each region of the face."""
    skin: np.ndarray
    """(3,): the colour of hands, 0..255."""


@dataclass(frozen=True)
class Shot:
    """A frame that has been drawn, and what is known of it."""

    picture: np.ndarray
    parted: float
    gaze: np.ndarray
    visibility: np.ndarray


class Maker:
    """Makes people in one process: it holds the model, the detector and the renderer."""

    def __init__(self, out: Path, model: FaceModel, settings: PeopleSettings) -> None:
        self._out, self._model, self._settings = out, model, settings
        self._detector = open_detector(DetectConfig(), video=False)
        self._renderer = Renderer(settings.width, settings.height)

    def make(self, role: Role, clips: Sequence[str]) -> Iterator[str]:
        """Write clips of a person; yield the name of each."""
        person = self._build(role)
        for clip in clips:
            self._write(person, clip)
            yield clip

    def _build(self, role: Role) -> Person:
        """Return a person, whose textures the renderer then holds."""
        seed = self._settings.seed
        image, landmarks = read_portrait(role.portrait, self._detector)
        rng = role.rng(seed, BUILD)
        puppet = build_puppet(self._model, image, landmarks, shirt=np.array(role.shirt), rng=rng)
        make_up(puppet, role, seed)
        furrows = draw_furrows(puppet.landmarks, puppet.picture.shape[1::-1], rng)
        self._renderer.load("skin", np.dstack([puppet.picture, np.rint(255 * puppet.matte).astype(np.uint8)]))
        for side, eye in puppet.eyes.items():
            self._renderer.load(f"eye_{side}", eye.texture)
        self._renderer.load_furrows(furrows.maps, furrows.box)
        regions = {name: self._model.landmarks[list(points)] for name, points in REGIONS.items()}
        cheeks = puppet.landmarks[[50, 280, 151], :2].astype(int)
        skin = np.median([puppet.picture[y, x] for x, y in cheeks], axis=0)
        glasses = build_glasses(puppet, rng) if role.glasses else []
        return Person(role, puppet, prepare(puppet), furrows, glasses, regions, skin)

    def _write(self, person: Person, clip: str) -> None:
        """Write the tables of a clip, then its video."""
        settings, role = self._settings, person.role
        number = ascii_lowercase.index(clip)
        size_px = (settings.width, settings.height)
        intensities, scene = plan_clip(role, number, settings)
        rng = role.rng(settings.seed, DRAW, number)
        before = self._plan_before(person, number, rng)
        exposure = find_exposure(person.skin, scene.lights[0], scene.quality)
        shots = []
        with replacing(video_path(self._out, role, clip)) as temporary:
            with VideoWriter(temporary, *size_px, crf=scene.quality.crf) as writer:
                for frame, now in enumerate(intensities):
                    shot = self._shoot(person, scene, frame, now, before)
                    writer.write(spoil(shot.picture, scene.quality, exposure, rng), frame / FPS)
                    shots.append(shot)
            intensities[:, PARTED] = np.array([shot.parted for shot in shots])[:, None]
            write_truth(self._out, f"{role.name}_{clip}", _gather(intensities, scene, shots))

    def _shoot(self, person: Person, scene: Scene, frame: int, now: np.ndarray, before: Before) -> Shot:
        """Draw a frame of a person under intensities (21, 2), with what is before the face."""
        puppet, camera, light, gaze = person.puppet, scene.camera, scene.lights[frame], scene.gaze[frame]
        pose = puppet.move(now, gaze)
        placement = place_head(scene.pose[frame], scene.pivot[frame])
        passes = build_layers(puppet, person.rest, pose, gaze, placement)
        passes[-1] += glasses_layers(person.glasses, placement)
        depths = person.furrows.weigh(dict(zip(AUS, now, strict=True)))
        drawn = self._renderer.draw(passes, camera, light, depths)
        size_px = self._renderer.size_px
        picture = over(drawn, backdrop_at(scene, frame, size_px))
        face = placement.place(pose.head[:N_FACE])
        pixels = camera.project(face)
        opacity = None
        if isinstance(before, Mask):
            layer = self._renderer.draw([[before.layer(pose, placement)]], camera, light)
        elif before is not None:
            width_px = camera.focal_px * FACE_WIDTH_CM / camera.distance_cm
            layer = before.draw(frame, pixels.mean(0), width_px, size_px)
        if before is not None:
            picture, opacity = over(layer, picture), layer[..., 3] / 255
        facing = find_normals(face, puppet.model.triangles["face"])[:, 2]
        visibility = find_visibility(person.regions, pixels, facing, opacity, size_px)
        return Shot(picture, pose.lips_parted, np.stack([eye.gaze + gaze for eye in puppet.eyes.values()]), visibility)

    def _plan_before(self, person: Person, number: int, rng: np.random.Generator) -> Before:
        """Return what comes before the face in a clip."""
        settings = self._settings
        kind = plan_kinds(settings.clips, settings.occluded, person.role.rng(settings.seed, OCCLUDE))[number]
        if kind == "mask":
            mask = build_mask(self._model, rng)
            self._renderer.load("mask", mask.texture)
            return mask
        return plan_occluder(kind, settings.frames, person.skin, rng) if kind else None

    def close(self) -> None:
        """Free the detector."""
        self._detector.close()


def plan_clip(role: Role, number: int, settings: PeopleSettings) -> tuple[np.ndarray, Scene]:
    """Return the intensities (T, 21, 2) and the scene of a person's clip; AU 25 is yet to be seen on the mesh."""
    what, around = role.rng(settings.seed, PLAN, number).spawn(2)
    intensities = plan_actions(settings.frames, turn=role.index * settings.clips + number, rng=what)
    return intensities, plan_scene(settings.frames, (settings.width, settings.height), around)


def recall_scene(person: str, clip: str, settings: PeopleSettings) -> Scene:
    """Return the scene of a clip that these settings have made, such as ``a`` of ``P000``: the plan is the same again.

    >>> recall_scene("P000", "a", PeopleSettings(frames=20)).gaze.shape
    (20, 2)
    """
    number = ascii_lowercase.index(clip)
    around = person_rng(int(person[1:]), settings.seed, PLAN, number).spawn(2)[1]
    return plan_scene(settings.frames, (settings.width, settings.height), around)


def over(layer: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) behind a layer (H, W, 4), colours times opacity, 0..255."""
    return layer[..., :3] + (1 - layer[..., 3:] / 255) * picture


def backdrop_at(scene: Scene, frame: int, size_px: tuple[int, int]) -> np.ndarray:
    """Return the backdrop (H, W, 3) float32 of a frame, to the fraction of a pixel."""
    matrix = np.array([[1, 0, -scene.drift[frame, 0]], [0, 1, -scene.drift[frame, 1]]])
    return cv2.warpAffine(scene.backdrop, matrix, size_px, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _gather(intensities: np.ndarray, scene: Scene, shots: Sequence[Shot]) -> Truth:
    return Truth(
        intensities=intensities,
        pose=scene.pose,
        gaze=np.stack([shot.gaze for shot in shots]),
        visibility=np.stack([shot.visibility for shot in shots]),
        regions=list(REGIONS),
    )
