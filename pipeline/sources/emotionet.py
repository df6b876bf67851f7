"""EmotioNet: still images in folders, with a table of Action Units.

::

    SOURCE/<folder>/.../<image>.jpg    images, in any tree
    SOURCE/<table>.csv                 a column of file names or addresses, and columns "AU 1", "AU 2", ...

1 is present, 0 absent, 999 unknown. There are no subjects: each folder counts as one, cut into shards of
``SHARD_IMAGES``. A frame's number is the image's place in its sorted folder; the store keeps the file names, too.
Source: Fabian Benitez-Quiroz, Srinivasan and Martinez, "EmotioNet", CVPR 2016.
"""

from __future__ import annotations

import csv
import functools
import re
from pathlib import Path

import numpy as np

from tclr.pipeline.sources.clip import Clip, Labels, is_image, safe_name
from tclr.schemas.action_units import AU_NAMES, UNKNOWN, au_column
from tclr.schemas.errors import InputError

SHARD_IMAGES = 1000
"""Images a clip; chosen by us: some minutes of work, so that workers share a large folder."""
AU_HEADER = re.compile(r"\s*AU[\s_]*0*(\d+)\s*", re.IGNORECASE)
TABLE_SUFFIXES = {".csv", ".tsv", ".txt"}
CODES = {"1": 1, "0": 0, "999": UNKNOWN, "": UNKNOWN}


def _header(path: Path) -> tuple[list[str], str] | None:
    """Return the cells of a table's first row and its delimiter; ``None`` if it has no AU columns."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        line = file.readline().rstrip("\r\n")
    for delimiter in ("\t", ",", ";"):
        cells = next(csv.reader([line], delimiter=delimiter), [])
        if sum(bool(AU_HEADER.fullmatch(cell)) for cell in cells) >= 2:
            return cells, delimiter
    return None


def find_table(source: Path) -> Path | None:
    """Return the table of AUs in a folder, ``None`` if there is none."""
    tables = [path for path in sorted(source.iterdir()) if path.suffix.lower() in TABLE_SUFFIXES and path.is_file()]
    return next((path for path in tables if _header(path)), None)


def looks_like_emotionet(source: Path) -> bool:
    """Tell whether a folder has a table of AUs and images somewhere below."""
    return find_table(source) is not None and any(is_image(path) for path in source.rglob("*"))


@functools.lru_cache(maxsize=2)
def read_table(path: Path) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Read the table.

    Returns
    -------
    (tuple of str, dict)
        AU column names; (A,) int8 occurrence by the image's file name.

    Raises
    ------
    InputError
        If a cell is not 0, 1 or 999, or a row is too short.
    """
    header = _header(path)
    if header is None:
        raise InputError(f"Expected a table with columns 'AU 1', 'AU 2', ..., but found none in {path}.")
    cells, delimiter = header
    columns = [(place, int(found.group(1))) for place, cell in enumerate(cells) if (found := AU_HEADER.fullmatch(cell))]
    columns = sorted(((place, number) for place, number in columns if number in AU_NAMES), key=lambda item: item[1])
    known: dict[str, np.ndarray] = {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for row in list(csv.reader(file, delimiter=delimiter))[1:]:
            names = [Path(cell.strip().strip("'\"")).name for cell in row if is_image(Path(cell.strip().strip("'\"")))]
            try:
                codes = [CODES[row[place].strip()] for place, _ in columns]
            except (KeyError, IndexError) as error:
                raise InputError(
                    f"Expected 0, 1 or 999 in every AU column, but got {error} in {path}: {row}."
                ) from error
            known |= {name: np.array(codes, np.int8) for name in names}
    return tuple(au_column(number) for _, number in columns), known


def read_occurrence(paths: tuple[Path, ...], images: tuple[Path, ...], first: int) -> Labels:
    """Return the labels of some images, numbered from ``first``; unknown where the table has no row."""
    names, known = read_table(paths[0])
    rows = [known.get(image.name, np.full(len(names), UNKNOWN, np.int8)) for image in images]
    frames = np.arange(first, first + len(images))
    return Labels(names, frames, np.array(rows, np.int8).reshape(len(images), len(names)))


def find_emotionet(source: Path) -> list[Clip]:
    """List EmotioNet's clips: shards of each folder's images.

    Raises
    ------
    InputError
        If there is no table of AUs or no image.
    """
    table = find_table(source)
    folders: dict[Path, list[Path]] = {}
    for path in sorted(path for path in source.rglob("*") if is_image(path)):
        folders.setdefault(path.parent, []).append(path)
    if table is None or not folders:
        what = "no table with AU columns" if table is None else "no image"
        raise InputError(
            f"Expected EmotioNet's layout (images, and a table with columns 'AU 1', ...) in {source}, but found {what}."
        )
    clips = []
    for folder, images in folders.items():
        relative = folder.relative_to(source).as_posix()
        subject = safe_name(source.resolve().name if folder == source else relative)
        for first in range(0, len(images), SHARD_IMAGES):
            shard = tuple(images[first : first + SHARD_IMAGES])
            reader = functools.partial(read_occurrence, images=shard, first=first)
            name = f"shard{first // SHARD_IMAGES:04d}"
            clips.append(
                Clip("emotionet", subject, name, folder, relative, None, (table,), reader, stills=shard, first=first)
            )
    return clips
