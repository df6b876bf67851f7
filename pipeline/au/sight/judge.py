"""The judge of visibility: from a crop of template ``tclr`` to the visible share of each region of the face.

A small convolutional network, 0.15 million parameters, which ``tclr sight`` trains on faces with things drawn before
them. It reads 64 px, standardised per crop, so that light does not matter. Its last layer reads every place of the grid
with weights of its own: crops are aligned, so that a mouth is always at the same place. LiteRT runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from tclr.pipeline.system import LiteNetwork, NetworkWriter, norm_factors, read_tensors, write_tensors
from tclr.schemas.action_units import REGIONS

SIDE_PX = 64
"""Side of the network's input."""
WIDTHS = (16, 32, 48, 64)
"""Channels of its convolutions; the first three halve the side."""
N_CONTEXT = 48
"""Numbers that describe the whole face."""
LEAST_SPREAD = 2.0
"""Least standard deviation of a crop, in grey levels, that it is divided by."""


class Judge:
    """Sees what is visible of a face, by the weights of a ``JudgeNetwork``, which are rounded to 16 bits.

    >>> load_judge(SIGHT).see(np.zeros((2, 64, 64, 3), np.uint8)).shape
    (2, 5)
    """

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = {name: value.astype(np.float16) for name, value in weights.items() if value.dtype.kind == "f"}
        self._network = LiteNetwork(_write(self.weights))

    def see(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Return the visible shares (n, 5) float32, 0..1, of n >= 0 crops (64, 64, 3) uint8 RGB, see ``shrink``.

        A crop's shares do not depend on the other crops.
        """
        if not len(crops):
            return np.empty((0, len(REGIONS)), np.float32)
        return np.concatenate([self._network(standardise([crop]))[0] for crop in crops])


def _write(weights: Mapping[str, np.ndarray]) -> bytes:
    """Return ``JudgeNetwork`` with the logistic function as a TensorFlow Lite model."""
    writer = NetworkWriter((1, SIDE_PX, SIDE_PX, 3))
    x = writer.input
    for number in range(len(WIDTHS)):
        x = _write_layer(writer, x, weights, f"layers.{number}", 2 if number < 3 else 1)
    coarse = _write_layer(writer, x, weights, "coarse", 2)
    context, whole, place = (
        (weights[f"{name}.weight"].astype(np.float32), weights[f"{name}.bias"].astype(np.float32))
        for name in ("context", "whole", "place")
    )
    seen = writer.add(writer.linear(x, *place), writer.linear(writer.linear(coarse, *context, relu=True), *whole))
    return writer.finish(writer.logistic(seen))


def _write_layer(writer: NetworkWriter, x: int, weights: Mapping[str, np.ndarray], name: str, stride: int) -> int:
    """Add a convolution that pads by one pixel, with its batch normalisation, and a rectifier."""
    scale, shift = norm_factors(lambda part: weights[f"{name}.1.{part}"])
    padded = writer.pad(x, (0, 1, 1, 0), (0, 1, 1, 0))
    kernel = weights[f"{name}.0.weight"] * scale[:, None, None, None]
    return writer.convolve(padded, kernel, shift, stride, relu=True)


def shrink(crop: np.ndarray) -> np.ndarray:
    """Return a crop (S, S, 3) uint8 at the network's side; whole pixels are averaged first, so that it does not alias.

    >>> shrink(np.zeros((224, 224, 3), np.uint8)).shape
    (64, 64, 3)
    """
    side = len(crop)
    factor = next(factor for factor in range(max(1, side // SIDE_PX), 0, -1) if side % factor == 0)
    if factor > 1:
        crop = cv2.resize(crop, (side // factor, side // factor), interpolation=cv2.INTER_AREA)
    return cv2.resize(crop, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR)


def standardise(crops: Sequence[np.ndarray]) -> np.ndarray:
    """Return crops (n, 64, 64, 3) uint8 as float32, each with mean 0 and spread 1.

    >>> crops = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    >>> standardise(crops).std().round()
    np.float32(1.0)
    """
    standardised = np.empty((len(crops), SIDE_PX, SIDE_PX, 3), np.float32)
    for place, crop in enumerate(crops):
        mean, spread = cv2.meanStdDev(crop.reshape(-1, 1))
        standardised[place] = (crop - np.float32(mean[0, 0])) / np.float32(max(spread[0, 0], LEAST_SPREAD))
    return standardised


def save_judge(judge: Judge, path: Path, about: dict[str, str]) -> None:
    """Write a judge's weights, as 16 bits, with a few words about them.

    >>> save_judge(load_judge(SIGHT), Path("judge.safetensors"), {"n_people": "0"})
    >>> type(load_judge(Path("judge.safetensors"))).__name__
    'Judge'
    """
    write_tensors(path, judge.weights, about)


def load_judge(path: Path) -> Judge:
    """Return the judge in a file that ``save_judge`` wrote, ready to see.

    >>> load_judge(SIGHT).see(np.zeros((2, 64, 64, 3), np.uint8)).shape
    (2, 5)
    """
    return Judge(read_tensors(path, "a judge of visibility")[0])
