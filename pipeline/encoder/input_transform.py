"""From stored crops to the network's input: the part that training and embedding share.

Crops are resized as bytes, as Pillow does and the paper's own trainer did. On a CPU this takes a tenth of the time of
resizing float32; pixels differ by rounding, at most one of 255 levels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tclr.pipeline.encoder.info import EncoderInfo, resized_side


def resize(frames: Tensor, side: int) -> Tensor:
    """Resize crops (N, S, S, 3) uint8 RGB to (N, 3, side, side) uint8, channels last; antialiased if they shrink."""
    x = frames.permute(0, 3, 1, 2)
    if x.shape[-1] == side:
        return x
    if x.device.type == "cpu":
        return functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
    resized = functional.interpolate(x.float(), size=(side, side), mode="bilinear", antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)  # torch resizes bytes on CPUs only


def to_input(frames: Tensor, info: EncoderInfo) -> Tensor:
    """Resize crops and cut out their centres.

    ``frames`` (N, S, S, 3) uint8 RGB on any device give (N, 3, image_size, image_size) float32 in 0..1, channels last
    in memory.

    >>> import torch
    >>> x = to_input(torch.full((1, 40, 40, 3), 51, dtype=torch.uint8), EncoderInfo(image_size=32))
    >>> x.shape, x.unique()
    (torch.Size([1, 3, 32, 32]), tensor([0.2000]))
    """
    return centre_crop(resize(frames, resized_side(info)), info.image_size).float().div_(255)


def centre_crop(x: Tensor, size: int) -> Tensor:
    """Return the central (N, C, size, size) part of pictures (N, C, H, W)."""
    top = (x.shape[-2] - size) // 2
    left = (x.shape[-1] - size) // 2
    return x[..., top : top + size, left : left + size]


def normalise(x: Tensor, info: EncoderInfo) -> Tensor:
    """Subtract the info's mean from inputs (N, 3, H, W) in 0..1 and divide by its standard deviation; same shape.

    >>> import torch
    >>> normalise(torch.ones(1, 3, 2, 2), EncoderInfo(mean=(0.5, 0.5, 0.5), std=(0.5, 0.25, 1.0)))[0, :, 0, 0]
    tensor([1.0000, 2.0000, 0.5000])
    """
    rows = x.permute(0, 2, 3, 1).flatten(2)  # whole rows at once: three numbers at a time are slow
    mean, std = (torch.tensor(values, device=x.device).repeat(x.shape[-1]) for values in (info.mean, info.std))
    return ((rows - mean) / std).view(len(x), *x.shape[2:], 3).permute(0, 3, 1, 2)
