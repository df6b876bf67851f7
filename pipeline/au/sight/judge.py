"""The judge of visibility: from a crop of template ``tclr`` to the visible share of each region of the face.

A small convolutional network, 0.15 million parameters, which ``tclr sight`` trains on faces with things drawn before
them. It reads 64 px, standardised per crop, so that light does not matter. Its last layer reads every place of the grid
with weights of its own: crops are aligned, so that a mouth is always at the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from tclr.pipeline.system import read_tensors, write_tensors
from tclr.schemas.action_units import REGIONS

SIDE_PX = 64
"""Side of the network's input."""
WIDTHS = (16, 32, 48, 64)
"""Channels of its convolutions; the first three halve the side."""
N_CONTEXT = 48
"""Numbers that describe the whole face."""
LEAST_SPREAD = 2.0
"""Least standard deviation of a crop, in grey levels, that it is divided by."""
STEP = 32
"""Crops per pass, padded with black ones, so that sums have one order whatever the number of crops."""


class Judge(nn.Module):
    """(N, 3, 64, 64) float32 of ``to_input`` to (N, 5) logits of the visible share of ``REGIONS``.

    >>> Judge().eval()(to_input(np.zeros((1, 64, 64, 3), np.uint8))).shape
    torch.Size([1, 5])
    """

    def __init__(self) -> None:
        super().__init__()
        pairs = zip((3, *WIDTHS), WIDTHS, (2, 2, 2, 1), strict=False)
        self.layers = nn.Sequential(*(_layer(*pair) for pair in pairs))
        self.coarse = _layer(WIDTHS[-1], WIDTHS[-1], 2)
        side = SIDE_PX // 8
        self.context = nn.Linear(WIDTHS[-1] * (side // 2) ** 2, N_CONTEXT)
        self.drop = nn.Dropout(0.3)
        self.place = nn.Linear(WIDTHS[-1] * side**2, len(REGIONS))
        self.whole = nn.Linear(N_CONTEXT, len(REGIONS))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a quarter faster on a CPU

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.layers(x)
        context = torch.relu(self.context(self.drop(self.coarse(x).flatten(1))))
        return self.place(self.drop(x.flatten(1))) + self.whole(context)

    @torch.inference_mode()
    def see(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Return the visible shares (n, 5) float32, 0..1, of n >= 0 crops (64, 64, 3) uint8 RGB, see ``shrink``.

        A crop's shares do not depend on the other crops or the number of threads.
        """
        out, n_threads = np.empty((len(crops), len(REGIONS)), np.float32), torch.get_num_threads()
        torch.set_num_threads(1)  # sums then have one order
        try:
            for start in range(0, len(crops), STEP):
                part = np.zeros((STEP, SIDE_PX, SIDE_PX, 3), np.uint8)
                part[: len(crops) - start] = crops[start : start + STEP]
                out[start : start + STEP] = torch.sigmoid(self(to_input(part)))[: len(crops) - start].numpy()
        finally:
            torch.set_num_threads(n_threads)
        return out


def _layer(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


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


def to_input(crops: np.ndarray) -> Tensor:
    """Return crops (N, 64, 64, 3) uint8 as the network's input, each with mean 0 and spread 1, channels last.

    >>> to_input(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)).std().round().item()
    1.0
    """
    x = torch.empty((len(crops), SIDE_PX, SIDE_PX, 3))
    for place, crop in enumerate(crops):
        mean, spread = cv2.meanStdDev(crop.reshape(-1, 1))
        x[place] = torch.from_numpy((crop - np.float32(mean[0, 0])) / np.float32(max(spread[0, 0], LEAST_SPREAD)))
    return x.permute(0, 3, 1, 2)


def save_judge(judge: Judge, path: Path, about: dict[str, str]) -> None:
    """Write a judge's weights, as 16 bits, with a few words about them.

    >>> save_judge(Judge(), Path("judge.safetensors"), {"n_people": "0"})
    >>> type(load_judge(Path("judge.safetensors"))).__name__
    'Judge'
    """
    weights = {name: value.half() if value.is_floating_point() else value for name, value in judge.state_dict().items()}
    write_tensors(path, weights, about)


def load_judge(path: Path) -> Judge:
    """Return the judge in a file that ``save_judge`` wrote, ready to see.

    >>> load_judge(SIGHT).see(np.zeros((2, 64, 64, 3), np.uint8)).shape
    (2, 5)
    """
    judge = Judge()
    judge.load_state_dict(
        {name: value.float() for name, value in read_tensors(path, "a judge of visibility")[0].items()}
    )
    return judge.eval()
