"""The portraits behind demo clips; installed packages include them, so nothing is downloaded."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tclr.schemas.errors import InputError


@dataclass(frozen=True)
class Portrait:
    """A picture (H, W, 3) uint8 RGB of one face.

    ``head`` has the rows and columns of a square around the head. ``smile`` is the smile's strength (1: AU12 in full).
    """

    picture: np.ndarray
    head: tuple[slice, slice]
    smile: float
    glasses: bool


def load_portraits() -> list[Portrait]:
    """Return Eileen Collins (if scikit-image, which includes her, is installed) and Grace Hopper (from matplotlib).

    >>> load_portraits()[-1].picture.shape
    (600, 512, 3)
    """
    import matplotlib

    portraits = []
    skimage = importlib.util.find_spec("skimage")
    if skimage is not None and skimage.origin:
        picture = _read(Path(skimage.origin).parent / "data/astronaut.png")
        portraits.append(Portrait(picture, np.s_[:260, 90:350], smile=1.15, glasses=False))
    picture = _read(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")
    return [*portraits, Portrait(picture, np.s_[:470, 30:500], smile=0.0, glasses=True)]


def _read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise InputError(
            f"Expected a portrait from an installed package, but cannot read {path}. Reinstall that package."
        )
    return picture
