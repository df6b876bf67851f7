"""Frames, before and after they are decoded, and the description of a clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import av
import numpy as np

from tclr.pipeline.sources import Clip
from tclr.schemas.config import DEFAULT_LIMITS, LimitsConfig


@dataclass(frozen=True)
class Moment:
    """A frame's position and time."""

    index: int
    """Position in a video, from 0; in an image sequence the number in the file name."""
    timestamp_s: float
    """Seconds from the clip's start."""


@dataclass(frozen=True)
class Frame(Moment):
    """One source frame."""

    image: np.ndarray | None
    """(H, W, 3) uint8 RGB; ``None`` if the frame cannot be decoded."""
    name: str = ""
    """File name of a still, as the store records it."""
    reduction: int = 1
    """``image`` is 1 / reduction of the source in width and height, rounded up."""
    fitted_from: tuple[int, int] | None = None
    """Width and height of the picture before it was fitted into the size of the clip; ``None`` if it has that size."""


@dataclass(frozen=True)
class DecodedFrame(Moment):
    """A video frame that is not yet an image: only selected frames are converted."""

    picture: av.VideoFrame | None


@dataclass(frozen=True)
class ImageFile(Moment):
    """An image file that is not yet opened."""

    path: Path
    name: str
    limits: LimitsConfig = DEFAULT_LIMITS


Moments = TypeVar("Moments", bound=Moment)


@dataclass(frozen=True)
class ClipMedia:
    """Description of a clip, available before it is decoded."""

    clip: Clip
    fps: float
    """Nominal frame rate."""
    width: int
    """In pixels of the image as shown, like ``height``: upright, with square pixels."""
    height: int
    n_expected: int
    """Number of frames; 0 if the source states none."""
    image_fps: float
    """Frames per second of an image sequence."""
    duration_s: float = 0.0
    """Duration of a video from its header; 0 if it states none, and for images."""
    limits: LimitsConfig = DEFAULT_LIMITS
    origin_s: float = 0.0
    """Time of a video's first frame on the clock of its file."""
    start_s: float = 0.0
    """Seconds by which a video's first frame is later than its first sound; 0 if it is not, or without sound."""
    note: str = ""
    """What is unusual about the streams of a video; "" if nothing is."""

    @property
    def step_s(self) -> float:
        """Seconds from one frame to the next at the nominal rate."""
        return 1 / (self.fps or self.image_fps)
