"""Frames and what is known of them before they are decoded."""

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
    """When a frame is shown."""

    index: int
    """Position in a video from 0; the number in the file name for image sequences."""
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


@dataclass(frozen=True)
class DecodedFrame(Moment):
    """A frame of a video before it is made an image: only those that are taken are."""

    picture: av.VideoFrame | None


@dataclass(frozen=True)
class ImageFile(Moment):
    """A frame that is an image file, not yet opened."""

    path: Path
    name: str
    limits: LimitsConfig = DEFAULT_LIMITS


Moments = TypeVar("Moments", bound=Moment)


@dataclass(frozen=True)
class ClipMedia:
    """What the source says about a clip before it is decoded."""

    clip: Clip
    fps: float
    """Its nominal rate."""
    width: int
    """In pixels as images are shown, like ``height``: upright, with square pixels."""
    height: int
    n_expected: int
    """Number of frames; 0 where the source does not say."""
    image_fps: float
    """Frames per second of an image sequence."""
    duration_s: float = 0.0
    """Length of a video by its header; 0 where it does not say, and for images."""
    limits: LimitsConfig = DEFAULT_LIMITS

    @property
    def step_s(self) -> float:
        """Seconds from one frame to the next at the nominal rate."""
        return 1 / (self.fps or self.image_fps)
