"""Validation on held-out subjects during training.

Shapes: embeddings (B, F, D) of unit length, frame 0 is the anchor; seconds (B, F), time from the anchor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tclr.pipeline.encoder import TemporalEncoder, to_input
from tclr.pipeline.pretraining.losses import ranked_pairs
from tclr.pipeline.pretraining.runlog import RunningMeans, add_states, means_of
from tclr.pipeline.pretraining.trainer import Trainer
from tclr.pipeline.tuples import load_batches

MAX_WATCHED_TUPLES = 1024
"""Largest number of tuples to validate on after an epoch: 10,000 pairs resolve half a percent."""
COLLAPSE_STD = 0.05
"""Spread of embeddings below which the run warns of collapse; that of random directions is 1."""
EDGES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Edges, in seconds, of the bins of ranking accuracy."""


@dataclass(frozen=True)
class Validation:
    """Embeddings (B, F, D) and seconds (B, F) of held-out tuples, on the CPU, and their mean losses by name."""

    embeddings: Tensor
    seconds: Tensor
    losses: dict[str, float]


@torch.no_grad()
def validate(trainer: Trainer, encoder: TemporalEncoder) -> Validation:
    """Embed a run's fixed tuples without augmentation; each process embeds a part, and all get the whole.

    The tuples are those of held-out subjects, or of training subjects if nobody is held out.
    """
    tuples, config, processes = trainer.data.watched_tuples, trainer.config, trainer.processes
    encoder.eval()
    trainer.model.objective.eval()
    chosen = np.linspace(0, len(tuples) - 1, min(len(tuples), MAX_WATCHED_TUPLES)).round().astype(int).tolist()
    mine = processes.share(chosen)
    size = max(config.batch_size // (config.accumulate * processes.count), 1)
    parts = [mine[i : i + size] for i in range(0, len(mine), size)]
    means, embeddings, seconds = RunningMeans(), [], []
    for batch in load_batches(
        tuples, parts, num_workers=0, device=trainer.device
    ):  # a second set of loader processes would cost too much memory
        x = to_input(batch.frames.flatten(0, 1), trainer.info)
        embedded = trainer.model.embed(encoder, x, len(batch))
        means.add(trainer.model.objective(embedded, batch), len(batch))
        embeddings.append(embedded.cpu())
        seconds.append(batch.seconds.cpu())
    everyone = processes.gather((embeddings, seconds, means.state()))
    return Validation(
        torch.cat([part for parts, _, _ in everyone for part in parts]),
        torch.cat([part for _, parts, _ in everyone for part in parts]),
        means_of(add_states([state for _, _, state in everyone])),
    )


def held_out_metrics(embeddings: Tensor, seconds: Tensor) -> dict[str, Any]:
    """Measure ranking accuracy, and the ``spread`` and ``effective_rank`` of the embeddings.

    Accuracy is the share of ``ranked_pairs``: over all pairs, by position of the pair, and by the later frame's time in
    seconds, such as ``"0.2-0.5"``.
    """
    ranked = ranked_pairs(embeddings).float()
    by_pair = ranked.mean(dim=0)
    return {
        "val_accuracy": by_pair.mean().item(),
        "val_accuracy_by_pair": [round(value, 4) for value in by_pair.tolist()],
        "val_accuracy_by_seconds": _accuracy_by_seconds(ranked, seconds[:, 2:].abs()),
        "embedding_std": spread(embeddings),
        "effective_rank": effective_rank(embeddings),
    }


def _accuracy_by_seconds(ranked: Tensor, seconds: Tensor) -> dict[str, float]:
    bins = torch.bucketize(seconds.contiguous(), torch.tensor(EDGES_S))
    bounds = (0.0, *EDGES_S, float("inf"))
    return {
        f"{low:g}-{high:g}": round(ranked[bins == i].mean().item(), 4)
        for i, (low, high) in enumerate(zip(bounds[:-1], bounds[1:], strict=True))
        if (bins == i).any()
    }


def spread(embeddings: Tensor) -> float:
    """Return the root of the summed variances of all dimensions: 0 for a single point, 1 for random directions.

    >>> spread(torch.ones(4, 6, 8))
    0.0
    """
    return embeddings.flatten(0, 1).std(dim=0).square().sum().sqrt().item()


def effective_rank(embeddings: Tensor) -> float:
    """Return the effective number of dimensions, 1 to D: exp of the entropy of the centred embeddings' singular values.

    Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007.

    >>> round(effective_rank(torch.eye(3)[None]), 3)
    2.0
    """
    x = embeddings.flatten(0, 1).double()
    x = x - x.mean(dim=0)
    sizes = torch.linalg.eigvalsh(x.T @ x).clamp(min=0).sqrt()
    share = sizes / sizes.sum().clamp(min=1e-12)
    return torch.special.entr(share).sum().exp().item()
