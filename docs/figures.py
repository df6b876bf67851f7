"""The figures of docs/method.md, drawn as SVG whenever the site is built."""

from __future__ import annotations

import io
from collections.abc import Callable

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tclr.pipeline.losses import aggregate_ranking_loss

INK, BLUE, ORANGE = "#7a8699", "#3f7fd4", "#d9822b"
"""Grey, blue and orange that can be read on white and on black."""
plt.rcParams.update(
    {
        "svg.hashsalt": "tclr",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 11,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


def _to_svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return buffer.getvalue()


def _box(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    axes.text(
        x, y, text, ha="center", va="center", color=colour,
        bbox={"boxstyle": "round,pad=0.5", "fill": False, "edgecolor": colour},
    )  # fmt: skip


def draw_path() -> str:
    """Draw the path of the data, with the command of each step."""
    figure, axes = plt.subplots(figsize=(9, 2.4))
    axes.set(xlim=(-0.6, 6.6), ylim=(-1.3, 0.6))
    axes.axis("off")
    steps = ["video", "frames", "tracks", "crops", "store", "encoder", "features"]
    for x, step in enumerate(steps):
        _box(axes, x, 0, step, BLUE if step in ("store", "features", "encoder") else INK)
        if x:
            axes.annotate("", (x - 0.42, 0), (x - 0.58, 0), arrowprops={"arrowstyle": "->", "color": INK})
    for x, text in ((1.5, "tclr preprocess"), (4.5, "tclr pretrain"), (5.6, "tclr embed")):
        axes.text(x, -0.75 if x != 5.6 else -1.15, text, ha="center", family="monospace", color=ORANGE)
    for start, stop, y in ((0, 4, -0.5), (4, 5, -0.5), (4, 6, -0.9)):
        axes.plot([start, start, stop, stop], [y + 0.12, y, y, y + 0.12], color=ORANGE, linewidth=1)
    return _to_svg(figure)


def draw_tuple() -> str:
    """Draw a tuple on its time line: anchor, sibling, and the frames that follow."""
    figure, axes = plt.subplots(figsize=(9, 2.2))
    axes.set(xlim=(-0.8, 11.8), ylim=(-0.9, 1.4))
    axes.axis("off")
    axes.annotate("", (11.6, 0), (-0.6, 0), arrowprops={"arrowstyle": "->", "color": INK})
    axes.text(11.75, 0.0, "time", va="center")
    names = ["anchor", "sibling", *(f"{i}" for i in range(1, 11))]
    for x, name in enumerate(names):
        colour = ORANGE if x == 0 else BLUE
        axes.add_patch(plt.Rectangle((x - 0.33, 0.12), 0.66, 0.66, fill=False, edgecolor=colour, linewidth=1.5))
        axes.text(x, -0.3, name, ha="center", color=colour)
    axes.annotate("", (1, 0.98), (2, 0.98), arrowprops={"arrowstyle": "<->", "color": INK})
    axes.text(1.5, 1.12, "spacing", ha="center")
    return _to_svg(figure)


def draw_distances() -> str:
    """Draw distances to the anchor that are ranked well and badly, with the loss of each."""
    figure, axes = plt.subplots(figsize=(8, 3.2))
    x = np.arange(1, 12)
    good, bad = 0.06 * x, 0.06 * x + 0.18 * np.sin(2.1 * x)
    bad = np.abs(bad)
    for distance, colour, name in ((good, BLUE, "ranked"), (bad, ORANGE, "not ranked")):
        line = torch.tensor(np.stack([np.concatenate([[0], distance]), np.zeros(12)], axis=1))[None]
        loss = float(aggregate_ranking_loss(line, 0.03))
        axes.plot(x, distance, "o-", color=colour, label=f"{name}: loss {loss:.2f}")
    axes.set(xlabel="frame of the tuple: sibling, then those that follow", ylabel="distance to the anchor")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, labelcolor="linecolor")
    return _to_svg(figure)


FIGURES: dict[str, Callable[[], str]] = {"path": draw_path, "tuple": draw_tuple, "distances": draw_distances}
"""By name, who draws it."""
