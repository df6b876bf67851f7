"""The trunk of mediapipe's face landmark network without its landmarks: (N, 3, H, W) to (N, 2048).

Residual blocks of separable convolutions: 0.3 million parameters. They have no batch normalisation. One at the end
keeps the features in place while the blocks are trained: without it they drift, and layers behind them lose their way.
Google trained the network on real faces of all kinds, so that it is a better start than random weights
(``tclr pretrain --init facemesh`` reads them from the bundle). Kartynnik et al., "Real-time Facial Surface Geometry
from Monocular Video on Mobile GPUs", CVPR workshops 2019, and the model card "MediaPipe Face Mesh V2" (Google, 2022;
Apache License 2.0). Its pixels are 0..1.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from tclr.pipeline.encoder.facemesh_layout import GRID, MAX_MIDDLE, N_BLOCKS, N_FEATURES, WIDTHS

N_FIXED = 2
"""First stages that are never trained: edges and corners are the same for every purpose, and take most of the time."""


class Block(nn.Module):
    """A residual block: pointwise or, if it halves the side, 2x2 convolution, then depthwise, then pointwise."""

    def __init__(self, n_in: int, n_out: int, middle: int, stride: int) -> None:
        super().__init__()
        self.stride, self.n_new = stride, n_out - n_in
        self.enter = nn.Conv2d(n_in, middle, stride, stride)
        self.enter_act = nn.PReLU(middle)
        self.depthwise = nn.Conv2d(middle, middle, 3, padding=1, groups=middle)
        self.leave = nn.Conv2d(middle, n_out, 1)
        self.leave_act = nn.PReLU(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the side if ``stride`` is 2; new channels of the shortcut are 0."""
        y = self.leave(self.depthwise(self.enter_act(self.enter(x))))
        x = functional.max_pool2d(x, 2) if self.stride == 2 else x
        x = functional.pad(x, (0, 0, 0, 0, 0, self.n_new)) if self.n_new else x
        return self.leave_act(y + x)


class Stem(nn.Module):
    """The first convolution; it pads as TensorFlow does, to the right and below."""

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, n_out, 3, 2)
        self.enter_act = nn.PReLU(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the side."""
        return self.enter_act(self.enter(functional.pad(x, (0, 1, 0, 1))))


def _stage(entry: nn.Module, width: int) -> nn.Sequential:
    return nn.Sequential(entry, *(Block(width, width, width // 2, 1) for _ in range(N_BLOCKS)))


class FaceMesh(nn.Module):
    """The trunk up to the stage of a thirty-second of the side."""

    def __init__(self) -> None:
        super().__init__()
        pairs = zip(WIDTHS, WIDTHS[1:], strict=False)
        entries = (Block(n_in, n_out, min(n_in, MAX_MIDDLE), 2) for n_in, n_out in pairs)
        stages = [_stage(Stem(WIDTHS[0]), WIDTHS[0])]
        stages += [_stage(entry, width) for entry, width in zip(entries, WIDTHS[1:], strict=True)]
        self.stages = nn.Sequential(*stages)
        self.stages[:N_FIXED].requires_grad_(False)
        self.norm = nn.BatchNorm1d(N_FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 2048) float32 features: 128 for each of 4 x 4 regions of the face."""
        return self.norm(functional.adaptive_avg_pool2d(self.stages(x), GRID).flatten(1))
