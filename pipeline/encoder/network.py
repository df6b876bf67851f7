"""The network: a backbone's pooled features -> linear 256 -> L2 norm.

Parameter names are torchvision's under the architecture's name (``resnet18.``) and ``fc1.`` for the linear layer, as in
the paper's released checkpoint. Source: Lu et al., BMVC 2020, section 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tclr.pipeline.encoder.backbones import BACKBONES
from tclr.schemas.errors import ModelError


class TemporalEncoder(nn.Module):
    """The paper's encoder: (N, 3, H, W) normalised float32 to (N, embedding_dim) of unit length.

    ``arch`` is a name of ``BACKBONES``, under which the backbone is also the attribute: ``model.resnet18``.

    Raises
    ------
    ModelError
        If there is no such architecture.
    """

    def __init__(self, embedding_dim: int = 256, arch: str = "resnet18") -> None:
        super().__init__()
        if arch not in BACKBONES:
            raise ModelError(f"Expected an architecture of {', '.join(sorted(BACKBONES))}, but got {arch!r}.")
        self.arch = arch
        self.n_features = BACKBONES[arch].n_features
        self.add_module(arch, BACKBONES[arch].build())
        self.fc1 = nn.Linear(self.n_features, embedding_dim)

    def features(self, x: Tensor) -> Tensor:
        """Return (N, n_features) pooled features of the backbone, before ``fc1``."""
        return getattr(self, self.arch)(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, embedding_dim) embeddings, L2-normalised."""
        return functional.normalize(self.fc1(self.features(x)).float(), dim=1)  # bfloat16 is coarse beside a margin


def build_encoder(embedding_dim: int, seed: int, arch: str = "resnet18") -> TemporalEncoder:
    """Return an untrained encoder; the same seed gives the same weights and leaves other draws alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TemporalEncoder(embedding_dim, arch)
