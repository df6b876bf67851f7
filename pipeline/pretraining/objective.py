"""What pretraining minimises: the ranking loss of the paper, and companions that each can be left out.

Ranking alone can be won by telling head pose or light; a companion asks for what only the face's movement tells.
Weights are settings; a companion of weight 0 is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tclr.pipeline.encoder import flipped
from tclr.pipeline.pretraining.geometry import clip_targets, mirror_index
from tclr.pipeline.pretraining.losses import aggregate_ranking_loss
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.tuples import ClipTargets, TupleBatch
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.config import PretrainConfig

WHITENED_LIMIT = 4.0
"""Standard deviations at which whitened movements are cut; beyond lie landmarks that jumped."""
FLOOR = 1e-3
"""Share of the largest variance below which a direction of movement is noise, and not blown up."""
READOUT_SCALE = 4.0
"""Embeddings of unit length are scaled by this for the linear heads; chosen by us: 16 was learnt more slowly."""


def label_targets(au_names: Sequence[str], store: Store, info: ClipInfo) -> np.ndarray:
    """Return the labels of some AUs in a clip, (T, A) float32 0 or 1; NaN where unknown or not labelled."""
    labels = store.read_columns(info, "au", au_names)
    return np.where(labels == UNKNOWN, np.nan, labels).astype(np.float32)


def targets_for(config: PretrainConfig, au_names: Sequence[str]) -> ClipTargets | None:
    """Return what reads the targets that a recipe needs beside the frames; None if it needs none.

    ``au_names`` are the AUs that are labelled anywhere in the store: clips may have different ones, or none.
    """
    if config.supervision_weight:
        return partial(label_targets, tuple(au_names))
    return clip_targets if config.geometry_weight else None


class Objective(nn.Module):
    """All losses of a batch.

    Parameters
    ----------
    config : PretrainConfig
        Weights and margins.
    n_targets : int
        Numbers a frame that a companion predicts, see ``targets_for``; 0 where the store has none.
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
            self.label_head = self._linear(n_targets)
        elif n_targets and config.geometry_weight:
            n_components = min(config.geometry_components, n_targets)
            self.geometry_head = self._linear(n_components)
            self.register_buffer("target_mean", torch.zeros(n_targets))
            self.register_buffer("target_basis", torch.eye(n_targets)[:, :n_components].contiguous())
            index, sign = mirror_index(n_targets)
            self.register_buffer("mirror_index", torch.from_numpy(index), persistent=False)
            self.register_buffer("mirror_sign", torch.from_numpy(sign), persistent=False)

    def _linear(self, n_targets: int) -> nn.Linear:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return nn.Linear(self.config.embedding_dim, n_targets)

    def fit_targets(self, sample: Tensor) -> None:
        """Whiten the geometry targets: large movements, as of the jaw, would else drown those of lids and cheeks.

        Parameters
        ----------
        sample : Tensor
            (N, G) targets of the data; rows with NaN are passed over. Called once, before training.
        """
        if self.geometry_head is None:
            return
        known = sample[sample.isfinite().all(dim=1)].double()
        if len(known) < 2:
            return
        mean = known.mean(dim=0)
        if not (known - mean).any():
            return
        variance, directions = torch.linalg.eigh((known - mean).T @ (known - mean) / len(known))
        variance, directions = variance.flip(0), directions.flip(1)
        # the sign of an eigenvector is arbitrary: make its largest entry positive
        directions = directions * directions.gather(0, directions.abs().argmax(dim=0, keepdim=True)).sign()
        scale = 1 / (variance + FLOOR * variance[0]).sqrt()
        self.target_mean.copy_(mean)
        self.target_basis.copy_((directions * scale)[:, : self.target_basis.shape[1]])

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
        config, parts, total = self.config, {}, embeddings.sum() * 0
        if config.ranking_weight:
            parts["ranking"] = aggregate_ranking_loss(embeddings, config.margin)
            total = total + config.ranking_weight * parts["ranking"]
        if self.geometry_head is not None:
            parts["geometry"] = self._geometry_loss(self.geometry_head(READOUT_SCALE * embeddings), batch)
            total = total + config.geometry_weight * parts["geometry"]
        if self.label_head is not None:
            logits = self.label_head(READOUT_SCALE * embeddings)
            error = functional.binary_cross_entropy_with_logits(logits, batch.targets.nan_to_num(), reduction="none")
            parts["supervision"] = _mean_where_known(error, batch.targets)
            total = total + config.supervision_weight * parts["supervision"]
        return {"loss": total, **parts}

    def _geometry_loss(self, predicted: Tensor, batch: TupleBatch) -> Tensor:
        """Return the smooth L1 error of the predicted movement; what is learnt from is mirrored as its pictures are."""
        targets = batch.targets
        if self.training:
            mirrored = targets[..., self.mirror_index] * self.mirror_sign
            targets = torch.where(flipped(batch.draws, self.config)[:, None, None], mirrored, targets)
        wanted = ((targets - self.target_mean) @ self.target_basis).clamp(-WHITENED_LIMIT, WHITENED_LIMIT)
        return _mean_where_known(functional.smooth_l1_loss(predicted, wanted.nan_to_num(), reduction="none"), wanted)


def _mean_where_known(error: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over tuples of (B, F, G) errors' means over what is known; without anything, 0."""
    known = targets.isfinite()
    return ((error * known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)).mean()
