"""From stored crops to what a network takes: the part that training and embedding share.

Crops are resized while they are bytes, as Pillow does and the paper's own trainer did: it takes a CPU a tenth of the
time that resizing float32 does, and pixels differ by a rounding, at most one of 255 levels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tclr.pipeline.encoder.info import EncoderInfo


def resized_side(info: EncoderInfo) -> int:
    """Return the side in pixels that crops are resized to before a part of ``image_size`` is cut out."""
    return round(info.image_size / info.crop_ratio)


def resize(frames: Tensor, side: int) -> Tensor:
    """Resize crops (N, S, S, 3) uint8 RGB to (N, 3, side, side) uint8, channels last; antialiased where they shrink."""
    x = frames.permute(0, 3, 1, 2)
    if x.shape[-1] == side:
        return x
    if x.device.type == "cpu":
        return functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
    resized = functional.interpolate(x.float(), size=(side, side), mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)  # for a GPU torch resizes no bytes


def to_input(frames: Tensor, info: EncoderInfo) -> Tensor:
    """Resize crops and take the middle.

    (N, S, S, 3) uint8 RGB on any device to (N, 3, image_size, image_size) float32 in 0..1, channels last in memory.
    """
    return centre_crop(resize(frames, resized_side(info)), info.image_size).float().div_(255)


def centre_crop(x: Tensor, size: int) -> Tensor:
    """Return the central (N, C, size, size) part."""
    top = (x.shape[-2] - size) // 2
    left = (x.shape[-1] - size) // 2
    return x[..., top : top + size, left : left + size]


def normalise(x: Tensor, info: EncoderInfo) -> Tensor:
    """Subtract the mean and divide by the standard deviation, (N, 3, H, W), channels last in memory."""
    rows = x.permute(0, 2, 3, 1).flatten(2)  # whole rows at once: three numbers at a time are slow
    mean, std = (torch.tensor(values, device=x.device).repeat(x.shape[-1]) for values in (info.mean, info.std))
    return ((rows - mean) / std).view(len(x), *x.shape[2:], 3).permute(0, 3, 1, 2)
