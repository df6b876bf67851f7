"""Decides who the photo people are: which portrait each is made of, and how they differ from it.

The first round of people takes every portrait once, as it is but for a little of tone. Later rounds change the shape of
the head and the skin, so that people of the same portrait do not look the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from tclr.pipeline.tools.people.head import Puppet
from tclr.pipeline.tools.people.portraits import Portrait

GLASSES_SHARE = 0.18
"""Chosen by us: fewer than wear them, since portraits' eyes are worth seeing."""
RESHAPED_MODES, RESHAPED_BY = 40, 0.55
"""Identity coefficients that change in later rounds, and the standard deviation of the change."""


@dataclass(frozen=True)
class Role:
    """A photo person."""

    name: str
    """P000, P001, ..."""
    index: int
    portrait: Portrait
    round: int
    """How many people were made of this portrait before."""
    tone: tuple[float, float, float]
    """Factors of the skin's linear red, green and blue."""
    detail: float
    """Factor of the skin's fine detail: below 1 smoother, above 1 older."""
    glasses: bool
    shirt: tuple[float, float, float]

    def rng(self, seed: int, *more: int) -> np.random.Generator:
        """Return the random numbers of this person under a seed, or of a part of them."""
        return person_rng(self.index, seed, *more)


def person_rng(index: int, seed: int, *more: int) -> np.random.Generator:
    """Return the random numbers of a person under a seed, or of a part of them."""
    return np.random.default_rng([seed, index, *more])


def cast_people(portraits: Sequence[Portrait], people: int, seed: int) -> list[Role]:
    """Return the people of a seed: the first ones are the same whatever their number."""
    roles: list[Role] = []
    for index in range(people):
        turn, place = divmod(index, len(portraits))
        order = np.random.default_rng([seed, 10**6, turn]).permutation(len(portraits))
        roles.append(_cast(portraits[order[place]], index, turn, np.random.default_rng([seed, index])))
    return roles


def _cast(portrait: Portrait, index: int, turn: int, rng: np.random.Generator) -> Role:
    spread = 0.12 if turn == 0 else 0.45
    gain = float(np.exp(np.clip(rng.normal(-0.25 * (turn > 0), spread), -1.1, 0.35)))
    warm = rng.normal(0, 0.04)
    tone = (gain ** (0.85 + warm), gain, gain ** (1.15 - warm))
    shirt = rng.uniform(20, 235) * (1 + rng.uniform(-0.5, 0.5, 3))
    return Role(
        name=f"P{index:03d}",
        index=index,
        portrait=portrait,
        round=turn,
        tone=tone,
        detail=float(rng.uniform(0.4, 1.7)),
        glasses=bool(rng.random() < GLASSES_SHARE),
        shirt=tuple(np.clip(shirt, 10, 240).tolist()),
    )


def make_up(puppet: Puppet, role: Role, seed: int) -> None:
    """Give a puppet, in place, the skin of a role and, from the second round on, another head."""
    skin = find_skin(puppet.picture, puppet.landmarks, puppet.matte)
    puppet.picture = recolour(puppet.picture, skin, role)
    if role.round:
        modes = puppet.model.identities[:RESHAPED_MODES]
        change = role.rng(seed, 1).normal(0, RESHAPED_BY, len(modes)).astype(np.float32)
        puppet.reshape(np.tensordot(change, modes, 1))


def find_skin(picture: np.ndarray, landmarks: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Return how far each pixel (H, W) is skin, 0..1: of the face's own hue, on the person."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    cheeks = landmarks[[50, 280, 205, 425, 151, 9, 199], :2].astype(int)
    samples = np.concatenate([lab[y - 6 : y + 7, x - 6 : x + 7].reshape(-1, 3) for x, y in cheeks])
    centre = np.median(samples, axis=0)
    distance = np.abs(lab - centre) / [75, 18, 20]
    skin = np.clip(1.6 - distance.max(2), 0, 1) * matte
    inside = np.zeros(matte.shape, np.float32)
    cv2.fillConvexPoly(inside, cv2.convexHull(landmarks[:468, :2].astype(np.int32)), 1.0)
    return cv2.GaussianBlur(np.maximum(skin, 0.9 * ndimage.gaussian_filter(inside, 4)), (0, 0), 2.0)


def recolour(picture: np.ndarray, skin: np.ndarray, role: Role) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 whose skin (H, W) has the tone and the detail of a role."""
    smooth = cv2.bilateralFilter(picture, 9, 40, 4).astype(np.float32)
    detailed = smooth + role.detail * (picture - smooth)
    linear = (np.clip(detailed, 0, 255) / 255) ** 2.2 * np.array(role.tone)
    toned = 255 * np.clip(linear, 0, 1) ** (1 / 2.2)
    return np.clip(picture + skin[..., None] * (toned - picture), 0, 255).astype(np.uint8)
