"""BlazeFace's boxes: what its network says of 896 anchors, decoded and merged.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", CVPR workshops 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from tclr.pipeline.faces.face import compute_overlap
from tclr.pipeline.faces.landmarker.regions import Region, cut

SIZE = 128
"""Side of the network's input in pixels."""
GRIDS = ((16, 2), (8, 6))
"""Sides of the grids of anchors, and anchors per cell."""
N_KEYPOINTS = 6
"""Right and left eye, nose, mouth, right and left ear: the subject's sides."""
SAME_FACE = 0.5
"""Overlap beyond which two boxes in a picture are of one face."""
SAME_IN_CROP = 0.3
"""The same in a crop that is scored."""
SCORE_FLOOR = 0.05
"""Lowest score of a crop that counts, far below any sensible ``min_score``."""
CROP_HEIGHTS = np.array([0.4, 0.4, 0.725])
"""Where an aligned crop has the eyes and the mouth, from its top, as a share of its side (``tracking.TEMPLATES``)."""
CHECKED = (0, 1, 3)
"""Keypoints of the eyes and the mouth."""
MAX_OFFSET = 0.09
"""Largest vertical distance between where BlazeFace and the landmarks see eyes and mouth, as a share of the crop's
side. In ordinary video it was at most 0.076; where a face upside down was taken for upright, mostly 0.1 to 0.2."""
LARGEST_LOGIT = 80.0
"""Beyond it the exponential overflows float32."""


def _anchors() -> np.ndarray:
    """Return (896, 2) centres, as shares of the picture's side."""
    places = []
    for side, n_anchors in GRIDS:
        y, x = np.mgrid[:side, :side]
        centres = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) / side
        places.append(np.repeat(centres, n_anchors, axis=0))
    return np.concatenate(places).astype(np.float32)


ANCHORS = _anchors()


@dataclass(frozen=True)
class Box:
    """A face: ``corners`` (2, 2) and ``keypoints`` (6, 2), x and y in source pixels, and its score, 0..1."""

    corners: np.ndarray
    keypoints: np.ndarray
    score: float

    @property
    def region(self) -> Region:
        """The region that the landmark network looks at."""
        return Region.around(self.corners[0], self.corners[1], self.keypoints[0], self.keypoints[1])


def find_boxes(
    network: Callable[[np.ndarray], list[np.ndarray]],
    image: np.ndarray,
    min_score: float,
    n_faces: int | None = None,
    same: float = SAME_FACE,
) -> list[Box]:
    """Return the faces of a picture (H, W, 3) uint8 RGB, at most ``n_faces``, the surest first.

    Boxes that overlap by more than ``same`` are merged.

    >>> from tclr.pipeline.faces import find_model
    >>> from tclr.pipeline.faces.landmarker.bundle import BOXES, open_network
    >>> find_boxes(open_network(find_model(), BOXES), np.zeros((48, 64, 3), np.uint8), 0.5, 1)
    []
    """
    height, width = image.shape[:2]
    whole = Region(width / 2, height / 2, max(width, height))
    pixels = cut(image, whole, SIZE, cv2.BORDER_CONSTANT)
    regressors, logits = network((pixels.astype(np.float32) / np.float32(127.5) - 1)[None])
    scores = 1 / (1 + np.exp(-logits[0].clip(-LARGEST_LOGIT, LARGEST_LOGIT)))
    likely = np.flatnonzero(scores >= min_score)
    likely = likely[np.argsort(-scores[likely], kind="stable")]
    values = regressors.reshape(len(ANCHORS), -1)[likely] / SIZE
    centres, halves = ANCHORS[likely] + values[:, :2], values[:, 2:4] / 2
    points = (values[:, 4:].reshape(-1, N_KEYPOINTS, 2) + ANCHORS[likely, None]).astype(np.float64)
    corners = np.stack([centres - halves, centres + halves], axis=1).astype(np.float64)
    shapes = np.concatenate([corners, points], axis=1)
    matrix = whole.matrix(SIZE)
    placed = SIZE * shapes @ matrix[:, :2].T + matrix[:, 2]
    return _merge(placed, scores[likely], same)[:n_faces]


def _merge(shapes: np.ndarray, scores: np.ndarray, same: float) -> list[Box]:
    """Return the score-weighted means of overlapping shapes (n, 2 + 6, 2): the surest, with all that overlap it."""
    left = np.arange(len(shapes))
    boxes: list[Box] = []
    while len(left):
        boxes_left = shapes[left, :2].reshape(-1, 4)
        near = np.array([compute_overlap(boxes_left[0], box) > same for box in boxes_left])
        near[0] = True  # also without any area
        weights = scores[left[near]].astype(np.float64)
        mean = np.tensordot(weights, shapes[left[near]], axes=1) / weights.sum()
        boxes.append(Box(mean[:2], mean[2:], float(scores[left[0]])))
        left = left[~near]
    return boxes


def score_aligned(found: Iterable[tuple[float, np.ndarray]]) -> float:
    """Return the best score of the faces found in an aligned crop that have eyes and mouth where they belong, or 0.

    Landmarks of a face upside down, or on its side, may be found the wrong way round. A face is its score and the
    heights of its keypoints (6,), from the crop's top, as shares of its side.

    >>> heights = np.array([0.41, 0.42, 0.55, 0.7, 0.5, 0.5])
    >>> score_aligned([(0.9, heights), (0.95, 1 - heights)])
    0.9
    """
    aligned = (score for score, heights in found if np.abs(heights[list(CHECKED)] - CROP_HEIGHTS).max() <= MAX_OFFSET)
    return max(map(float, aligned), default=0.0)
