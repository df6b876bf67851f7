"""The network: a backbone's pooled features -> linear 256 -> L2 norm.

Parameter names are as in the paper's released checkpoint: torchvision's names after the architecture's
(``resnet18.``), and ``fc1.`` for the linear layer. Source: Lu et al., BMVC 2020, section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tclr.pipeline.encoder.backbones import BACKBONES
from tclr.schemas.errors import ModelError, suggestion


class TemporalEncoder(nn.Module):
    """The paper's encoder: (N, 3, H, W) normalised float32 to (N, embedding_dim) of unit length.

    ``arch`` is a name of ``BACKBONES``; the backbone is the attribute of that name, such as ``model.resnet18``.

    Raises
    ------
    ModelError
        If there is no such architecture.

    Examples
    --------
    >>> TemporalEncoder(8, "mobilenet_v2").n_features
    1280
    """

    def __init__(self, embedding_dim: int = 256, arch: str = "resnet18") -> None:
        super().__init__()
        if arch not in BACKBONES:
            names = sorted(BACKBONES)
            raise ModelError(
                f"Expected one of the architectures {', '.join(names)}, but got {arch!r}.{suggestion(arch, names)}"
            )
        self.arch = arch
        self.n_features = BACKBONES[arch].n_features
        self.add_module(arch, BACKBONES[arch].build())
        self.fc1 = nn.Linear(self.n_features, embedding_dim)

    def features(self, x: Tensor) -> Tensor:
        """Return (N, n_features) pooled features of the backbone, before ``fc1``."""
        return getattr(self, self.arch)(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, embedding_dim) embeddings, L2-normalised."""
        return functional.normalize(
            self.fc1(self.features(x)).float(), dim=1
        )  # bfloat16 is too coarse for the loss's margin


def build_encoder(embedding_dim: int, seed: int, arch: str = "resnet18") -> TemporalEncoder:
    """Return an encoder with random weights that depend on ``seed`` alone; torch's own random state is unchanged.

    >>> import torch
    >>> torch.equal(build_encoder(8, seed=1).fc1.weight, build_encoder(8, seed=1).fc1.weight)
    True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TemporalEncoder(embedding_dim, arch)
