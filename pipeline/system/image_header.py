"""Headers of pictures, read before anything is decoded, since decoders believe a header of any size."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from tclr.schemas.config import LimitsConfig
from tclr.schemas.errors import InputError

IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM", "AVIF", "HEIF")
"""Pillow's names of the formats that are read, whatever the name of the file."""
ANIMATED_FORMATS = frozenset({"PNG", "WEBP", "GIF", "AVIF"})
"""Those whose further pictures are frames; in others they are thumbnails, pages or a burst."""
HEAD_BYTES = 16
"""Bytes that identify a format."""
EXIF_ORIENTATION = 0x0112
SIDEWAYS = range(5, 9)
"""EXIF orientations that swap width and height."""


@dataclass(frozen=True)
class ImageHeader:
    """What the header of a picture states."""

    width: int
    """In pixels of the picture as shown, like ``height``."""
    height: int
    is_animated: bool
    """Whether it has several frames."""


def check_size(width: int, height: int, limits: LimitsConfig, path: Path) -> None:
    """Raise an ``InputError`` for an image with more pixels than the limit."""
    if width * height > limits.max_pixels:
        raise InputError(
            f"Expected images of at most {limits.max_megapixels:g} megapixels, but got {width} x {height} pixels in "
            f"the header of {path}. Shrink it, remove it from the source folder, or raise --max-megapixels."
        )


def _init_readers(head: bytes) -> None:
    """Register Pillow's readers; that of HEIC lies in another package, which is imported for such files only."""
    Image.init()
    if head[4:8] == b"ftyp" and "HEIF" not in Image.OPEN:
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)


def open_image(file: BinaryIO) -> Image.Image | None:
    """Read the header of an image file, but no pixel; ``None`` for an unknown format. The file must stay open."""
    head = file.read(HEAD_BYTES)
    _init_readers(head)
    for name in IMAGE_FORMATS:
        factory, accepts = Image.OPEN.get(name, (None, None))
        if factory and (accepts is None or accepts(head) is True):
            with suppress(Exception):  # Pillow's readers raise many kinds of errors for damaged files
                file.seek(0)
                return factory(file, "")
    return None


def read_image_size(data: np.ndarray) -> tuple[int, int] | None:
    """Return width and height from the header of an image file's bytes; ``None`` for an unknown format."""
    image = open_image(io.BytesIO(data.tobytes()))
    return None if image is None else image.size


def read_image_header(path: Path) -> ImageHeader | None:
    """Return what the header of an image file states; ``None`` if it cannot be read or has an unknown format."""
    with suppress(Exception):  # as above
        if path.is_file():  # opening a named pipe would block
            with path.open("rb") as file:
                return _describe(open_image(file))
    return None


def _describe(image: Image.Image | None) -> ImageHeader | None:
    if image is None:
        return None
    width, height = image.size
    if "exif" in image.info and image.getexif().get(EXIF_ORIENTATION) in SIDEWAYS:
        width, height = height, width
    is_animated = image.format in ANIMATED_FORMATS and bool(getattr(image, "is_animated", False))
    return ImageHeader(width, height, is_animated)
