"""Random crops, flips and light, from random numbers that come with the tuples."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tclr.schemas.config import PretrainConfig

N_DRAWS = 5
"""Random numbers a frame."""


def augment(frames: Tensor, draws: Tensor, config: PretrainConfig) -> Tensor:
    """Crop, flip and change the light of frames at random, on their device.

    Parameters
    ----------
    frames : Tensor
        (B, F, S, S, 3) uint8 RGB.
    draws : Tensor
        (B, F, N_DRAWS) float32 in [0, 1).
    config : PretrainConfig
        Sizes, and ``augment``: one draw a tuple, one a frame, or none.

    Returns
    -------
    Tensor
        (B * F, 3, image_size, image_size) float32 in 0..1, channels last in memory.
    """
    if config.augment == "tuple":
        draws = draws[:, :1].expand_as(draws)
    draws, size = draws.flatten(0, 1), config.image_size
    x = frames.flatten(0, 1).permute(0, 3, 1, 2).float().div_(255)
    side = round(size / config.crop_ratio)
    if x.shape[-1] != side:
        x = functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    if config.augment == "none":
        first = (side - size) // 2
        return x[..., first : first + size, first : first + size]
    room = side - size + 1
    steps = torch.arange(size, device=x.device)
    rows = (draws[:, 0] * room).long()[:, None] + steps
    columns = (draws[:, 1] * room).long()[:, None] + steps
    columns = torch.where(draws[:, 2:3] < 0.5, columns, columns.flip(1))
    picture = torch.arange(len(x), device=x.device)[:, None, None]
    x = x.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    contrast, brightness = (1 + config.colour_jitter * (2 * draws[:, 3:5] - 1)).T[:, :, None, None, None]
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return ((x - mean) * contrast + mean * brightness).clamp(0, 1)
