"""What pretraining minimises."""

from __future__ import annotations

from torch import Tensor, nn

from tclr.pipeline.losses import aggregate_ranking_loss
from tclr.pipeline.tuples import TupleBatch
from tclr.schemas.config import PretrainConfig


class Objective(nn.Module):
    """The paper's aggregate ranking loss."""

    def __init__(self, config: PretrainConfig, n_targets: int) -> None:
        super().__init__()
        self.margin = config.margin

    def forward(self, embeddings: Tensor, batch: TupleBatch) -> dict[str, Tensor]:
        """Return "loss" and its parts, scalars, each a mean over the tuples of (B, F, D) embeddings."""
        return {"loss": aggregate_ranking_loss(embeddings, self.margin)}
