"""MobileNetV2 without its classifier: (N, 3, H, W) to (N, 1280).

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2.
"""

from __future__ import annotations

from torch import Tensor, nn

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion t, maps c, blocks n and stride s of the first block, for each stage (table 2)."""


def _conv(n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expansion, depthwise 3 x 3 and linear projection, with a shortcut if the size is unchanged (figure 4d)."""

    def __init__(self, n_in: int, n_out: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = n_in * expansion
        expand = [_conv(n_in, width, 1)] if expansion > 1 else []
        depthwise = _conv(width, width, 3, stride, groups=width)
        project = [nn.Conv2d(width, n_out, 1, bias=False), nn.BatchNorm2d(n_out)]
        self.conv = nn.Sequential(*expand, depthwise, *project)
        self.has_shortcut = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, H, W) to (N, n_out, H / stride, W / stride)."""
        return x + self.conv(x) if self.has_shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1: 1280 features."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_conv(3, 32, 3, stride=2)]
        n_in = 32
        for expansion, n_out, n_blocks, stride in STAGES:
            for number in range(n_blocks):
                blocks.append(InvertedResidual(n_in, n_out, expansion, stride if number == 0 else 1))
                n_in = n_out
        self.features = nn.Sequential(*blocks, _conv(n_in, 1280, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, n_features) pooled features."""
        return self.features(x).mean(dim=(2, 3))
