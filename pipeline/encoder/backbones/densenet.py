"""DenseNet-121 without its classifier: (N, 3, H, W) to (N, 1024).

Source: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, table 1 (DenseNet-BC, growth rate 32).
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

GROWTH_RATE = 32  # feature maps that each layer adds (k)
BOTTLENECK = 4  # feature maps of a layer's 1 x 1 convolution, as a multiple of k
N_LAYERS = (6, 12, 24, 16)  # layers of each dense block


class DenseLayer(nn.Sequential):
    """BN-ReLU-Conv(1 x 1)-BN-ReLU-Conv(3 x 3); its maps are appended to those of its input."""

    def __init__(self, n_in: int) -> None:
        width = BOTTLENECK * GROWTH_RATE
        super().__init__(
            OrderedDict(
                norm1=nn.BatchNorm2d(n_in),
                relu1=nn.ReLU(inplace=True),
                conv1=nn.Conv2d(n_in, width, 1, bias=False),
                norm2=nn.BatchNorm2d(width),
                relu2=nn.ReLU(inplace=True),
                conv2=nn.Conv2d(width, GROWTH_RATE, 3, padding=1, bias=False),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, H, W) to (N, n_in + GROWTH_RATE, H, W)."""
        return torch.cat([x, super().forward(x)], dim=1)


def _dense_block(n_in: int, n_layers: int) -> nn.Sequential:
    layers = ((f"denselayer{number + 1}", DenseLayer(n_in + number * GROWTH_RATE)) for number in range(n_layers))
    return nn.Sequential(OrderedDict(layers))


def _transition(n_in: int) -> nn.Sequential:
    """Halve the number of maps (compression 0.5) and their sides."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(n_in),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(n_in, n_in // 2, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )


class DenseNet121(nn.Module):
    """A stem and four dense blocks: 1024 features."""

    def __init__(self) -> None:
        super().__init__()
        n_maps = 2 * GROWTH_RATE
        modules: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(3, n_maps, 7, 2, 3, bias=False),
            norm0=nn.BatchNorm2d(n_maps),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(3, 2, 1),
        )
        for number, count in enumerate(N_LAYERS, start=1):
            modules[f"denseblock{number}"] = _dense_block(n_maps, count)
            n_maps += count * GROWTH_RATE
            if number < len(N_LAYERS):
                modules[f"transition{number}"] = _transition(n_maps)
                n_maps //= 2
        modules["norm5"] = nn.BatchNorm2d(n_maps)
        self.features = nn.Sequential(modules)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, n_features) pooled features."""
        return functional.relu(self.features(x), inplace=True).mean(dim=(2, 3))
