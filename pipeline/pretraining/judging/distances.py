"""The distance of embeddings over time: a curve for an encoder, and the picture of curves.

Shapes: embeddings (B, F, D) of unit length, frame 0 is the anchor; seconds (B, F), time from the anchor.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from tclr.pipeline.pretraining.losses import anchor_distances
from tclr.pipeline.system import replacing, write_json

SAME_TIME_S = 0.002
"""Largest difference of two times that count as one: containers round to milliseconds."""
LEAST_REACH = 0.9
"""Share of the tuples that must reach a time for it to be on the curve: the same tuples at all times, nearly."""


def distance_curve(embeddings: Tensor, seconds: Tensor) -> dict[str, list[float]]:
    """Return the squared Euclidean distance to the anchor as a function of the seconds from it.

    Lists with one value per time, in order: ``seconds``; ``mean``, ``q25`` and ``q75`` of the distances; ``n``, the
    number of tuples. Every tuple counts once at each time, by its distance there, which lies on the line between its
    frames before and after. So clips of all frame rates meet at the same times: a point of the curve never shows the
    clips of one rate alone. Times that less than ``LEAST_REACH`` of the tuples reach are left out.

    >>> seconds = torch.tensor([[0.0, 0.04, 0.08], [0.0, 0.02, 0.04]])  # 25 and 50 frames/s
    >>> distance_curve(torch.eye(3).expand(2, 3, 3), seconds)["n"]
    [2, 2]
    """
    times, distances = seconds[:, 1:].abs().double().numpy(), anchor_distances(embeddings).double().numpy()
    common = _common_times(times)
    at = np.stack([_read_off(common, own, far) for own, far in zip(times, distances, strict=True)])
    return {
        "seconds": common.tolist(),
        "mean": np.nanmean(at, axis=0).tolist(),
        "q25": np.nanquantile(at, 0.25, axis=0).tolist(),
        "q75": np.nanquantile(at, 0.75, axis=0).tolist(),
        "n": np.isfinite(at).sum(axis=0).tolist(),
    }


def _common_times(times: np.ndarray) -> np.ndarray:
    """Return the times (P,) of a curve: those of all tuples if they are the same, else evenly up to the reach."""
    typical = np.median(times, axis=0)
    if np.abs(times - typical).max() <= SAME_TIME_S:
        return typical
    reach = float(np.quantile(times[:, -1], 1 - LEAST_REACH, method="lower"))
    return reach * np.arange(1, times.shape[1] + 1) / times.shape[1]


def _read_off(at: np.ndarray, times: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return a tuple's distances (P,) at some times, NaN after its last frame; at time 0 the distance is 0."""
    read = np.interp(at, np.concatenate([[0.0], times]), np.concatenate([[0.0], distances]))
    return np.where(at <= times[-1] + SAME_TIME_S, read, np.nan)


def write_distances(run: Path, curves: dict[str, dict[str, list[float]]]) -> None:
    """Write distance curves by name to RUN/distance.json, and plot them in RUN/distance.png."""
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
    axes.set_title("Held-out subjects: mean and interquartile range of the tuples", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    write_json(run / "distance.json", dict(curves))
    with replacing(run / "distance.png") as temporary:
        figure.savefig(temporary, format="png", dpi=120)
