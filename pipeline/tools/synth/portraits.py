"""The portraits that demo clips are made of; installed packages ship them, so nothing is downloaded."""

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

    ``head`` are the rows and columns of a square around the head, ``smile`` is the smile in units of AU12.
    """

    picture: np.ndarray
    head: tuple[slice, slice]
    smile: float
    glasses: bool


def load_portraits() -> list[Portrait]:
    """Return Eileen Collins, if scikit-image is installed, which ships her, and Grace Hopper, of matplotlib."""
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
            f"Expected a portrait that a package ships, but cannot read {path}. Install that package again."
        )
    return picture
