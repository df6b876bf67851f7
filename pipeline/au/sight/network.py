"""The network of ``Judge`` in PyTorch, to train it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tclr.pipeline.au.sight.judge import N_CONTEXT, SIDE_PX, WIDTHS, Judge, standardise
from tclr.schemas.action_units import REGIONS


class JudgeNetwork(nn.Module):
    """(N, 3, 64, 64) float32 of ``to_input`` to (N, 5) logits of the visible share of ``REGIONS``.

    >>> JudgeNetwork().eval()(to_input(np.zeros((1, 64, 64, 3), np.uint8))).shape
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

    def judge(self) -> Judge:
        """Return a judge with these weights, rounded to the 16 bits of its file."""
        return Judge({name: value.detach().cpu().numpy() for name, value in self.state_dict().items()})


def _layer(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True))


def to_input(crops: np.ndarray) -> Tensor:
    """Return crops (N, 64, 64, 3) uint8 as the network's input, see ``standardise``; channels last in memory.

    >>> to_input(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)).std().round().item()
    1.0
    """
    return torch.from_numpy(standardise(list(crops))).permute(0, 3, 1, 2)
