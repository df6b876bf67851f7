"""Cuts: where one shot ends and the next begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from tclr.pipeline.video.frames import Frame

THUMB_PX = 48
CUT = 27.0
"""Mean change of hue, saturation and value that makes a cut: the default of PySceneDetect's content detector."""


def number_shots(frames: Iterable[Frame]) -> Iterator[tuple[Frame, int]]:
    """Yield each frame with its shot's number, from 0; one that cannot be decoded belongs to the shot before.

    >>> frames = [Frame(i, i / 25, np.full((64, 64, 3), grey, np.uint8)) for i, grey in enumerate([0, 0, 128, 128])]
    >>> [shot for _, shot in number_shots(frames)]
    [0, 0, 1, 1]
    """
    shots, shot = _ShotCounter(), 0
    for frame in frames:
        shot = shot if frame.image is None else shots.count(frame.image)
        yield frame, shot


class _ShotCounter:
    """Numbers the shots of a clip by changes between the thumbnails of neighbouring frames.

    A flash or a black frame is no cut: a frame that looks like the end of the previous shot belongs to that shot.

    Source: the content value of PySceneDetect (Castellano, scenedetect.com), the mean over the picture of the absolute
    changes of hue, saturation and value (0..255, hue 0..179).
    """

    def __init__(self) -> None:
        self._n_shots = 0
        self._now: tuple[int, np.ndarray] | None = None
        self._before: tuple[int, np.ndarray] | None = None

    def count(self, image: np.ndarray) -> int:
        """Return the shot number, from 0, of the next frame, (H, W, 3) uint8 RGB."""
        thumb = _thumbnail(image)
        if self._now is None:
            self._now = (0, thumb)
        elif _change(thumb, self._now[1]) < CUT:
            self._now = (self._now[0], thumb)
        elif self._before is not None and _change(thumb, self._before[1]) < CUT:
            self._now, self._before = (self._before[0], thumb), self._now
        else:
            self._n_shots += 1
            self._now, self._before = (self._n_shots, thumb), self._now
        return self._now[0]


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Return (THUMB_PX, THUMB_PX, 3) int16 hue, saturation, value."""
    height, width = image.shape[:2]
    # a coarse grid of pixels first: averaging all of a large frame costs more than it gains
    grid = image[:: max(1, height // (2 * THUMB_PX)), :: max(1, width // (2 * THUMB_PX))]
    thumb = cv2.resize(grid, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(thumb, cv2.COLOR_RGB2HSV).astype(np.int16)


def _change(first: np.ndarray, second: np.ndarray) -> float:
    change = np.abs(first - second)
    change[..., 0] = np.minimum(change[..., 0], 180 - change[..., 0])  # hue is a circle
    return float(change.mean())
