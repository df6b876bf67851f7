"""Convolutional networks without their classifier: (N, 3, H, W) float32 to (N, n_features) pooled features.

Names and shapes of parameters and buffers are torchvision's, and so is the initialisation, so ImageNet weights in
torchvision's names load as they are. To add a network, write its module and give it a line in ``BACKBONES`` and in
``PretrainConfig.arch``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from tclr.pipeline.encoder.backbones.densenet import DenseNet121
from tclr.pipeline.encoder.backbones.mobilenet import MobileNetV2
from tclr.pipeline.encoder.backbones.resnet import resnet18, resnet50

__all__ = ["BACKBONES", "Backbone"]


class Backbone(NamedTuple):
    """How to build a network with random weights, and the length of the features it gives."""

    build: Callable[[], nn.Module]
    n_features: int


BACKBONES = {
    "resnet18": Backbone(resnet18, 512),
    "resnet50": Backbone(resnet50, 2048),
    "densenet121": Backbone(DenseNet121, 1024),
    "mobilenet_v2": Backbone(MobileNetV2, 1280),
}
