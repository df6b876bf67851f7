"""What pretraining minimises: the ranking loss of the paper, and companions that each can be left out.

Ranking alone can be won by telling head pose or light; a companion asks for what only the face's movement tells.
Weights are settings; a companion of weight 0 is not computed. Shapes: embeddings (B, F, D) of unit length, targets
(B, F, G), NaN where unknown.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tclr.pipeline.encoder import flipped
from tclr.pipeline.pretraining.geometry import mirror_index
from tclr.pipeline.pretraining.losses import aggregate_ranking_loss
from tclr.pipeline.tuples import TupleBatch
from tclr.schemas.config import PretrainConfig

WHITENED_LIMIT = 4.0
"""Standard deviations at which whitened movements are cut; beyond lie landmarks that jumped."""
FLOOR = 1e-3
"""Share of the largest variance below which a direction of movement is noise, and not blown up."""
READOUT_SCALE = 4.0
"""Embeddings of unit length are scaled by this for the linear heads; chosen by us: 16 was learnt more slowly."""


def whiten(sample: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the mean (G,) of targets and the directions (G, G) in which they vary, scaled to a variance near 1.

    Large movements, as of the jaw, would otherwise drown those of lids and cheeks. Directions are columns by falling
    variance, float64. Rows of the sample (N, G) with NaN are passed over; None if nothing varies.
    """
    known = sample[sample.isfinite().all(dim=1)].double()
    mean = known.mean(dim=0)
    if len(known) < 2 or not (known - mean).any():
        return None
    variance, directions = torch.linalg.eigh((known - mean).T @ (known - mean) / len(known))
    variance, directions = variance.flip(0), directions.flip(1)
    # the sign of an eigenvector is arbitrary: make its largest entry positive
    directions = directions * directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
    scale = 1 / (variance + FLOOR * variance[0]).sqrt()
    return mean, directions * scale


class Objective(nn.Module):
    """All losses of a batch.

    ``n_targets`` is G, what a companion predicts per frame; 0 where the store has none.
    """

    target_mean: Tensor
    target_basis: Tensor
    mirror_index: Tensor
    mirror_sign: Tensor

    def __init__(self, config: PretrainConfig, n_targets: int) -> None:
        super().__init__()
        self.config = config
        self.label_head = self.geometry_head = None
        if n_targets and config.supervision_weight:
            self.label_head = self._start_head(n_targets)
        elif n_targets and config.geometry_weight:
            n_components = min(config.geometry_components, n_targets)
            self.geometry_head = self._start_head(n_components)
            self.register_buffer("target_mean", torch.zeros(n_targets))
            self.register_buffer("target_basis", torch.eye(n_targets)[:, :n_components].contiguous())
            index, sign = mirror_index(n_targets)
            self.register_buffer("mirror_index", torch.from_numpy(index), persistent=False)
            self.register_buffer("mirror_sign", torch.from_numpy(sign), persistent=False)

    def _start_head(self, n_outputs: int) -> nn.Linear:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return nn.Linear(self.config.embedding_dim, n_outputs)

    def fit_targets(self, sample: Tensor) -> None:
        """Whiten the geometry targets by a sample (N, G) of the data. Called once, before training."""
        found = whiten(sample)
        if self.geometry_head is not None and found is not None:
            mean, basis = found
            self.target_mean.copy_(mean)
            self.target_basis.copy_(basis[:, : self.target_basis.shape[1]])

    def forward(self, embeddings: Tensor, batch: TupleBatch) -> dict[str, Tensor]:
        """Return scalars: ``loss``, the weighted sum, and each part by name, unweighted."""
        parts = {}
        if self.config.ranking_weight:
            parts["ranking"] = aggregate_ranking_loss(embeddings, self.config.margin)
        if self.geometry_head is not None:
            parts["geometry"] = self._geometry_loss(self.geometry_head(READOUT_SCALE * embeddings), batch)
        if self.label_head is not None:
            parts["supervision"] = _label_loss(self.label_head(READOUT_SCALE * embeddings), batch.targets)
        weighted = [getattr(self.config, f"{name}_weight") * part for name, part in parts.items()]
        return {"loss": sum(weighted, embeddings.new_zeros(())), **parts}

    def _geometry_loss(self, predicted: Tensor, batch: TupleBatch) -> Tensor:
        """Return the smooth L1 error of the predicted movement; what is learnt from is mirrored as its pictures are."""
        targets = batch.targets
        if self.training:
            mirrored = targets[..., self.mirror_index] * self.mirror_sign
            targets = torch.where(flipped(batch.draws, self.config)[:, None, None], mirrored, targets)
        wanted = ((targets - self.target_mean) @ self.target_basis).clamp(-WHITENED_LIMIT, WHITENED_LIMIT)
        return _mean_where_known(functional.smooth_l1_loss(predicted, wanted.nan_to_num(), reduction="none"), wanted)


def _label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    error = functional.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
    return _mean_where_known(error, labels)


def _mean_where_known(error: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over tuples of (B, F, G) errors' means over what is known; without anything, 0."""
    known = targets.isfinite()
    return ((error * known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)).mean()
