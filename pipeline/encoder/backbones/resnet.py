"""ResNet-18 and ResNet-50 without their classifier: (N, 3, H, W) to (N, 512) or (N, 2048).

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1. As in torchvision,
the bottleneck's stride is in its 3 x 3 convolution ("ResNet v1.5"); in the paper it is in the first one.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


def _shortcut(n_in: int, n_out: int, stride: int) -> nn.Module | None:
    """Return the projection for a shortcut between two sizes (option B of the paper), or None."""
    if stride == 1 and n_in == n_out:
        return None
    return nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut (figure 5, left)."""

    expansion = 1

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(n_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, H, W) to (N, width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(self.bn2(self.conv2(x)) + shortcut, inplace=True)


class Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1 with a shortcut (figure 5, right)."""

    expansion = 4

    def __init__(self, n_in: int, width: int, stride: int) -> None:
        super().__init__()
        n_out = width * self.expansion
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(n_out)
        self.downsample = _shortcut(n_in, n_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, n_in, H, W) to (N, 4 * width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.relu(self.bn2(self.conv2(x)), inplace=True)
        return functional.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


class ResNet(nn.Module):
    """A stem and four layers of ``n_blocks`` blocks."""

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], n_blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        expanded = block.expansion
        self.layer1 = self._layer(block, 64, 64, n_blocks[0], 1)
        self.layer2 = self._layer(block, 64 * expanded, 128, n_blocks[1], 2)
        self.layer3 = self._layer(block, 128 * expanded, 256, n_blocks[2], 2)
        self.layer4 = self._layer(block, 256 * expanded, 512, n_blocks[3], 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _layer(
        block: type[BasicBlock] | type[Bottleneck], n_in: int, width: int, n_blocks: int, stride: int
    ) -> nn.Sequential:
        rest = (block(width * block.expansion, width, 1) for _ in range(n_blocks - 1))
        return nn.Sequential(block(n_in, width, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, n_features) pooled features."""
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))


def resnet18() -> ResNet:
    """Return ResNet-18: 512 features."""
    return ResNet(BasicBlock, (2, 2, 2, 2))


def resnet50() -> ResNet:
    """Return ResNet-50: 2048 features."""
    return ResNet(Bottleneck, (3, 4, 6, 3))
