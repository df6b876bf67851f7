"""What an image file says of its size before anything of it is decoded: headers lie cheaply, decoders believe them."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from tclr.schemas.config import LimitsConfig
from tclr.schemas.errors import InputError

IMAGE_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "PPM")
"""Pillow's names of the formats whose headers are read: what OpenCV decodes, whatever a file is called."""


def check_size(width: int, height: int, limits: LimitsConfig, path: Path) -> None:
    """Refuse a picture with more pixels than the limit by an ``InputError``."""
    if width * height > limits.max_pixels:
        raise InputError(
            f"Expected pictures of at most {limits.max_megapixels:g} megapixels, but got {width} x {height} pixels by "
            f"the header of {path}. Make it smaller, take it out of the source folder, or raise --max-megapixels."
        )


def read_image_size(data: np.ndarray) -> tuple[int, int] | None:
    """Return width and height of an image file by its header alone; ``None`` if it has none that is known."""
    Image.init()
    head = data[:16].tobytes()
    for name in IMAGE_FORMATS:
        factory, accepts = Image.OPEN[name]
        if accepts is None or accepts(head) is True:
            with suppress(Exception):  # Pillow's readers fail in many ways on a damaged file
                return factory(io.BytesIO(data.tobytes()), "").size
    return None
