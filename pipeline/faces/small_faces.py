"""A detector that finds faces too small for its look at the whole picture, by looking at tiles of it.

A face detector with a small input, such as BlazeFace, sees faces that span about a sixth of the picture. Where the
whole picture shows no face, it is cut into overlapping square tiles, of half its longer side, then of half that, down
to ``SMALLEST_TILE_PX``. A face found is followed in a window around it, until it is large enough or lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from tclr.pipeline.faces.detector import Detector
from tclr.pipeline.faces.face import Face
from tclr.pipeline.faces.wrapped import WrappedDetector

SMALLEST_TILE_PX = 256
"""Side of the smallest tile, in which faces of 40 px are found: all of 22 faces of 15% of a picture's side were, and
15 of 12.5%."""
STEP_SHARE = 0.65
"""From one tile to the next, as a share of its side: a face too small for tiles twice as large lies wholly in one."""
FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 8.0
"""Time from the last face to a search, and longest time between two searches: each that finds nothing doubles it. A
search of 90 tiles takes as long as 10 frames of 1920 x 1080."""
VAIN_LOOKS = 2
"""Searches of a clip that ``look`` may make in vain: the look ahead at a clip without faces shall cost little."""
WINDOW_FACES = 3.0
"""Side of the window in which a small face is followed, in sizes of the face."""
MAX_STEP, SAME_FACE = 0.75, 0.5
"""How far a followed face may move from frame to frame, and how near two detections of one face are, in its sizes."""
SMALLEST_WINDOW_PX = 96
Window = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


def tile_sides(width: int, height: int) -> list[int]:
    """Return the sides of the tiles to look at in turn, the largest first.

    >>> tile_sides(1920, 1080), tile_sides(720, 1080), tile_sides(240, 300)
    ([960, 480, 256], [540, 270], [])
    """
    longer = max(width, height)
    n_sides = math.ceil(math.log2(longer / SMALLEST_TILE_PX) - 0.25)  # none for a picture hardly larger than a tile
    return [max(longer // 2**n, SMALLEST_TILE_PX) for n in range(1, n_sides + 1)]


def cut_tiles(width: int, height: int, side: int) -> list[Window]:
    """Return overlapping tiles that cover a picture.

    >>> cut_tiles(400, 300, 256)
    [(0, 0, 256, 256), (144, 0, 400, 256), (0, 44, 256, 300), (144, 44, 400, 300)]
    """

    def starts(length: int) -> list[int]:
        room = max(length - side, 0)
        n_steps = math.ceil(room / (STEP_SHARE * side))
        return [room * i // max(n_steps, 1) for i in range(n_steps + 1)]

    return [(x, y, min(x + side, width), min(y + side, height)) for y in starts(height) for x in starts(width)]


def _window_around(face: Face, width: int, height: int) -> Window:
    """Return a window with a face in its middle, as far as the picture reaches."""
    side = round(max(WINDOW_FACES * face.size_px, SMALLEST_WINDOW_PX))
    centre = face.bbox.reshape(2, 2).mean(axis=0)
    left, top = (
        int(np.clip(round(float(middle) - side / 2), 0, max(length - side, 0)))
        for middle, length in zip(centre, (width, height), strict=True)
    )
    return left, top, min(left + side, width), min(top + side, height)


def _distance(face: Face, other: Face) -> float:
    """Return how far apart the middles of two faces are, in sizes of the larger one."""
    apart = face.bbox.reshape(2, 2).mean(axis=0) - other.bbox.reshape(2, 2).mean(axis=0)
    return float(np.abs(apart).max()) / max(face.size_px, other.size_px)


class TileDetector(Detector, Protocol):
    """A detector that looks at several images at once."""

    def look_at_all(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        """Return the faces of each image, as ``look`` does."""
        ...


class SmallFaceDetector(WrappedDetector):
    """A detector with a second look at tiles of pictures in which the first finds no face; see ``Detector``.

    Stills, without ``video``, are all searched. In a video, the first frame is, that after ``reset``, and then one
    every few seconds of its time until a face is found; see ``FIRST_WAIT_S``.

    >>> from PIL import Image
    >>> from tclr.pipeline.faces import open_detector
    >>> from tclr.schemas.config import DetectConfig
    >>> small = Image.new("RGB", (1920, 1080))
    >>> small.paste(Image.open("clips/2D+3D/F001/T1/0966.jpg").resize((80, 80)), (700, 500))
    >>> (face,) = open_detector(DetectConfig()).look(np.array(small))  # wraps its detector in this class
    >>> 40 < face.size_px < 80, bool(abs(face.bbox[:2] - [700, 500]).max() < 40)
    (True, True)
    """

    def __init__(self, detector: TileDetector, *, video: bool) -> None:
        super().__init__(detector)
        self._look_at_all = detector.look_at_all
        self._video = video
        self._followed: list[Face] = []
        self._whole_s = self._search_s = -math.inf  # when to look at the whole picture, and at tiles, again
        self._wait_s = FIRST_WAIT_S
        self._vain_looks = 0

    def detect(self, images: Sequence[np.ndarray], timestamps_s: Sequence[float]) -> list[list[Face]]:
        """Return the faces of the next frames."""
        if self._video:
            return [self._detect_frame(image, time_s) for image, time_s in zip(images, timestamps_s, strict=True)]
        found = self._detector.detect(images, timestamps_s)
        return [faces or self._search(image)[: self.n_faces] for image, faces in zip(images, found, strict=True)]

    def _detect_frame(self, image: np.ndarray, time_s: float) -> list[Face]:
        faces = self._follow(image) if time_s < self._whole_s else []
        if not faces:
            faces = self._detector.detect([image], [time_s])[0]
            self._whole_s = time_s + FIRST_WAIT_S
            if faces:
                self._followed = []
            else:
                faces = self._follow(image) or self._search_if_due(image, time_s)
        if faces:
            self._search_s, self._wait_s = time_s + FIRST_WAIT_S, FIRST_WAIT_S
        return faces

    def look(self, image: np.ndarray) -> list[Face]:
        """Return the faces of one image; tiles are no longer looked at when ``VAIN_LOOKS`` images showed nothing."""
        faces = self._detector.look(image)
        if not faces and self._vain_looks < VAIN_LOOKS and tile_sides(*image.shape[1::-1]):
            faces = self._search(image)
            self._vain_looks += not faces
        return faces

    def _follow(self, image: np.ndarray) -> list[Face]:
        """Return the followed faces that are still there; if none is, all are looked for in the next frame again."""
        faces = list(self._look_closer(image, self._followed))
        self._followed = faces or self._followed
        return faces

    def _search_if_due(self, image: np.ndarray, time_s: float) -> list[Face]:
        if time_s < self._search_s:
            return []
        self._search_s = time_s + self._wait_s
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)
        self._followed = self._search(image)[: self.n_faces]
        return self._followed

    def _look_closer(self, image: np.ndarray, faces: Sequence[Face]) -> Iterator[Face]:
        """Look for each face in a window around it; yield those found, each once."""
        height, width = image.shape[:2]
        found: list[Face] = []
        windows = [_window_around(face, width, height) for face in faces]
        for face, near in zip(faces, self._look_at(image, windows), strict=True):
            closest = min(near, key=lambda one: _distance(one, face), default=None)
            if closest is None or _distance(closest, face) > MAX_STEP:
                continue
            if all(_distance(closest, other) > SAME_FACE for other in found):
                found.append(closest)
                yield closest

    def _search(self, image: np.ndarray) -> list[Face]:
        """Return the faces in the largest tiles that show any, the largest face first."""
        height, width = image.shape[:2]
        for side in tile_sides(width, height):
            in_tiles = self._look_at(image, cut_tiles(width, height, side))
            seen = sorted(chain.from_iterable(in_tiles), key=lambda face: -face.size_px)
            if found := list(self._look_closer(image, seen)):
                return found
        return []

    def _look_at(self, image: np.ndarray, windows: Sequence[Window]) -> list[list[Face]]:
        """Return the faces in each of some windows of a picture, in its pixels."""
        cuts = [image[top:bottom, left:right] for left, top, right, bottom in windows]
        corners = [np.array([left, top, 0], np.float32) for left, top, _, _ in windows]
        return [
            [face.placed(face.landmarks + corner) for face in faces]
            for faces, corner in zip(self._look_at_all(cuts), corners, strict=True)
        ]

    def reset(self) -> None:
        """Forget the frames so far."""
        super().reset()
        self._followed, self._wait_s = [], FIRST_WAIT_S
        self._whole_s = self._search_s = -math.inf
