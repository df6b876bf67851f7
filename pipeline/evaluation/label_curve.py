"""Label efficiency: how well a method does with labels of few people, and the plot of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tclr.pipeline.store import deal
from tclr.pipeline.system import replacing


@dataclass(frozen=True)
class CurvePoint:
    """One draw: ``share`` in percent of training subjects, their number in each fold, means over AUs."""

    share: float
    seed: int
    n_subjects: tuple[int, ...]
    f1: float
    roc_auc: float


def draw_subsets(units: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, int]:
    """Draw a share, in percent and rounded up, of the training subjects; a larger share contains every smaller one.

    ``units`` (N,) str has the subject of each training frame. Returned are the frames of the drawn subjects, (N,) bool,
    and the number of these subjects.
    """
    n_units = math.ceil(round(len(np.unique(units)) * share / 100, 9))
    return np.isin(units, deal(units.tolist(), [n_units], seed)[0]), n_units


def summarise_points(points: Sequence[CurvePoint]) -> list[tuple[float, float, float, float]]:
    """Return (mean subjects, mean F1, lowest, highest) over the draws of each share, by share."""
    rows = []
    for share in sorted({point.share for point in points}):
        own = [point for point in points if point.share == share]
        f1 = [point.f1 for point in own]
        rows.append((float(np.mean([point.n_subjects for point in own])), float(np.mean(f1)), min(f1), max(f1)))
    return rows


def plot_curves(path: Path, curves: Mapping[str, Sequence[CurvePoint]], level: Mapping[str, float], title: str) -> None:
    """Draw mean F1 over the number of training subjects.

    Parameters
    ----------
    path : Path
        The PNG to write.
    curves : mapping
        Points by the label of their method; the band reaches from the lowest to the highest draw.
    level : mapping
        F1 of methods that learn nothing, drawn as horizontal lines.
    title : str
        Above the plot.

    Examples
    --------
    >>> points = [CurvePoint(50, 0, (1, 1), 0.4, 0.6), CurvePoint(100, 0, (2, 2), 0.5, 0.7)]
    >>> plot_curves(Path("curve.png"), {"encoder": points}, {"all positive": 0.3}, "Labels of few people")
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ticks: set[float] = set()
    for label, points in curves.items():
        subjects, mean, low, high = map(np.array, zip(*summarise_points(points), strict=True))
        (line,) = axes.plot(subjects, 100 * mean, marker="o", label=label)
        axes.fill_between(subjects, 100 * low, 100 * high, color=line.get_color(), alpha=0.15, linewidth=0)
        ticks |= set(subjects.tolist())
    for (label, f1), style in zip(level.items(), ("--", ":", "-."), strict=False):
        axes.axhline(100 * f1, color="grey", linestyle=style, label=label)
    axes.set_xscale("log")
    axes.set_xticks(sorted(ticks), [f"{tick:.3g}" for tick in sorted(ticks)])
    axes.minorticks_off()
    axes.set_xlabel("training subjects per fold")
    axes.set_ylabel("mean F1 over AUs (%)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
