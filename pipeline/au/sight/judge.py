"""The judge of visibility: from a crop of template ``tclr`` to the visible share of each region of the face.

A small convolutional network, 0.1 million parameters, that ``tclr sight`` trains on faces with drawn occluders. It reads
64 px, standardised per crop, so that light does not matter. Its last layer reads every place of the grid with weights
of its own: crops are aligned, so that a mouth is always at the same place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tclr.schemas.action_units import REGIONS

SIDE_PX = 64
"""Side of the network's input."""
WIDTHS = (16, 32, 48, 64)
"""Channels of its convolutions; the first three halve the side."""
LEAST_SPREAD = 2.0
"""Standard deviation, in grey levels, that crops without any contrast are divided by."""


class Judge(nn.Module):
    """(N, 3, 64, 64) float32 in 0..255 to (N, 5) logits of the visible share of ``REGIONS``."""

    def __init__(self) -> None:
        super().__init__()
        pairs = zip((3, *WIDTHS), WIDTHS, strict=False)
        self.layers = nn.Sequential(*(self._layer(*pair, stride=1 if pair[1] == WIDTHS[-1] else 2) for pair in pairs))
        self.coarse = self._layer(WIDTHS[-1], WIDTHS[-1], stride=2)
        side = SIDE_PX // 8
        self.context = nn.Linear(WIDTHS[-1] * (side // 2) ** 2, 48)
        self.drop = nn.Dropout(0.3)
        self.place = nn.Linear(WIDTHS[-1] * side**2, len(REGIONS))
        self.whole = nn.Linear(48, len(REGIONS))

    @staticmethod
    def _layer(n_in: int, n_out: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        flat = x.flatten(1)
        spread = flat.std(dim=1).clamp_min(LEAST_SPREAD)
        x = (x - flat.mean(dim=1)[:, None, None, None]) / spread[:, None, None, None]
        x = self.layers(x)
        context = torch.relu(self.context(self.drop(self.coarse(x).flatten(1))))
        return self.place(self.drop(x.flatten(1))) + self.whole(context)
