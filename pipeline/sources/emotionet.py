"""EmotioNet: still images in folders, with a table of Action Units.

::

    SOURCE/<folder>/.../<image>.jpg    images, in any tree
    SOURCE/<table>.csv                 a column of file names or addresses, and columns "AU 1", "AU 2", ...

1 is present, 0 absent, 999 unknown. There are no subjects: each folder counts as one and is split into clips of
``SHARD_IMAGES`` images. A frame's number is the image's position in its sorted folder; the store keeps file names, too.
Source: Fabian Benitez-Quiroz, Srinivasan and Martinez, "EmotioNet", CVPR 2016.
"""

from __future__ import annotations

import csv
import functools
import itertools
import re
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from tclr.pipeline.sources.clip import Clip, Labels
from tclr.pipeline.sources.listing import SubjectNames, is_image, reading_table, walk_folders
from tclr.schemas.action_units import AU_NAMES, UNKNOWN, au_column
from tclr.schemas.errors import InputError

SHARD_IMAGES = 1000
"""Images per clip: a few minutes of work, so that workers share a large folder."""
AU_HEADER = re.compile(r"\s*AU[\s_]*0*(\d+)\s*", re.IGNORECASE)
MAX_HEADER = 2**16
"""Characters read of a first row; a header has far fewer."""
TABLE_SUFFIXES = {".csv", ".tsv", ".txt"}
CODES = {"1": 1, "0": 0, "999": UNKNOWN, "": UNKNOWN}
Row = tuple[tuple[str, ...], np.ndarray]
"""The parts of a path, and (A,) int8 occurrence."""


def _header(path: Path) -> tuple[list[str], str] | None:
    """Return the cells of a table's first row and its delimiter; ``None`` if it has no AU columns."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(MAX_HEADER).rstrip("\r\n")
    for delimiter in ("\t", ",", ";"):
        try:
            cells = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue
        if sum(bool(AU_HEADER.fullmatch(cell)) for cell in cells) >= 2:
            return cells, delimiter
    return None


def find_table(source: Path) -> Path | None:
    """Return a folder's AU table, ``None`` if it has none."""
    tables = [path for path in sorted(source.iterdir()) if path.suffix.lower() in TABLE_SUFFIXES and path.is_file()]
    return next((path for path in tables if _header(path)), None)


def read_table(path: Path) -> tuple[tuple[str, ...], dict[str, list[Row]]]:
    """Return AU names, and by file name the rows that mention it."""
    header = _header(path)
    if header is None:
        raise InputError(f"Expected a table with columns 'AU 1', 'AU 2', ..., but found none in {path}.")
    cells, delimiter = header
    columns = [(place, int(found.group(1))) for place, cell in enumerate(cells) if (found := AU_HEADER.fullmatch(cell))]
    columns = sorted(((place, number) for place, number in columns if number in AU_NAMES), key=lambda item: item[1])
    known: dict[str, list[Row]] = {}
    with reading_table(path), path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for row in list(csv.reader(file, delimiter=delimiter))[1:]:
            try:
                codes = np.array([CODES[row[place].strip()] for place, _ in columns], np.int8)
            except (KeyError, IndexError) as error:
                raise InputError(f"Expected 0, 1 or 999 in every AU column, but got {error} in {path}.") from error
            for cell in row:
                parts = PurePosixPath(cell.strip().strip("'\"").replace("\\", "/")).parts
                if parts and is_image(Path(parts[-1])):
                    known.setdefault(parts[-1], []).append((parts, codes))
    return tuple(au_column(number) for _, number in columns), known


def _shared_end(first: tuple[str, ...], second: tuple[str, ...]) -> int:
    """Return the number of trailing parts that two paths share."""
    same = (a == b for a, b in zip(reversed(first), reversed(second), strict=False))
    return sum(1 for _ in itertools.takewhile(bool, same))


def _codes_of(image: Path, rows: list[Row], unique: bool, n_aus: int) -> np.ndarray:
    """Return an image's codes, from the row whose path shares the most trailing parts with its own.

    Equally good rows that differ are an error, and so is a bare file name that fits several images.
    """
    if not rows:
        return np.full(n_aus, UNKNOWN, np.int8)
    agreed = [_shared_end(parts, image.parts) for parts, _ in rows]
    best = [codes for (_, codes), n in zip(rows, agreed, strict=True) if n == max(agreed)]
    if any((codes != best[0]).any() for codes in best) or (max(agreed) == 1 and not unique):
        raise InputError(
            f"Expected one row of labels for {image}, but its name fits several rows or images. "
            "Give paths with folders in the table."
        )
    return best[0]


def give_labels(paths: tuple[Path, ...], labels: Labels) -> Labels:
    """Return ``labels``, which were read when the clips were listed."""
    return labels


def looks_like_emotionet(source: Path) -> bool:
    """Return whether a folder has an AU table that names images below it."""
    table = find_table(source)
    if table is None:
        return False
    images = {path.name for _, files in walk_folders(source) for path in files if is_image(path)}
    return bool(images) and not images.isdisjoint(read_table(table)[1])


def find_emotionet(source: Path) -> list[Clip]:
    """List EmotioNet's clips: shards of each folder's images."""
    table = find_table(source)
    folders = {folder: [path for path in files if is_image(path)] for folder, files in walk_folders(source)}
    folders = {folder: images for folder, images in folders.items() if images}
    if table is None or not folders:
        what = "no table with AU columns" if table is None else "no image"
        raise InputError(
            f"Expected EmotioNet's layout (images, and a table with columns 'AU 1', ...) in {source}, but found {what}."
        )
    names, known = read_table(table)
    counts = Counter(image.name for images in folders.values() for image in images)
    subjects, clips = SubjectNames(), []
    for folder, images in sorted(folders.items()):
        relative = folder.relative_to(source).as_posix()
        subject = subjects.name(source.resolve().name if folder == source else relative, source)
        for first in range(0, len(images), SHARD_IMAGES):
            shard = tuple(images[first : first + SHARD_IMAGES])
            codes = [
                _codes_of(image, known.get(image.name, []), counts[image.name] == 1, len(names)) for image in shard
            ]
            frames = np.arange(first, first + len(shard))
            reader = functools.partial(give_labels, labels=Labels(names, frames, np.array(codes, np.int8)))
            name = f"shard{first // SHARD_IMAGES:04d}"
            clips.append(
                Clip("emotionet", subject, name, folder, relative, None, (table,), reader, stills=shard, first=first)
            )
    return clips
