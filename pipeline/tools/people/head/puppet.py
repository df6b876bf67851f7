"""A portrait as a puppet: a fitted head with a photograph as skin, moved by FACS actions.

Positions are (V, 3) float32 in head coordinates, centimetres (``fit``). What a frame of the puppet looks like depends
on intensities (21, 2) by action unit and side (``tools.people.actions``) and on where the eyes look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tclr.pipeline.tools.people.head.eyes import Eye, build_eyes
from tclr.pipeline.tools.people.head.fit import HeadFit, fit_head
from tclr.pipeline.tools.people.head.matte import clean_edges, cut_out, dress, fades, pad
from tclr.pipeline.tools.people.head.mesh import FaceModel
from tclr.pipeline.tools.people.head.relief import Relief, build_relief
from tclr.schemas.errors import InputError

SHAPES: dict[int, tuple[tuple[str, float], ...]] = {
    1: (("browInnerUp", 1.35),),
    2: (("browOuterUp", 1.15),),
    4: (("browDown", 1.2), ("browKnit", 0.8)),
    5: (("eyeWide", 1.0),),
    6: (("cheekSquint", 1.3), ("cheekRaiser", 0.8)),
    7: (("eyeSquint", 1.3),),
    9: (("noseSneer", 0.9),),
    10: (("mouthUpperUp", 1.1),),
    12: (("mouthSmile", 1.0),),
    14: (("mouthDimple", 1.2), ("mouthPress", 0.2)),
    15: (("mouthFrown", 1.0),),
    17: (("mouthShrugLower", 1.2), ("mouthShrugUpper", 0.25)),
    18: (("mouthPucker", 1.25),),
    20: (("mouthStretch", 1.2),),
    22: (("mouthFunnel", 1.25),),
    23: (("mouthPress", 0.7), ("mouthRollLower", 0.5), ("mouthRollUpper", 0.4), ("mouthPucker", 0.4)),
    24: (("mouthPress", 1.5), ("mouthRollUpper", 0.2), ("mouthRollLower", 0.2), ("mouthShrugLower", 0.15)),
    25: (("mouthLowerDown", 0.55), ("mouthUpperUp", 0.22)),
    26: (("jawOpen", 0.6),),
    28: (("mouthRollLower", 1.0), ("mouthRollUpper", 1.0)),
}
"""Expression shapes of ICT-FaceKit, and their weights, of each action unit at intensity 1.

After the table of FACS units in its README; 23, which it lacks, and weights other than 1 were tuned by eye. The lids'
43 is done apart.
"""
LIPS = ((13, 14), (82, 87), (312, 317))
"""Landmarks of upper and lower lip, facing each other, whose gap is AU 25."""
RAISER, LOWERER = list(SHAPES).index(1), list(SHAPES).index(4)
YIELDING = 0.7
"""Share of AU 4's shape that a full AU 1 undoes; chosen by us, so that both together look like sadness."""
PARTED_CM = 0.8
"""Gap of lips that count as wholly parted (AU 25 of 1); chosen by us: teeth show from about 0.3."""
LIDS = {"left": ((386, 374), (385, 380), (387, 373)), "right": ((159, 145), (160, 144), (158, 153))}
"""Landmarks of upper and lower lid, facing each other, by the subject's side."""
SIDES = ("left", "right")


@dataclass(frozen=True)
class Pose:
    """A frame of a puppet in head coordinates."""

    head: np.ndarray
    """(V, 3): all vertices of the model."""
    relief: np.ndarray
    """(R, 3): vertices of the relief."""
    lips_parted: float
    """AU 25 as the mesh shows it, 0..1."""


@dataclass
class Puppet:
    """A person who can be moved and rendered."""

    model: FaceModel
    fit: HeadFit
    relief: Relief
    picture: np.ndarray
    """(H, W, 3) uint8: the photograph, whose colours go on beyond the person's edge."""
    matte: np.ndarray
    """(H, W) float32, 0..1."""
    landmarks: np.ndarray
    """(478, 3) float32: the detector's, in pixels of the picture."""
    eyes: dict[str, Eye]
    build: np.ndarray
    """(V, 3): how this person's head differs from the portrait's."""

    @property
    def uv(self) -> np.ndarray:
        """(V, 2): the place of each vertex in the photograph, 0..1, y down."""
        pixels = self.fit.camera.project(self.fit.to_camera(self.fit.vertices))
        return (pixels / self.picture.shape[1::-1]).astype(np.float32)

    def reshape(self, change: np.ndarray) -> None:
        """Change the head by displacements (V, 3); hair, neck and eyes go along, and lids and lips still meet."""
        self.build = change.astype(np.float32)
        self.eyes = {
            side: replace(eye, centre=eye.centre + change[self.model.eyes[side]].mean(0))
            for side, eye in self.eyes.items()
        }

    def move(self, intensities: np.ndarray, gaze: np.ndarray) -> Pose:
        """Return the puppet under intensities (21, 2), its eyes turned by ``gaze``: yaw and pitch (2,) in radians."""
        shift = self.build + self._lids_with_gaze(gaze)
        for shapes, sides in zip(SHAPES.values(), _weigh_brows(intensities), strict=False):
            for name, weight in shapes:
                self._add(shift, name, weight * sides)
        gap = self._lip_gap(shift) - self._lip_gap(self.build)
        self._close_lids(shift, intensities[-1])
        return Pose(self.fit.vertices + shift, self.relief.follow(shift), float(np.clip(gap / PARTED_CM, 0, 1)))

    def _add(self, shift: np.ndarray, name: str, weights: np.ndarray) -> None:
        """Add a shape to a shift (V, 3), in place, by the weights of left and right."""
        whole = self.model.expressions.get(name)
        if whole is not None:
            if weights.any():
                shift += weights.mean() * whole
            return
        for weight, suffix in zip(weights, ("_L", "_R"), strict=True):
            if weight:
                shift += weight * self.model.expressions[name + suffix]

    def _lids_with_gaze(self, gaze: np.ndarray) -> np.ndarray:
        """Return the shift (V, 3) of lids that go up and down with the eyes."""
        shift = np.zeros_like(self.fit.vertices)
        name = "eyeLookDown" if gaze[1] > 0 else "eyeLookUp"
        self._add(shift, name, np.full(2, min(abs(gaze[1]) / 0.45, 1.0), np.float32))
        return shift

    def _gap(self, shift: np.ndarray, pairs: tuple[tuple[int, int], ...]) -> float:
        """Return the mean height in centimetres of the openings between pairs of landmarks."""
        rows = self.model.landmarks[np.array(pairs)]
        points = self.fit.vertices[rows] + shift[rows]
        return float((points[:, 0, 1] - points[:, 1, 1]).mean())

    def _lip_gap(self, shift: np.ndarray) -> float:
        return self._gap(shift, LIPS)

    def _close_lids(self, shift: np.ndarray, closed: np.ndarray) -> None:
        """Close the lids by shares (2,) of what is still open, in place: at 1 they meet, whatever else moves."""
        for side, share, suffix in zip(SIDES, closed, ("_L", "_R"), strict=True):
            if share <= 0:
                continue
            blink = self.model.expressions["eyeBlink" + suffix]
            rows = self.model.landmarks[np.array(LIDS[side])]
            closes = float((blink[rows[:, 1], 1] - blink[rows[:, 0], 1]).mean())
            shift += 1.04 * share * self._gap(shift, LIDS[side]) / closes * blink


def _weigh_brows(intensities: np.ndarray) -> np.ndarray:
    """Return intensities (21, 2) where brows that are raised by AU 1 sink less under AU 4, as both muscles pull."""
    weighed = intensities.copy()
    weighed[LOWERER] *= 1 - YIELDING * intensities[RAISER]
    return weighed


def check_shapes(model: FaceModel) -> None:
    """Raise ``InputError`` if a head lacks expressions that action units need."""
    used = {name for shapes in SHAPES.values() for name, _ in shapes} | {"eyeBlink", "eyeLookDown", "eyeLookUp"}
    known = model.expressions.keys()
    missing = sorted(name for name in used if name not in known and not {f"{name}_L", f"{name}_R"} <= known)
    if missing:
        raise InputError(
            f"Expected expressions {', '.join(missing)} in ICT-FaceKit's folder, but found none. Get it again."
        )


def build_puppet(
    model: FaceModel, picture: np.ndarray, landmarks: np.ndarray, *, shirt: np.ndarray, rng: np.random.Generator
) -> Puppet:
    """Make a puppet of a portrait (H, W, 3) uint8 RGB with landmarks (478, 3) in its pixels.

    ``shirt`` (3,) is the colour of clothes where the portrait shows none.
    """
    ends_at_neck, matte = fades(picture), cut_out(picture, landmarks)
    face_px = float(np.ptp(landmarks[:468, 0]))
    margins = (round(0.5 * face_px), round(1.2 * face_px))
    centre = (margins[0] + picture.shape[1] / 2, picture.shape[0] / 2)
    picture, matte = pad(clean_edges(picture, matte), matte, margins)
    landmarks = landmarks + np.array([margins[0], 0, 0], np.float32)
    if ends_at_neck:
        picture, matte = dress(picture, matte, landmarks, shirt, rng)
    fit = fit_head(model, landmarks, centre)
    return Puppet(
        model=model,
        fit=fit,
        relief=build_relief(fit, model, matte),
        picture=picture,
        matte=matte,
        landmarks=landmarks,
        eyes=build_eyes(model, fit, picture, landmarks),
        build=np.zeros_like(fit.vertices),
    )
