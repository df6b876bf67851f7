"""Size checks on image headers before decoding, since decoders believe a header of any size."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from tclr.schemas.config import LimitsConfig
from tclr.schemas.errors import InputError

IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM")
"""Pillow's names of the formats that OpenCV decodes, whatever the name of the file."""


def check_size(width: int, height: int, limits: LimitsConfig, path: Path) -> None:
    """Raise an ``InputError`` for an image with more pixels than the limit."""
    if width * height > limits.max_pixels:
        raise InputError(
            f"Expected images of at most {limits.max_megapixels:g} megapixels, but got {width} x {height} pixels in "
            f"the header of {path}. Shrink it, remove it from the source folder, or raise --max-megapixels."
        )


def read_image_size(data: np.ndarray) -> tuple[int, int] | None:
    """Return width and height from the header of an image file's bytes; ``None`` for an unknown format."""
    Image.init()
    head = data[:16].tobytes()
    for name in IMAGE_FORMATS:
        factory, accepts = Image.OPEN[name]
        if accepts is None or accepts(head) is True:
            with suppress(Exception):  # Pillow's readers raise many kinds of errors for damaged files
                return factory(io.BytesIO(data.tobytes()), "").size
    return None
