"""The objective of pretraining: the ranking loss of the paper, and optional further losses.

Head pose or lighting alone can solve the ranking; the further losses depend on the movement of the face. Weights are
settings, and a loss of weight 0 is not computed. Shapes: embeddings (B, F, D) of unit length; targets (B, F, G), NaN
where unknown.
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
"""Standard deviations at which whitened movements are clipped; larger ones are landmarks that jumped."""
FLOOR = 1e-3
"""Share of the largest variance below which a direction of movement is noise and is not amplified."""
READOUT_SCALE = 4.0
"""Scale of the unit-length embeddings before the linear heads; 16 was learnt more slowly."""


def whiten(sample: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the mean (G,) of targets and their principal directions (G, G), scaled to a variance near 1, in float64.

    Large movements, as of the jaw, would otherwise outweigh those of eyelids and cheeks. Directions are columns in
    order of falling variance. Rows of the sample (N, G) with NaN are skipped; the result is None if nothing varies.

    >>> mean, directions = whiten(torch.tensor([[0.0, 1.0], [4.0, 1.0]]))
    >>> mean.tolist(), directions[:, 0].round(decimals=2).tolist()
    ([2.0, 1.0], [0.5, 0.0])
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
    """All losses of a batch; ``n_targets`` is G, the number of targets per frame, 0 if there are none.

    >>> batch = TupleBatch(*[torch.zeros(2, 4, 0)] * 4)
    >>> Objective(PretrainConfig(recipe="paper", margin=0.5), n_targets=0)(torch.zeros(2, 4, 8), batch)
    {'loss': tensor(1.), 'ranking': tensor(1.)}
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
        """Whiten the geometry targets by a sample (N, G) of the data; call once, before training."""
        found = whiten(sample)
        if self.geometry_head is not None and found is not None:
            mean, basis = found
            self.target_mean.copy_(mean)
            self.target_basis.copy_(basis[:, : self.target_basis.shape[1]])

    def forward(self, embeddings: Tensor, batch: TupleBatch) -> dict[str, Tensor]:
        """Return the weighted sum ``loss``, and each loss by name, unweighted; all are scalars."""
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
        """Return the smooth L1 error of the predicted movement; in training, targets are mirrored like pictures."""
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
    """Return the mean over tuples of each tuple's mean error over known targets (B, F, G); 0 if it has none."""
    known = targets.isfinite()
    return ((error * known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)).mean()
