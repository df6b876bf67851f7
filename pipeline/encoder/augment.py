"""Augmentation of a batch of tuples on its device, as a function of random numbers drawn beforehand.

The time between two frames also shows in head pose and lighting, and an encoder that reads those can ignore the face.
Each frame of a tuple is therefore augmented separately (``augment = "frame"``): shifted, rotated, stretched, tilted in
perspective and relit. Only mirroring applies to a whole tuple: a face does not change sides.

The random numbers come with the batch (``TupleBatch.draws``). They depend neither on the device nor on how a batch is
split over processes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tclr.pipeline.encoder.input_transform import resize, resized_side
from tclr.schemas.config import PretrainConfig

N_DRAWS = 24
"""Uniform random numbers per frame; the functions below list which number does what."""
BLUR_TAPS = 5


def flipped(draws: Tensor, config: PretrainConfig) -> Tensor:
    """Return (B,) bool: which tuples are mirrored, from their draws (B, F, N_DRAWS) in [0, 1).

    >>> import torch
    >>> from tclr.schemas.config import PretrainConfig
    >>> flipped(torch.tensor([0.2, 0.8])[:, None, None].expand(2, 6, N_DRAWS), PretrainConfig(flip=0.5))
    tensor([ True, False])
    """
    share = 0.0 if config.augment == "none" else config.flip
    return draws[:, 0, 0] < share


def augment(frames: Tensor, draws: Tensor, config: PretrainConfig) -> Tensor:
    """Cut randomly augmented encoder inputs out of crops.

    ``frames`` (B, F, S, S, 3) uint8 RGB and ``draws`` (B, F, N_DRAWS) float32 in [0, 1), on one device, give
    (B * F, 3, image_size, image_size) float32 in 0..1, channels last in memory.

    >>> import torch
    >>> from tclr.schemas.config import PretrainConfig
    >>> frames, draws = torch.zeros(2, 6, 40, 40, 3, dtype=torch.uint8), torch.rand(2, 6, N_DRAWS)
    >>> augment(frames, draws, PretrainConfig(image_size=32)).shape
    torch.Size([12, 3, 32, 32])
    """
    n_tuples, n_frames = frames.shape[:2]
    mirrored = flipped(draws, config).repeat_interleave(n_frames)
    if config.augment == "tuple":
        draws = draws[:, :1].expand(-1, n_frames, -1)
    u = draws.reshape(n_tuples * n_frames, N_DRAWS)
    flat = frames.flatten(0, 1)
    x = resize(flat, min(resized_side(config), flat.shape[1])).float().div_(255)  # a sampling grid alone would alias
    still = config.augment == "none"
    x = cut(x, torch.full_like(u, 0.5) if still else u, mirrored, config)
    if not still:
        x = relight(x, u, config)
        x = soften(x, u, config.blur)
    return x.clamp_(0, 1).contiguous(memory_format=torch.channels_last)


def cut(x: Tensor, u: Tensor, mirrored: Tensor, config: PretrainConfig) -> Tensor:
    """Cut the inputs (N, 3, image_size, image_size) out of crops (N, 3, S, S), each by the map that its draws give.

    Beyond its edges, a crop is continued by reflection.
    """
    size = config.image_size
    steps = (torch.arange(size, device=x.device, dtype=x.dtype) + 0.5) * 2 / size - 1
    # each row of the map: the part that changes within a line, and the part that changes from line to line
    seen_x, seen_y, depth = (
        (a[:, None] * steps)[:, None] + (b[:, None] * steps + c[:, None])[..., None]
        for a, b, c in place_input(u, mirrored, config)
    )
    grid = torch.stack([seen_x / depth, seen_y / depth], dim=-1)
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def place_input(u: Tensor, mirrored: Tensor, config: PretrainConfig) -> list[list[Tensor]]:
    """Return the 3 x 3 entries, each (N,), of the projective maps from input to crop, both with coordinates in -1..1.

    ``u`` (N, N_DRAWS): 1 and 2 shift, 3 zooms, 4 stretches, 5 rotates, 6 and 7 tilt; ``mirrored`` (N,) bool.
    """
    size, whole = config.image_size, resized_side(config)
    signed = 2 * u - 1
    # whole pixels, so that an input that is neither rotated nor resized stays sharp
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
    """Change contrast, brightness, colour balance and gamma, and light each picture from one side.

    ``u`` (N, N_DRAWS): 8 is contrast, 9 brightness, 10 to 12 red, green and blue, 13 gamma, 14 the direction of the
    light, 15 its strength. Contrast is changed first, about the picture's mean.
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
    """Blur a share of the pictures; ``u`` (N, N_DRAWS): 16 is whether, 17 the Gaussian's width of 0.3 to 1.2 pixels."""
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
