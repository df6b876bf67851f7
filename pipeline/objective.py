"""What pretraining minimises: the ranking loss of the paper, and companions that each can be left out.

Ranking alone can be won by telling head pose or light; a companion asks for what only the face's movement tells.
Weights are settings; a companion of weight 0 is not computed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tclr.pipeline.augment import flipped
from tclr.pipeline.geometry import mirror_index
from tclr.pipeline.losses import aggregate_ranking_loss, subject_spread, within_clip_contrast
from tclr.pipeline.tuples import TupleBatch
from tclr.schemas.config import PretrainConfig

READOUT_SCALE = 4.0
"""Embeddings are of unit length; scaled by this they reach the size of the targets with weights near 1."""


class Objective(nn.Module):
    """All losses of a batch.

    Parameters
    ----------
    config : PretrainConfig
        Weights and margins.
    n_targets : int
        Numbers a frame that the geometry companion predicts; 0 where the store has no landmarks for it.
    """

    def __init__(self, config: PretrainConfig, n_targets: int) -> None:
        super().__init__()
        self.config = config
        self.geometry_head: nn.Linear | None = None
        if config.geometry_weight and n_targets:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                self.geometry_head = nn.Linear(config.embedding_dim, n_targets)
            index, sign = mirror_index(n_targets)
            self.register_buffer("mirror_index", torch.from_numpy(index), persistent=False)
            self.register_buffer("mirror_sign", torch.from_numpy(sign), persistent=False)

    def forward(self, embeddings: Tensor, batch: TupleBatch) -> dict[str, Tensor]:
        """Return the losses.

        Parameters
        ----------
        embeddings : Tensor
            (B, F, D) float32 of unit length.
        batch : TupleBatch
            The tuples that they are embeddings of.

        Returns
        -------
        dict of str to Tensor
            Scalars: ``loss``, the weighted sum, and each part by name, unweighted.
        """
        config, parts, total = self.config, {}, embeddings.new_zeros(())
        if config.ranking_weight:
            gaps = batch.seconds[:, 2:] - batch.seconds[:, 1:-1]
            margin = config.margin + config.margin_per_s * gaps
            parts["ranking"] = aggregate_ranking_loss(embeddings, margin)
            total = total + config.ranking_weight * parts["ranking"]
        if config.contrast_weight:
            parts["contrast"] = within_clip_contrast(
                embeddings, batch.seconds, config.contrast_temperature, config.contrast_min_s
            )
            total = total + config.contrast_weight * parts["contrast"]
        if config.cross_subject_weight and len(embeddings) > 1:
            parts["cross_subject"] = subject_spread(embeddings)
            total = total + config.cross_subject_weight * parts["cross_subject"]
        if self.geometry_head is not None:
            parts["geometry"] = self._geometry(embeddings, batch)
            total = total + config.geometry_weight * parts["geometry"]
        return {"loss": total, **parts}

    def _geometry(self, embeddings: Tensor, batch: TupleBatch) -> Tensor:
        """Return the smooth L1 error of the movement read linearly off the embeddings, over frames that have one."""
        mirrored = batch.targets[..., self.mirror_index] * self.mirror_sign
        targets = torch.where(flipped(batch.draws, self.config)[:, None, None], mirrored, batch.targets)
        known = targets.isfinite()
        predicted = self.geometry_head(READOUT_SCALE * embeddings)
        error = functional.smooth_l1_loss(predicted, targets.nan_to_num(), reduction="none")
        return (error * known).sum() / known.sum().clamp(min=1)
