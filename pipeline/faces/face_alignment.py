"""The face-alignment backend: SFD or BlazeFace finds the faces, FAN finds 68 landmarks (iBUG's) in each.

The networks are those of the package face-alignment (Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D
Face Alignment problem?", ICCV 2017; BSD-3). Landmarks equal those of its ``get_landmarks_from_image`` on the same
boxes, so x and y are whole pixels; z is 0, since 2-D FAN has no depth. The package itself works frame by frame; here
the face detector and FAN each take a batch of frames in one pass. Frames are independent: nothing is tracked.
It runs on the GPU if PyTorch finds one.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from face_alignment.api import FAN
from face_alignment.detection.blazeface.net_blazeface import BlazeFace
from face_alignment.detection.sfd.bbox import decode, nms
from face_alignment.detection.sfd.net_s3fd import s3fd
from face_alignment.utils import CENTER_Y_OFFSET, REFERENCE_SCALE, crop, flip, get_preds_fromhm

from tclr.pipeline.faces.face import Face, pose_from_rotation
from tclr.pipeline.faces.landmarker.torch_network import run_exactly
from tclr.pipeline.faces.models import BLAZEFACE, FAN_2D, S3FD, TorchWeights, find_weights
from tclr.schemas.config import DetectConfig
from tclr.schemas.errors import ModelError

logger = logging.getLogger(__name__)

BATCH_SIZE = {"cuda": 16, "cpu": 1}
"""Frames per batch. On a CPU, four took as long per frame as one (within 3%) and four times the memory."""
MAX_CROPS = 32
"""Faces per pass of FAN: 16 frames of 16 faces would not fit on a small GPU."""
SFD_SIDE_PX = 640
"""Longer side to which frames are scaled down before SFD, whose time grows with the number of pixels. A face of 5% of
the picture's width still has 32 pixels, and SFD's anchors start at 16."""
SFD_MEAN_BGR = (104.0, 117.0, 123.0)
SFD_VARIANCES = (0.1, 0.2)
SFD_MAX_OVERLAP = 0.3
"""Overlap above which the weaker of two boxes is dropped, as in the package."""
BLAZEFACE_SIDE_PX = 128

POSE_POINTS = {
    36: (-4.446, 2.664, 3.173),
    39: (-1.856, 2.585, 3.758),
    42: (1.856, 2.585, 3.758),
    45: (4.446, 2.664, 3.173),
    27: (0.0, 3.271, 5.236),
    28: (0.0, 1.728, 6.317),
    29: (0.0, 0.366, 7.243),
    30: (0.0, -0.463, 7.587),
    33: (0.0, -2.089, 6.058),
}
"""Corners of the eyes and middle of the nose in the canonical face: landmark index -> x to the right of the picture, y
up, z towards the camera, in cm. Vertices 33, 133, 362, 263, 168, 197, 5, 4 and 2 of mediapipe's canonical face model
(Apache-2.0). Facial action hardly moves them, whereas 2-D FAN's jaw line slides as the head turns. A nose longer than
the model's looks like a head turned further down, so pitch has an offset of a few degrees per person."""
VERTICAL_FOV = np.radians(63)
"""Field of view of the assumed camera: mediapipe's, so that the poses of both backends are comparable."""


class _Finder(Protocol):
    """A face detector for batches of images of one size."""

    network: torch.nn.Module

    def find(self, images: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
        """Return for each image (n, 5) float64: x0 y0 x1 y1 in its pixels and score 0..1, best first."""
        ...


def _load(network: torch.nn.Module, path: Path) -> None:
    """Load the weights of a network from a file."""
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"Cannot load weights of {type(network).__name__} from {path}: {reason}. "
            "Delete that file (it is damaged or another network's) and run the same command again."
        ) from error
    network.eval()


def decode_sfd(outputs: Sequence[torch.Tensor], threshold: float) -> list[np.ndarray]:
    """Convert the output of SFD's network to boxes with scores above a threshold.

    ``outputs`` are, for each of 6 levels, (B, 2, h, w) class scores and (B, 4, h, w) offsets. Boxes are, for each of
    the B images, (n, 5) float64: x0 y0 x1 y1 in the network's pixels and score, best first, overlapping ones removed.
    """
    where: list[np.ndarray] = []
    boxes: list[np.ndarray] = []
    for level, (scores, offsets) in enumerate(zip(outputs[::2], outputs[1::2], strict=True)):
        stride = 4 * 2**level
        score = scores.softmax(dim=1)[:, 1].cpu().numpy()
        picture, row, column = np.nonzero(score > threshold)
        x, y, side = stride * (column + 0.5), stride * (row + 0.5), np.full(len(row), 4.0 * stride)
        corners = decode(
            offsets.cpu().numpy()[picture, :, row, column], np.stack([x, y, side, side], axis=1), SFD_VARIANCES
        )
        where.append(picture)
        boxes.append(np.column_stack([corners, score[picture, row, column]]))
    pictures, found = np.concatenate(where), np.concatenate(boxes)
    images = [found[pictures == number] for number in range(len(outputs[0]))]
    return [candidates[nms(candidates, SFD_MAX_OVERLAP)] if len(candidates) else candidates for candidates in images]


class _Sfd:
    def __init__(self, weights: Path, threshold: float) -> None:
        self.network = s3fd()
        _load(self.network, weights)
        self._threshold = threshold

    def find(self, images: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
        height, width = images[0].shape[:2]
        scale = min(1.0, SFD_SIDE_PX / max(height, width))
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        if scale < 1:
            images = [cv2.resize(image, small, interpolation=cv2.INTER_AREA) for image in images]
        pixels = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float()
        mean = torch.tensor(SFD_MEAN_BGR, device=device).view(1, 3, 1, 1)
        found = decode_sfd(self.network(pixels.flip(1) - mean), self._threshold)
        ratio = np.array([width / small[0], height / small[1]] * 2 + [1.0])
        return [boxes * ratio for boxes in found]


def _blazeface_anchors() -> np.ndarray:
    """Return (896, 4) float32 x, y, width, height of BlazeFace's anchors as fractions of its input.

    Two per cell of a 16 x 16 grid and six per cell of an 8 x 8 grid, all of one size, as in mediapipe's graph of the
    short-range model.
    """
    grids = []
    for cells, number in ((16, 2), (8, 6)):
        centre = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centre, centre, indexing="ij")
        one = np.ones_like(x)
        grids.append(np.repeat(np.stack([x, y, one, one], axis=-1).reshape(-1, 4), number, axis=0))
    return np.concatenate(grids).astype(np.float32)


class _BlazeFace:
    def __init__(self, weights: Path, threshold: float) -> None:
        self.network = BlazeFace()
        _load(self.network, weights)
        self.network.min_score_thresh = threshold

    def find(self, images: Sequence[np.ndarray], device: torch.device) -> list[np.ndarray]:
        # the package crops the central square; padding the picture to a square keeps the faces at its sides
        self.network.anchors = torch.from_numpy(_blazeface_anchors()).to(device)
        height, width = images[0].shape[:2]
        side = max(height, width)
        small = [max(1, round(length * BLAZEFACE_SIDE_PX / side)) for length in (width, height)]
        left, top = ((BLAZEFACE_SIDE_PX - length) // 2 for length in small)
        squares = np.zeros((len(images), BLAZEFACE_SIDE_PX, BLAZEFACE_SIDE_PX, 3), np.uint8)
        for square, image in zip(squares, images, strict=True):
            square[top : top + small[1], left : left + small[0]] = cv2.resize(
                image, small, interpolation=cv2.INTER_AREA
            )
        # y0 x0 y1 x1 as fractions of the square, keypoints, score
        boxes = [np.column_stack([faces[:, [1, 0, 3, 2]], faces[:, 16]]) for faces in self._predict(squares, device)]
        to_pixels = np.array([width / small[0], height / small[1]] * 2)
        for rows in boxes:
            rows[:, :4] = (rows[:, :4] * BLAZEFACE_SIDE_PX - [left, top, left, top]) * to_pixels
        return [rows[np.argsort(-rows[:, 4], kind="stable")] for rows in boxes]

    def _predict(self, squares: np.ndarray, device: torch.device) -> list[np.ndarray]:
        """Return (n, 17) per square, as the package does, without empty boxes, at which its suppression never ends."""
        pixels = torch.from_numpy(squares).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        found = self.network._tensors_to_detections(*self.network(pixels), self.network.anchors)
        faces = []
        for boxes in found:
            sized = boxes[((boxes[:, 2:4] - boxes[:, :2]) > 0).all(dim=1)]
            kept = self.network._weighted_non_max_suppression(sized)
            faces.append(torch.stack(kept).double().numpy() if kept else np.zeros((0, 17)))
        return faces


FINDERS: dict[str, tuple[TorchWeights, Callable[[Path, float], _Finder]]] = {
    "sfd": (S3FD, _Sfd),
    "blazeface": (BLAZEFACE, _BlazeFace),
}


def fit_pose(landmarks: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the pose of a face from the corners of its eyes and its nose in a picture of that size.

    ``landmarks`` are (68, 2 or 3) in its pixels; the pose is (3,) float32, see ``pose_from_rotation``, and NaN if no
    pose fits.
    """
    focal = height / 2 / np.tan(VERTICAL_FOV / 2)
    camera = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    points = np.ascontiguousarray(landmarks[list(POSE_POINTS), :2], np.float64)
    model = np.array(list(POSE_POINTS.values()))
    try:
        _, turn, shift = cv2.solvePnP(model, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
        turn, _ = cv2.solvePnPRefineLM(model, points, camera, None, turn, shift)
    except cv2.error:
        return np.full(3, np.nan, np.float32)
    # in OpenCV's camera, y points down and z away from it
    return pose_from_rotation(np.diag([1.0, -1.0, -1.0]) @ cv2.Rodrigues(turn)[0])


def _crop_window(box: np.ndarray) -> tuple[np.ndarray, float]:
    """Return centre (2,) in pixels and scale of FAN's window on a face, as in the package."""
    width, height = box[2] - box[0], box[3] - box[1]
    centre = np.array([box[2] - width / 2, box[3] - height / 2 - height * CENTER_Y_OFFSET])
    return centre, (width + height) / REFERENCE_SCALE


def _usable(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return the boxes of at least one pixel whose centre is in the picture: others cannot be cropped."""
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    inside = ((centre >= 0) & (centre < [width, height])).all(axis=1)
    return boxes[inside & (boxes[:, 2:4] - boxes[:, :2] >= 1).all(axis=1)]


class _Fan:
    """FAN: finds 68 landmarks, and from them the pose, of the face in each box."""

    def __init__(self, weights: Path) -> None:
        self.network = FAN(4)
        _load(self.network, weights)

    def find(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray], device: torch.device) -> list[list[Face]]:
        """Return the faces in the boxes of each image."""
        faces: list[list[Face]] = [[] for _ in images]
        jobs = [(row, box, *_crop_window(box)) for row, its_boxes in enumerate(boxes) for box in its_boxes]
        if not jobs:
            return faces
        crops = np.stack([crop(images[row], centre, scale) for row, _, centre, scale in jobs])
        for heatmap, (row, box, centre, scale) in zip(self._heatmaps(crops, device), jobs, strict=True):
            _, (points,), _ = get_preds_fromhm(heatmap[None], centre, scale)
            landmarks = np.column_stack([points, np.zeros(len(points))]).astype(np.float32)
            height, width = images[row].shape[:2]
            faces[row].append(Face(landmarks, fit_pose(landmarks, width, height), None, float(box[4])))
        return faces

    def _heatmaps(self, crops: np.ndarray, device: torch.device) -> np.ndarray:
        """Return (n, 68, 64, 64) float32 heat maps of (n, 256, 256, 3) uint8 crops: the sum of crop and mirror."""
        parts = []
        for start in range(0, len(crops), MAX_CROPS):
            pixels = torch.from_numpy(crops[start : start + MAX_CROPS]).to(device)
            pixels = pixels.permute(0, 3, 1, 2).float() / 255
            heatmaps = self.network(pixels)[-1] + flip(self.network(flip(pixels))[-1], is_label=True)
            parts.append(heatmaps.cpu().numpy())
        return np.concatenate(parts)


def required_weights(config: DetectConfig) -> tuple[TorchWeights, TorchWeights]:
    """Return the weights of face detector and FAN that the settings need."""
    return FINDERS[config.face_detector][0], FAN_2D


class FaceAlignmentDetector:
    """SFD or BlazeFace and FAN; see ``Detector``. ``video`` makes no difference: nothing is tracked."""

    n_landmarks = 68
    blendshape_names: tuple[str, ...] = ()

    def __init__(self, config: DetectConfig, *, video: bool, n_faces: int) -> None:
        self.n_faces = n_faces
        self._max_faces = config.max_faces
        (finder_path, finder_digest), (fan_path, fan_digest) = (find_weights(w) for w in required_weights(config))
        package = f"face-alignment {version('face-alignment')}"
        self.name = f"{package}, {config.face_detector} {finder_digest[:8]}, 2DFAN-4 {fan_digest[:8]}"
        self._finder: _Finder = FINDERS[config.face_detector][1](finder_path, config.min_detection_confidence)
        self._fan = _Fan(fan_path)
        self._device = self._move(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        self.batch_size = BATCH_SIZE[self._device.type]

    def _move(self, device: torch.device) -> torch.device:
        """Move the networks to a device, or to the CPU if it has no memory left; return the device used."""
        try:
            for model in (self._finder, self._fan):
                model.network.to(device)
        except RuntimeError as error:
            if device.type == "cpu" or "out of memory" not in str(error):
                raise
            logger.info("The GPU has no memory left for face-alignment.")
            return self._move(torch.device("cpu"))
        logger.info("face-alignment runs on %s.", device)
        return device

    @staticmethod
    def prepare(config: DetectConfig) -> None:
        """Find or fetch the weights."""
        for weights in required_weights(config):
            find_weights(weights)

    def detect(self, images: Sequence[np.ndarray], timestamps_s: Sequence[float]) -> list[list[Face]]:
        """Return the ``n_faces`` best faces of each frame, best first."""
        with run_exactly(allow_tf32=True):
            return self._fan.find(images, [found[: self.n_faces] for found in self._find(images)], self._device)

    def look(self, image: np.ndarray) -> list[Face]:
        """Return the ``max_faces`` best faces of one image; FAN is needed, since SFD has no keypoints."""
        with run_exactly(allow_tf32=True):
            return self._fan.find([image], [self._find([image])[0][: self._max_faces]], self._device)[0]

    def score_crop(self, crop: np.ndarray) -> float:
        """Return the face detector's best score on a crop, 0 where it finds nothing."""
        with run_exactly(allow_tf32=True):
            return max((float(box[4]) for box in self._find([crop])[0]), default=0.0)

    def reset(self) -> None:
        """Do nothing: no state is kept between frames."""

    def close(self) -> None:
        """Free the networks."""
        del self._finder, self._fan

    def _find(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return (n, 5) boxes and scores of each image, best first; images of the same size share a batch."""
        found: dict[int, np.ndarray] = {}
        for shape in dict.fromkeys(image.shape for image in images):
            rows = [row for row, image in enumerate(images) if image.shape == shape]
            boxes = self._finder.find([images[row] for row in rows], self._device)
            found |= {row: _usable(its, shape[1], shape[0]) for row, its in zip(rows, boxes, strict=True)}
        return [found[row] for row in range(len(images))]
