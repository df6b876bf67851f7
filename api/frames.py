"""Frames that a caller holds, as a clip: arrays are checked, so that wrong ones are errors and not wrong numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from tclr.pipeline.sources import Clip, FramesInMemory
from tclr.schemas.errors import InputError

NAME = "frames"
"""Subject and clip of frames in memory."""


def check_frame(frame: Any, place: int) -> np.ndarray:
    """Return a frame if it is (H, W, 3) uint8 RGB.

    Raises
    ------
    InputError
        If it is not: floats in 0..1, for instance, would be seen as black.
    """
    image = np.asarray(frame)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(
            f"Expected frames of shape (height, width, 3) and dtype uint8, RGB, but frame {place} has {image.shape} "
            f"and {image.dtype}. Convert it; OpenCV's pictures are BGR: frame[..., ::-1]."
        )
    return image


def is_rate(fps: Any) -> bool:
    """Return whether a value is a number of frames per second.

    >>> is_rate(25), is_rate(np.float32(29.97)), is_rate("25"), is_rate(math.inf)
    (True, True, False, False)
    """
    return isinstance(fps, Real) and 0 < float(fps) < math.inf


def check_times(times_s: Sequence[float], n_frames: int) -> tuple[float, ...]:
    """Return one time per frame, in seconds from the first.

    Raises
    ------
    InputError
        If there are not as many times as frames, or they are not finite or fall.
    """
    try:
        times = np.asarray(times_s, np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"Expected timestamps_s to have a number of seconds for each frame, but got {times_s!r:.80}. Give numbers."
        ) from None
    if times.shape != (n_frames,) or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise InputError(
            f"Expected timestamps_s to have one time in seconds for each of {n_frames} frames, never falling, but got "
            f"an array of shape {times.shape}. Give them in order, or give fps."
        )
    return tuple((times - times[0]).tolist())


def clip_of_frames(frames: Iterable[Any], fps: float | None, timestamps_s: Sequence[float] | None) -> Clip:
    """Return frames in memory as a clip; they are not copied.

    Raises
    ------
    InputError
        If there are none, one is not (H, W, 3) uint8 or of another size, or neither or both of ``fps`` and
        ``timestamps_s`` are given.

    Examples
    --------
    >>> clip_of_frames(np.zeros((2, 48, 64, 3), np.uint8), 25, None).memory.times_s
    (0.0, 0.04)
    """
    if not isinstance(frames, Iterable):
        raise InputError(
            f"Expected a video, a folder or frames, but got {type(frames).__name__}. Give a path or pictures."
        )
    images = tuple(check_frame(frame, place) for place, frame in enumerate(frames))
    if not images:
        raise InputError("Expected at least one frame, but got none. Give a video, or a list of RGB pictures.")
    if len(sizes := {image.shape for image in images}) > 1:
        raise InputError(f"Expected frames of one size, but got {' and '.join(map(str, sorted(sizes)[:2]))}.")
    if (fps is None) == (timestamps_s is None) or (fps is not None and not is_rate(fps)):
        raise InputError(
            f"Expected either fps above 0 or timestamps_s with a list of frames, but got fps={fps!r} and "
            f"timestamps_s {'left out' if timestamps_s is None else 'given'}. Give the rate that they were taken at."
        )
    times = [place / fps for place in range(len(images))] if fps is not None else timestamps_s
    memory = FramesInMemory(images, check_times(() if times is None else times, len(images)))
    return Clip("folder", NAME, NAME, Path(NAME), NAME, memory=memory)
