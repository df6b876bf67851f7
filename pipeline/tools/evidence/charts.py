"""Pictures of figures by AU: a dot per model, and its 95% interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Drawing

from tclr.pipeline.system import replacing
from tclr.pipeline.tools.evidence.resampling import Figure

COLOURS = {"face": "#0072b2", "shape": "#56b4e9", "box": "#e69f00", "blendshapes": "#555555"}
"""Of Okabe and Ito: they differ for colour-blind readers, too."""


def draw_aus(
    path: Path, title: str, label: str, models: Mapping[str, Mapping[str, Figure]], *, chance: float | None = None
) -> None:
    """Draw figures by model and AU as PNG; ``label`` names the axis, ``chance`` is drawn as a line."""
    names = sorted({name for aus in models.values() for name in aus})
    drawing = Drawing(figsize=(1.5 + 0.55 * max(len(names), 6), 4), layout="constrained")
    axes = drawing.add_subplot()
    for place, (model, aus) in enumerate(models.items()):
        shift = 0.16 * (place - (len(models) - 1) / 2)
        known = [(names.index(name), figure) for name, figure in aus.items() if figure[0] is not None]
        if not known:
            continue
        x = np.array([column for column, _ in known]) + shift
        value, low, high = (
            np.array([figure[k] if figure[k] is not None else figure[0] for _, figure in known], float)
            for k in range(3)
        )
        axes.errorbar(
            x, value, [value - low, high - value], fmt="o", ms=4, lw=1.2, color=COLOURS.get(model), label=model
        )
    if chance is not None:
        axes.axhline(chance, color="#999999", lw=0.8, ls="--")
    axes.set_xticks(range(len(names)), [name.replace("AU0", "AU").replace("AU", "") for name in names])
    axes.set(title=title, xlabel="Action Unit", ylabel=label)
    axes.grid(axis="y", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, ncols=len(models), loc="lower center", bbox_to_anchor=(0.5, 1.08))
    with replacing(path) as temporary:
        drawing.savefig(temporary, format="png", dpi=120)
