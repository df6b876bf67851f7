"""Lists and reads the portraits that photo people are made of: the sets of webmorphR.stim (CC-BY).

The folder is the repository debruine/webmorphR.stim, or its ``inst``. Its sets and whom to cite:

- ``neutral_front``: Face Research Lab London Set; DeBruine and Jones (2017), figshare, doi 10.6084/m9.figshare.5047666
- ``3dsk``: 3DSK face set with webmorph templates; DeBruine and Jones (2020), OSF, doi 10.17605/OSF.IO/A3947
- ``canada``: Young Adult White Faces; DeBruine and Jones (2017), figshare, doi 10.6084/m9.figshare.4220517
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tclr.pipeline.faces import Detector
from tclr.schemas.errors import InputError

AUTHORS = "DeBruine and Jones"
LICENCE = "CC-BY 4.0"
FACE_PX = 330
"""Width of a face in a portrait at work: London's; larger ones are reduced, as frames show less."""


BACKDROP = 190.0
"""Level of a backdrop, of 255, below which a portrait counts as too dark; chosen by us."""


@dataclass(frozen=True)
class PortraitSet:
    """A set of portraits, and its source."""

    title: str
    year: int
    doi: str


SETS = {
    "neutral_front": PortraitSet("Face Research Lab London Set", 2017, "10.6084/m9.figshare.5047666"),
    "3dsk": PortraitSet("3DSK face set with webmorph templates", 2020, "10.17605/OSF.IO/A3947"),
    "canada": PortraitSet("Young Adult White Faces", 2017, "10.6084/m9.figshare.4220517"),
}


CHECKED = frozenset(f"{number}_03" for number in (*range(101, 145), 172, 173))
"""People whose neutral and smiling pictures judge models (docs/model-card.md): no model should learn from them."""


@dataclass(frozen=True)
class Portrait:
    """A file with a portrait."""

    path: Path
    folder: str
    """The folder of its set, a key of ``SETS``."""

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem


def list_portraits(root: Path, without: Collection[str] = ()) -> list[Portrait]:
    """Return the neutral portraits of all sets, sorted, without those of the given names.

    Raises
    ------
    InputError
        If there is none, or a name is unknown.
    """
    home = root / "inst" if (root / "inst").is_dir() else root
    found = [
        Portrait(path, folder)
        for folder in SETS
        for path in sorted((home / folder).rglob("*.jpg"))
        if not path.name.startswith(".")
    ]
    if not found:
        raise InputError(
            f"Expected portraits in {home}/{{{','.join(SETS)}}}, but found none. Get them with: "
            "git clone https://github.com/debruine/webmorphR.stim"
        )
    unknown = sorted(set(without) - CHECKED - {portrait.name for portrait in found})
    if unknown:
        raise InputError(f"Unknown portraits: {', '.join(unknown)}. Expected names of files in {home} without '.jpg'.")
    return [portrait for portrait in found if portrait.name not in without]


def read_portrait(portrait: Portrait, detector: Detector) -> tuple[np.ndarray, np.ndarray]:
    """Return a portrait (H, W, 3) uint8 RGB and its landmarks (478, 3) in pixels, with a face of at most ``FACE_PX``.

    Raises
    ------
    InputError
        If the file cannot be read, or has not one face.
    """
    try:
        with Image.open(portrait.path) as opened:
            image = np.array(opened.convert("RGB"))
    except OSError as error:
        raise InputError(
            f"Expected a picture, but cannot read {portrait.path}: {error}. Get the file again."
        ) from error
    faces = detector.look(image)
    if len(faces) != 1:
        raise InputError(f"Expected one face in {portrait.path}, but found {len(faces)}. Remove it from the folder.")
    landmarks = faces[0].landmarks
    scale = min(1.0, FACE_PX / float(np.ptp(landmarks[:468, 0])))
    reduced = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    return balance(reduced), landmarks * np.float32(scale)


def balance(image: np.ndarray) -> np.ndarray:
    """Return a portrait (H, W, 3) uint8 whose backdrop is as light as most, and nearly grey.

    The backdrop is the median of the upper corners. Some pictures are dark, or red by their film.
    """
    corner = (image.shape[0] // 12, image.shape[1] // 12)
    edge = np.concatenate(
        [image[: corner[0], : corner[1]].reshape(-1, 3), image[: corner[0], -corner[1] :].reshape(-1, 3)]
    )
    backdrop = np.maximum(np.median(edge, axis=0), 1)
    gains = np.clip(backdrop.mean() / backdrop, 0.85, 1.2) * np.clip(BACKDROP / backdrop.mean(), 1.0, 1.7)
    return np.clip(image * gains, 0, 255).astype(np.uint8)
