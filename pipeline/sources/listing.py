"""Files and names in a source folder: videos, images, image sequences, safe names."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tclr.schemas.errors import InputError

MAX_NAME_BYTES = 100
"""Longer names are shortened and get a digest. File systems allow 255 bytes, suffixes included."""
VIDEO_SUFFIXES = frozenset(
    ".mp4 .mov .avi .mkv .webm .m4v .mpg .mpeg .wmv .flv .mts .m2ts .ts .3gp .ogv .vob .mxf".split()
)
MAX_FRAME = 2**53
"""Frame numbers are below this: up to here float64 holds whole numbers exactly."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


def require_file(path: Path) -> None:
    """Raise if a path exists but is not a regular file: reading a named pipe or a device may block, or never end."""
    if path.exists() and not path.is_file():
        raise InputError(
            f"Expected a regular file, but {path} is a folder, a named pipe, a socket or a device. "
            "Take it out of the source folder."
        )


@contextmanager
def reading_table(path: Path) -> Iterator[None]:
    """Turn any error in reading a text table into an ``InputError``."""
    require_file(path)
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"Expected a table in UTF-8, but got {error.reason} in {path}. Save it as UTF-8.") from error
    except csv.Error as error:
        raise InputError(f"Expected a comma-separated table, but got {error} in {path}. Save it as CSV.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Check the file, then run again.") from error


def frame_number(path: Path) -> int | None:
    """Return the number at the end of a file's stem, 286 for ``img_0286.jpg``; ``None`` if there is none."""
    found = re.search(r"(\d+)$", path.stem)
    number = int(found.group(1)) if found else MAX_FRAME
    return number if number < MAX_FRAME else None


def is_image(path: Path) -> bool:
    """Return whether a path has an image's suffix and is not hidden.

    >>> is_image(Path("anna/smile.JPG")), is_image(Path("anna/.smile.jpg"))
    (True, False)
    """
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def is_video(path: Path) -> bool:
    """Return whether a path has a video's suffix and is not hidden.

    >>> is_video(Path("anna/smile.MP4")), is_video(Path("anna/smile.jpg"))
    (True, False)
    """
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")


def numbered_images(folder: Path) -> list[tuple[int, Path]]:
    """Return a folder's image sequence: numbers and files, sorted by number.

    It is the largest group of numbered images that share a prefix and a suffix, which leaves out a cover picture.

    >>> numbered_images(Path("clips/2D+3D/F001/T1"))[0]
    (966, PosixPath('clips/2D+3D/F001/T1/0966.jpg'))
    """
    return largest_sequence([path for path in folder.iterdir() if is_image(path)])


def largest_sequence(images: list[Path]) -> list[tuple[int, Path]]:
    """Return the largest group of numbered images that share a prefix and a suffix, by number."""
    groups: dict[tuple[str, str], list[tuple[int, Path]]] = defaultdict(list)
    for path in images:
        number = frame_number(path)
        if number is not None:
            groups[path.stem.rstrip("0123456789"), path.suffix.lower()].append((number, path))
    return sorted(groups[max(sorted(groups), key=lambda key: len(groups[key]))]) if groups else []


def safe_name(text: str) -> str:
    """Return a subject or clip name that is safe as a file name and as a value in pandas.

    Letters are composed (Unicode's NFC), so that one name is one file everywhere. Anything but letters, digits and
    ``._+#@-`` becomes ``_``. Leading ``.`` and ``_`` are removed, since pandas skips Parquet files that start with
    them. A purely numeric name gets the prefix ``S``, since pandas would read the folder ``subject=001`` as 1.

    >>> safe_name("Anna Berg"), safe_name("001")
    ('Anna_Berg', 'S001')
    """
    name = re.sub(r"[^\w.+#@-]", "_", unicodedata.normalize("NFC", text)).lstrip("._") or "unnamed"
    name = f"S{name}" if re.fullmatch(r"[\d._+-]+", name) else name
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    short = name.encode()[: MAX_NAME_BYTES - 9].decode(errors="ignore")
    return f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


class SubjectNames:
    """Gives each subject its safe name."""

    def __init__(self) -> None:
        self._owners: dict[str, str] = {}

    def name(self, raw: str, where: object) -> str:
        """Return a subject's safe name; raise if another subject has it, since their data would be mixed."""
        safe = safe_name(raw)
        owner = self._owners.setdefault(safe, raw)
        if owner != raw:
            raise InputError(
                f"Two subjects of {where}, {owner!r} and {raw!r}, would both be called {safe!r}. Rename one of them."
            )
        return safe


def walk_folders(source: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield each folder below a source with its files, sorted; follow each link once, skip hidden folders.

    Only regular files and links to them count as files. A folder that cannot be read raises ``OSError``.
    """

    def fail(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for name, folders, files in os.walk(source, onerror=fail, followlinks=True):
        status = os.stat(name)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        yield Path(name), [Path(name) / file for file in sorted(files) if (Path(name) / file).is_file()]
