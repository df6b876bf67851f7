"""Augmentation of a batch of tuples on its device, as a function of numbers drawn beforehand.

Time also shows in how a head turns and how light changes; an encoder that may use those need not see the face. Frames
of a tuple are therefore changed one by one (``augment = "frame"``): moved, turned, stretched, seen from a slightly
other side, and lit otherwise. Only the mirror image is always a tuple's: a face does not change sides.

The random numbers come with the batch (``TupleBatch.draws``), so that neither the device nor the way a batch is split
over processes changes them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tclr.pipeline.encoder.input_transform import resize
from tclr.schemas.config import PretrainConfig

N_DRAWS = 24
"""Uniform random numbers per frame; which does what is said where it is used."""
BLUR_TAPS = 5


def flipped(draws: Tensor, config: PretrainConfig) -> Tensor:
    """Return (B,) bool: which tuples are mirrored, by their draws (B, F, N_DRAWS)."""
    share = 0.0 if config.augment == "none" else config.flip
    return draws[:, 0, 0] < share


def augment(frames: Tensor, draws: Tensor, config: PretrainConfig) -> Tensor:
    """Cut the encoder's input out of crops, changed at random.

    (B, F, S, S, 3) uint8 RGB to (B * F, 3, image_size, image_size) float32 in 0..1, channels last in memory; ``draws``
    (B, F, N_DRAWS) are float32 in [0, 1), on the same device.
    """
    n_tuples, n_frames = frames.shape[:2]
    mirrored = flipped(draws, config).repeat_interleave(n_frames)
    if config.augment == "tuple":
        draws = draws[:, :1].expand(-1, n_frames, -1)
    u = draws.reshape(n_tuples * n_frames, N_DRAWS)
    flat = frames.flatten(0, 1)
    whole = round(config.image_size / config.crop_ratio)
    x = resize(flat, min(whole, flat.shape[1])).float().div_(255)  # a sampling grid alone would alias
    still = config.augment == "none"
    x = cut(x, torch.full_like(u, 0.5) if still else u, mirrored, config)
    if not still:
        x = relight(x, u, config)
        x = soften(x, u, config.blur)
    return x.clamp_(0, 1).contiguous(memory_format=torch.channels_last)


def cut(x: Tensor, u: Tensor, mirrored: Tensor, config: PretrainConfig) -> Tensor:
    """Cut the input (N, 3, image_size, image_size) out of crops (N, 3, S, S), each by the map that its draws give.

    Beyond the crop's edge the picture is mirrored.
    """
    size = config.image_size
    steps = (torch.arange(size, device=x.device, dtype=x.dtype) + 0.5) * 2 / size - 1
    # a row of the map: what changes along a line, and what changes from line to line
    seen_x, seen_y, depth = (
        (a[:, None] * steps)[:, None] + (b[:, None] * steps + c[:, None])[..., None]
        for a, b, c in place_input(u, mirrored, config)
    )
    grid = torch.stack([seen_x / depth, seen_y / depth], dim=-1)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def place_input(u: Tensor, mirrored: Tensor, config: PretrainConfig) -> list[list[Tensor]]:
    """Return the 3 x 3 entries, each (N,), of the projective maps from the input to the crop, both in -1..1.

    ``u`` (N, N_DRAWS): 1 and 2 place the part, 3 zooms, 4 stretches, 5 turns, 6 and 7 tilt; ``mirrored`` (N,) bool.
    """
    size = config.image_size
    whole = round(size / config.crop_ratio)
    signed = 2 * u - 1
    # whole pixels, so that a part that is neither turned nor resized is not blurred either
    margin = whole - size
    reach = 0 if config.augment == "none" else round(config.shift * whole)
    lowest, highest = max(margin // 2 - reach, 0), min((margin + 1) // 2 + reach, margin)
    if reach == 0:
        highest = lowest
    places = lowest + torch.floor(u[:, 1:3] * (highest - lowest + 1))
    shift = (2 * places - margin) / whole
    scale = size / whole * (1 + config.zoom * signed[:, 3])
    stretch = 1 + 0.5 * config.zoom * signed[:, 4]
    angle = math.radians(config.rotation_deg) * signed[:, 5]
    cos, sin = torch.cos(angle), torch.sin(angle)
    side = torch.where(mirrored, -1.0, 1.0).to(u.dtype)
    return [
        [scale * stretch * cos * side, -scale * sin, shift[:, 0]],
        [scale * stretch * sin * side, scale * cos, shift[:, 1]],
        [config.tilt * signed[:, 6], config.tilt * signed[:, 7], torch.ones_like(scale)],
    ]


def relight(x: Tensor, u: Tensor, config: PretrainConfig) -> Tensor:
    """Change contrast, brightness, colour balance and gamma, and light the picture from one side.

    ``u`` (N, N_DRAWS): 8 is contrast, 9 brightness, 10 to 12 red, green and blue, 13 gamma, 14 the side that the light
    comes from, 15 how strong it is. Contrast is changed first, about the picture's mean.
    """
    signed = (2 * u - 1)[:, :, None, None, None]
    jitter = config.colour_jitter
    if jitter:
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        x = (x - mean) * torch.exp(jitter * signed[:, 8]) + mean
        gains = torch.exp(jitter * (0.6 * signed[:, 9] + 0.4 * signed[:, 10:13, 0]))
        x = (x * gains).clamp(1e-3, 1) ** torch.exp(jitter * signed[:, 13])
    if config.light_jitter:
        steps = torch.linspace(-1, 1, x.shape[-1], device=x.device)
        towards = math.pi * signed[:, 14, 0]
        ramp = torch.cos(towards) * steps + torch.sin(towards) * steps[:, None]
        x = x * torch.exp(config.light_jitter * u[:, 15, None, None] * ramp)[:, None]
    return x


def soften(x: Tensor, u: Tensor, share: float) -> Tensor:
    """Blur a share of the pictures: ``u`` (N, N_DRAWS), 16 whether, 17 how much (Gaussian of 0.3 to 1.2 pixels)."""
    if not share:
        return x
    sigma = torch.where(u[:, 16] < share, 0.3 + 0.9 * u[:, 17], torch.full_like(u[:, 0], 1e-2))
    taps = torch.arange(BLUR_TAPS, device=x.device) - BLUR_TAPS // 2
    weights = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2).to(x.dtype)
    weights = (weights / weights.sum(dim=1, keepdim=True)).repeat_interleave(x.shape[1], dim=0)
    n, channels, height, width = x.shape
    flat = x.reshape(1, n * channels, height, width)
    half = BLUR_TAPS // 2
    flat = functional.pad(flat, (half, half, half, half), mode="reflect")
    flat = functional.conv2d(flat, weights[:, None, None, :], groups=n * channels)
    return functional.conv2d(flat, weights[:, None, :, None], groups=n * channels).view(n, channels, height, width)
