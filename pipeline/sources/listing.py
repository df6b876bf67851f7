"""Files and names in a source folder: videos, images, image sequences, safe names, and the walk through it."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tclr.pipeline.system import read_image_header
from tclr.schemas.errors import InputError

MAX_NAME_BYTES = 100
"""Longer names are shortened and get a digest. File systems allow 255 bytes, suffixes included."""
VIDEO_SUFFIXES = frozenset(
    ".264 .265 .266 .3g2 .3gp .3gp2 .3gpp .amv .asf .avc .avi .dav .divx .dv .dvr-ms .f4v .flv .gxf .h264 .h265 .h266 "
    ".hevc .insv .ivf .m1v .m2p .m2t .m2ts .m2v .m4v .mj2 .mjpeg .mjpg .mk3d .mkv .mod .mov .mp4 .mpe .mpeg .mpg .mpv "
    ".mts .mxf .nut .obu .ogm .ogv .ogx .qt .rm .rmvb .tod .tp .trp .ts .vc1 .vob .vro .vvc .webm .wm .wmv .wtv "
    ".y4m".split()
)
"""Of containers and streams that FFmpeg reads and that hold the video itself (``video.decoding.FORMATS``)."""
MAX_FRAME = 2**53
"""Frame numbers are below this: up to here float64 holds whole numbers exactly."""
ANIMATED_SUFFIXES = frozenset(".apng .avif .gif .png .webp".split())
"""Of pictures that may have several frames."""
IMAGE_SUFFIXES = ANIMATED_SUFFIXES | frozenset(
    ".bmp .heic .heif .hif .j2k .jfif .jp2 .jpe .jpeg .jpg .jpx .pbm .pgm .pnm .ppm .tif .tiff".split()
)
VIDEO_MAGIC = (b"\x1aE\xdf\xa3", b"FLV\x01", b"0&\xb2u\x8ef\xcf\x11", b"\x00\x00\x01\xba")
"""First bytes of Matroska and WebM, FLV, ASF and WMV, and MPEG."""
IMAGE_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis"})
"""Of pictures that begin as MP4 does."""
SYSTEM_FOLDERS = frozenset(
    {"@eaDir", "#recycle", "#snapshot", "__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
"""Of disk stations and operating systems, with thumbnails and deleted files; hidden folders are passed over, too."""
SYSTEM_FILES = frozenset({"Thumbs.db", "ehthumbs.db", "desktop.ini"})


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


def is_unnamed_video(path: Path) -> bool:
    """Return whether a file without a suffix begins as a video does: MP4, MOV, Matroska, WebM, AVI, FLV, WMV, MPEG."""
    if path.suffix or path.name.startswith(".") or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    if head[4:8] == b"ftyp":
        return head[8:12] not in IMAGE_BRANDS
    return head.startswith(VIDEO_MAGIC) or (head[:4], head[8:]) == (b"RIFF", b"AVI ")


def is_animated(path: Path) -> bool:
    """Return whether a picture has several frames, as its header states: then it is a clip like a video.

    >>> is_animated(Path("clips/2D+3D/F001/T1/0966.jpg"))
    False
    """
    if path.suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    header = read_image_header(path)
    return header is not None and header.is_animated


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


@dataclass(frozen=True)
class Folder:
    """A folder of a source."""

    path: Path
    files: list[Path]
    """Regular files and links to them, sorted."""
    others: list[Path]
    """Links to nothing, named pipes, sockets and devices, sorted."""
    left_out: list[Path]
    """Hidden folders and those of a system, which are not searched, sorted."""


def walk(source: Path) -> Iterator[Folder]:
    """Yield each folder below a source; follow each link once. A folder that cannot be read raises ``OSError``."""

    def fail(error: OSError) -> None:
        raise error

    seen: set[tuple[int, int]] = set()
    for name, folders, files in os.walk(source, onerror=fail, followlinks=True):
        status, path = os.stat(name), Path(name)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        left_out = sorted(folder for folder in folders if folder.startswith(".") or folder in SYSTEM_FOLDERS)
        folders[:] = sorted(set(folders).difference(left_out))
        paths = [path / file for file in sorted(files)]
        regular = [file for file in paths if file.is_file()]
        others = sorted(set(paths).difference(regular)) if len(regular) < len(paths) else []
        yield Folder(path, regular, others, [path / folder for folder in left_out])


def walk_folders(source: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield the path and the files of each folder, as ``walk`` does."""
    for folder in walk(source):
        yield folder.path, folder.files
