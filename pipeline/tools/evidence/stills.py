"""Pictures as a source that ``preprocess`` reads: tight ones padded, and altered copies of the same faces.

Pictures are (H, W, 3) uint8 RGB. They are written as PNG into EmotioNet's layout, whose one clip per folder is faster
to preprocess than one per picture.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tclr.pipeline.sources import is_image
from tclr.pipeline.system import replacing, write_text
from tclr.pipeline.tools.box import AS_GIVEN
from tclr.schemas.errors import InputError

TIGHT_PX = 100
"""Pictures below this side are taken for tight crops of a face."""
RESIZED_PX, ROOM_PX = 240, 72
"""Side that a tight picture is resized to, and the room that is then added on each side: the detector needs some."""
Alter = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Picture:
    """A picture of a sub-folder; ``label`` is the sub-folder's name, ``person`` the file's name without suffix."""

    path: Path
    label: str

    @property
    def person(self) -> str:
        """Whose picture it is."""
        return self.path.stem


def list_pictures(folder: Path, labels: Sequence[str]) -> list[Picture]:
    """Return the pictures of the sub-folders that are named in ``labels``, sorted.

    Raises
    ------
    InputError
        If fewer than two of the sub-folders hold pictures.
    """
    found = [Picture(path, label) for label in labels for path in sorted((folder / label).glob("*")) if is_image(path)]
    if len({picture.label for picture in found}) < 2:
        raise InputError(
            f"Expected pictures in at least two of the folders {', '.join(labels)} of {folder}, but found "
            f"{len(found)} pictures. Sort the pictures into folders of those names."
        )
    return found


def give_room(image: np.ndarray) -> np.ndarray:
    """Return a tight picture resized and padded by its edge pixels; others as they are.

    >>> give_room(np.zeros((48, 48, 3), np.uint8)).shape, give_room(np.zeros((540, 500, 3), np.uint8)).shape
    ((384, 384, 3), (540, 500, 3))
    """
    if min(image.shape[:2]) >= TIGHT_PX:
        return image
    scale = RESIZED_PX / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    return np.pad(resized, ((ROOM_PX, ROOM_PX), (ROOM_PX, ROOM_PX), (0, 0)), mode="edge")


def expose(image: np.ndarray, factor: float) -> np.ndarray:
    """Return a picture as taken with another exposure: linear light times a factor (sRGB, IEC 61966-2-1)."""
    value = np.arange(256) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4) * factor
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * encoded).astype(np.uint8)[image])


def _to_grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def _compress(image: np.ndarray) -> np.ndarray:
    coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))


def _halve(image: np.ndarray) -> np.ndarray:
    size = max(1, image.shape[1] // 2), max(1, image.shape[0] // 2)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


TWINS: dict[str, Alter] = {
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "half the exposure": lambda image: expose(image, 0.5),
    "double the exposure": lambda image: expose(image, 2.0),
    "grey": _to_grey,
    "JPEG of quality 60": _compress,
    "half the resolution": _halve,
}
"""Ways to alter a picture that leave its expression as it is."""


def _read(path: Path) -> np.ndarray:
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if len(data) else None
    if image is None:
        raise InputError(f"Expected a picture, but cannot decode {path}. Take it out of the folder.")
    return np.asarray(image)


def _write(path: Path, image: np.ndarray) -> None:
    coded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    with replacing(path) as temporary:
        coded.tofile(temporary)


def write_stills(
    pictures: Sequence[Picture],
    ways: Mapping[str, Alter],
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, tuple[str, Picture]]:
    """Write the pictures as given and altered in each way, as a source in EmotioNet's layout.

    Files newer than their picture are kept; those without a picture are deleted.

    Returns
    -------
    dict
        By file name: the way it was altered, ``AS_GIVEN`` for none, and the picture.

    Raises
    ------
    InputError
        If a picture cannot be decoded.
    """
    ways = {AS_GIVEN: lambda image: image} | dict(ways)
    folders = {way: way.replace(" ", "-") for way in ways}
    made: dict[str, tuple[str, Picture]] = {}
    rows = []
    for done, picture in enumerate(pictures):
        progress(done, len(pictures))
        names = {way: f"{folder}+{picture.label}+{picture.path.name}.png" for way, folder in folders.items()}
        paths = {way: out / folders[way] / picture.label / name for way, name in names.items()}
        made |= {name: (way, picture) for way, name in names.items()}
        rows += [[path.relative_to(out).as_posix(), 999, 999] for path in paths.values()]
        written = picture.path.stat().st_mtime_ns
        todo = [way for way, path in paths.items() if not path.is_file() or path.stat().st_mtime_ns < written]
        image = give_room(_read(picture.path)) if todo else np.zeros(0)
        for way in todo:
            _write(paths[way], ways[way](image))
    for path in out.glob("*/*/*.png"):
        if path.name not in made:
            path.unlink()
    _write_table(out / "table.csv", rows)
    progress(len(pictures), len(pictures))
    return made


def _write_table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    """Write the table that the layout needs, with every label unknown; an equal one is kept, with its time."""
    from io import StringIO

    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([["file", "AU 1", "AU 12"], *rows])
    if not path.is_file() or path.read_text(encoding="utf-8") != text.getvalue():
        write_text(path, text.getvalue())
