"""Frames of animated pictures (GIF, APNG, WebP, AVIF), with their own times, one at a time.

FFmpeg has no decoder for animated WebP and needs other streams or formats for the rest, so Pillow reads all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from tclr.pipeline.sources import Clip
from tclr.pipeline.system import check_size, open_image
from tclr.schemas.config import LimitsConfig
from tclr.schemas.errors import InputError, TruncatedError

SHORTEST_MS = 10.0
"""Frames that state this or less are shown for ``DEFAULT_MS``, as in browsers."""
DEFAULT_MS = 100.0


@contextmanager
def _opened(path: Path, limits: LimitsConfig) -> Iterator[Image.Image]:
    try:
        with path.open("rb") as file:
            image = open_image(file)
            if image is None:
                raise InputError(f"Expected a picture, but cannot decode {path}. Check the file.")
            check_size(*image.size, limits, path)
            yield image
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}. Check the file, then run again.") from error


def _duration_ms(image: Image.Image) -> float:
    stated = float(image.info.get("duration") or 0)
    return stated if stated > SHORTEST_MS else DEFAULT_MS


def _numbers(image: Image.Image) -> range:
    """Return the numbers of the frames, without the picture that an APNG has for readers that show only one."""
    return range(bool(getattr(image, "default_image", False)), getattr(image, "n_frames", 1))


def describe_animation(clip: Clip, limits: LimitsConfig) -> tuple[int, int, int, float]:
    """Return width, height and number of frames of an animated picture, and the rate of its first frame per second.

    Of frames in memory, the rate is the mean; 0 if there is none.
    """
    path = clip.path
    if clip.memory is not None:
        return *clip.memory.size, len(clip.memory.images), clip.memory.fps
    with _opened(path, limits) as image:
        numbers = _numbers(image)
        with suppress(Exception):  # told when the frames are read
            image.seek(numbers.start)
            image.load()
        return image.width, image.height, len(numbers), 1000 / _duration_ms(image)


def read_animation(clip: Clip, limits: LimitsConfig) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the time in seconds and the image, (H, W, 3) uint8 RGB, of each frame of an animated picture, or in memory.

    Raises
    ------
    TruncatedError
        After the last frame, if the header states more.
    """
    if clip.memory is not None:
        yield from zip(clip.memory.times_s, clip.memory.images, strict=True)
        return
    path = clip.path
    with _opened(path, limits) as image:
        numbers, next_ms = _numbers(image), 0.0
        for n_read, number in enumerate(numbers):
            try:
                image.seek(number)
                pixels = np.asarray(image.convert("RGB"))
            except Exception as error:  # Pillow's readers raise many kinds of errors for damaged files
                raise TruncatedError(
                    f"Expected {len(numbers)} frames, but the picture ends after {n_read}: {path} is damaged or "
                    "truncated. Copy or convert it again, or keep what is there with --allow-truncated."
                ) from error
            # AVIF's durations are rounded, its times are not added up
            time_ms = image.info["timestamp"] if image.format == "AVIF" else next_ms
            yield time_ms / 1000, pixels
            next_ms += _duration_ms(image)
