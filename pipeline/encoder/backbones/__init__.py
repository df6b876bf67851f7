"""Convolutional networks without their classifier: (N, 3, H, W) float32 to (N, n_features) pooled features.

Names and shapes of parameters and buffers, and the initialisation, are torchvision's where it has the network: its
ImageNet weights load unchanged. To add a network, write its module and add a line to ``BACKBONES`` and to
``PretrainConfig.arch``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from tclr.pipeline.encoder.backbones.densenet import DenseNet121
from tclr.pipeline.encoder.backbones.facemesh import N_FEATURES, FaceMesh
from tclr.pipeline.encoder.backbones.mobilenet import MobileNetV2
from tclr.pipeline.encoder.backbones.resnet import resnet18, resnet50

__all__ = ["BACKBONES", "Backbone"]


class Backbone(NamedTuple):
    """A function that builds a network with random weights, and the number of its features."""

    build: Callable[[], nn.Module]
    n_features: int


BACKBONES = {
    "resnet18": Backbone(resnet18, 512),
    "resnet50": Backbone(resnet50, 2048),
    "densenet121": Backbone(DenseNet121, 1024),
    "mobilenet_v2": Backbone(MobileNetV2, 1280),
    "facemesh": Backbone(FaceMesh, N_FEATURES),
}
