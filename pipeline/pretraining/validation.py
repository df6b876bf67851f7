"""Validation: what embeddings of held-out subjects tell while an encoder is trained, and the picture at its end.

Shapes: embeddings (B, F, D) of unit length, frame 0 the anchor; seconds (B, F), time from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tclr.pipeline.encoder import TemporalEncoder, to_input
from tclr.pipeline.pretraining.losses import anchor_distances, ranked_pairs
from tclr.pipeline.pretraining.runlog import RunningMeans, add_states, means_of
from tclr.pipeline.pretraining.trainer import Trainer
from tclr.pipeline.system import replacing, write_json
from tclr.pipeline.tuples import load_batches

MAX_WATCHED_TUPLES = 1024
"""Most held-out tuples that are validated on after an epoch; chosen by us: 10,000 pairs resolve half a percent."""
COLLAPSE_STD = 0.05
"""Spread of embeddings below which the run warns of collapse; 1 is the spread of random directions."""
EDGES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Bounds in seconds between which ranking accuracy is told apart; chosen by us."""
MAX_POINTS = 24
"""Points of a distance curve; chosen by us: tuples of the paper have 11 distances in time."""


@dataclass(frozen=True)
class Validation:
    """Embeddings (B, F, D) and seconds (B, F) of held-out tuples, on the CPU, and their mean losses by name."""

    embeddings: Tensor
    seconds: Tensor
    losses: dict[str, float]


@torch.no_grad()
def validate(trainer: Trainer, encoder: TemporalEncoder) -> Validation:
    """Embed a run's held-out tuples with an encoder, without augmentation; each process its part, all get the whole.

    Without held-out subjects, the tuples are those of subjects that are trained on.
    """
    tuples, config, processes = trainer.data.watched_tuples, trainer.config, trainer.processes
    encoder.eval()
    trainer.model.objective.eval()
    chosen = np.linspace(0, len(tuples) - 1, min(len(tuples), MAX_WATCHED_TUPLES)).round().astype(int).tolist()
    mine = processes.share(chosen)
    size = max(config.batch_size // (config.accumulate * processes.count), 1)
    parts = [mine[i : i + size] for i in range(0, len(mine), size)]
    means, embeddings, seconds = RunningMeans(), [], []
    for batch in load_batches(tuples, parts, num_workers=0, device=trainer.device):  # a second set is too much
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
    """Measure ranking accuracy, and the shape of the embeddings by ``spread`` and ``effective_rank``.

    Accuracy is the share of adjacent pairs whose nearer frame in time is nearer to the anchor: of all, by place of the
    pair, and by the farther frame's time, as ``"0.2-0.5"``.
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
    """Return the root of the summed variances of all dimensions: 0 if all are one point, 1 for random directions."""
    return embeddings.flatten(0, 1).std(dim=0).square().sum().sqrt().item()


def effective_rank(embeddings: Tensor) -> float:
    """Return how many dimensions the embeddings use, 1 to D: exp of the entropy of their covariance's singular values.

    Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007, of the centred embeddings.
    """
    x = embeddings.flatten(0, 1).double()
    x = x - x.mean(dim=0)
    sizes = torch.linalg.eigvalsh(x.T @ x).clamp(min=0).sqrt()
    share = sizes / sizes.sum().clamp(min=1e-12)
    return torch.special.entr(share).sum().exp().item()


def distance_curve(embeddings: Tensor, seconds: Tensor) -> dict[str, list[float]]:
    """Return the squared distance to the anchor as a function of time.

    Lists of one length, by rising time: ``seconds``, mean of a bin; ``mean``, ``q25``, ``q75`` of the squared Euclidean
    distances in it; ``n``, how many. Bins are single times where there are at most ``MAX_POINTS`` of them, to the
    millisecond, else quantiles.
    """
    times, distances = seconds[:, 1:].abs().flatten(), anchor_distances(embeddings).flatten()
    unique = (times * 1000).round().unique() / 1000
    if len(unique) <= MAX_POINTS:
        edges = (unique[1:] + unique[:-1]) / 2
    else:
        edges = torch.quantile(times, torch.linspace(0, 1, MAX_POINTS + 1, dtype=times.dtype)[1:-1]).unique()
    bins = torch.bucketize(times, edges)
    curve: dict[str, list[float]] = {name: [] for name in ("seconds", "mean", "q25", "q75", "n")}
    for i in bins.unique():
        chosen = distances[bins == i]
        low, high = torch.quantile(chosen, chosen.new_tensor([0.25, 0.75])).tolist()
        values = (times[bins == i].mean().item(), chosen.mean().item(), low, high, len(chosen))
        for name, value in zip(curve, values, strict=True):
            curve[name].append(value)
    return curve


def write_distances(run: Path, curves: dict[str, dict[str, list[float]]]) -> None:
    """Write distance curves by name to RUN/distance.json, and their picture to RUN/distance.png."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (name, curve), colour in zip(curves.items(), ("#2a7f9e", "#8a8f94"), strict=True):
        axes.fill_between(curve["seconds"], curve["q25"], curve["q75"], color=colour, alpha=0.2, linewidth=0)
        axes.plot(curve["seconds"], curve["mean"], color=colour, marker="o", markersize=3, label=name)
    axes.set(
        xlabel="time from the anchor in s", ylabel="squared distance of embeddings", xlim=(0, None), ylim=(0, None)
    )
    axes.set_title("Held-out subjects: mean, and the middle half of the pairs", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    write_json(run / "distance.json", dict(curves))
    with replacing(run / "distance.png") as temporary:
        figure.savefig(temporary, format="png", dpi=120)
