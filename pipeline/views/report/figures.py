"""The report's figures: Plotly drawings, each with a description in words and a table of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from tclr.pipeline.system import natural_key, read_json
from tclr.pipeline.views.report.samples import share_ok
from tclr.pipeline.views.report.statistics import AuTimeline, CoOccurrence, EmbeddingMap
from tclr.schemas.action_units import au_title
from tclr.schemas.errors import StoreError
from tclr.schemas.store import Status

MAX_BARS = 40
"""Most subjects or clips of a bar chart: more do not fit on a page."""
MAX_TABLE_ROWS = 200
BLUE, GREY = "#2a8fb0", "#8a8f94"
STATUS_COLOURS = {"ok": BLUE, "interpolated": "#7cc0a8", "low_confidence": "#e0a030", "no_face": "#c0504d"}
STATUS_COLOURS["unreadable"] = "#7b5ea7"
SHADES = [[0, "rgba(42,143,176,0.06)"], [1, "rgb(42,143,176)"]]
"""From the page's background to blue: legible on light and dark."""
LISTED = {"autorange": "reversed", "type": "category", "showgrid": False, "zeroline": False}
"""An axis of names, the first one on top."""
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}


@dataclass(frozen=True)
class Figure:
    """One drawing of the page."""

    title: str
    description: str
    """The content in words."""
    spec: str
    """Plotly's JSON: ``data`` and ``layout``. The page sets the theme's colours."""
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    """Its numbers, as text."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Data that the page's script needs in addition to ``spec``."""


def _figure(
    title: str,
    description: str,
    traces: list[Any],
    header: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    *,
    height_px: int = 320,
    layout: dict[str, Any] | None = None,
    extra: dict[str, Any] | None = None,
) -> Figure:
    drawn = go.Figure(traces)
    margin = {"l": 10, "r": 10, "t": 10, "b": 10}
    drawn.update_layout(template="none", height=height_px, margin=margin, **(layout or {}))
    drawn.update_xaxes(automargin=True)
    drawn.update_yaxes(automargin=True)
    return Figure(title, description, drawn.to_json(), tuple(header), list(rows[:MAX_TABLE_ROWS]), extra or {})


def _percent(share: float | None) -> str:
    return "-" if share is None or np.isnan(share) else f"{100 * share:.1f}%"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def detection_figure(rows: list[dict[str, Any]], what: str) -> Figure:
    """Return stacked bars of the frames of each ``what`` (subject or clip) by status, lowest shares of ok first.

    Rows have ``n_frames``, ``n_<status>``, ``subject`` and, for clips, ``clip``.
    """

    def name_of(row: dict[str, Any]) -> str:
        return row["subject"] if what == "subject" else f"{row['subject']}/{row['clip']}"

    rows = sorted(rows, key=lambda row: (share_ok(row), natural_key(name_of(row))))
    names = list(map(name_of, rows))
    shares = {status.name: [row[f"n_{status.name}"] / max(row["n_frames"], 1) for row in rows] for status in Status}
    bars = [
        go.Bar(
            y=names[:MAX_BARS],
            x=[round(100 * share, 2) for share in values[:MAX_BARS]],
            name=name.replace("_", " "),
            orientation="h",
            marker_color=STATUS_COLOURS[name],
            hovertemplate="%{y}: %{x:.1f}%",
        )
        for name, values in shares.items()
        if name == "ok" or any(values)
    ]
    layout = {
        "barmode": "stack",
        "xaxis": {"title": {"text": "% of frames"}, "range": [0, 100]},
        "yaxis": LISTED,
        "legend": {**LEGEND, "traceorder": "normal"},
    }
    table = [
        (name, f"{row['n_frames']:,}", *(_percent(values[i]) for values in shares.values()))
        for i, (name, row) in enumerate(zip(names, rows, strict=True))
    ]
    header = (what, "frames", *(name.replace("_", " ") for name in shares))
    height_px, description = 110 + 20 * min(len(rows), MAX_BARS), _describe_detection(names, shares["ok"], what)
    return _figure(f"Frames by {what}", description, bars, header, table, height_px=height_px, layout=layout)


def _describe_detection(names: list[str], shares_ok: list[float], what: str) -> str:
    part = f"All {len(names)} {what}s" if len(names) <= MAX_BARS else f"The {MAX_BARS} lowest of {len(names)} {what}s"
    if names and shares_ok[0] == 1:
        return f"{part}; every frame is ok."
    lowest = f"; {names[0]} has the lowest share of ok frames, {_percent(shares_ok[0])}" if names else ""
    return f"{part}{lowest}."


def _axes(x: str, y: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}, "legend": LEGEND}


def training_figures(log: list[dict[str, Any]]) -> list[Figure]:
    """Return figures of loss, ranking accuracy and spread of embeddings over epochs, from the lines of a run's log."""
    epochs = [line["epoch"] for line in log]
    colours = {"train_loss": GREY, "val_loss": BLUE, "val_accuracy": BLUE, "embedding_std": BLUE}

    def draw(title: str, y: str, curves: dict[str, str], chance: float | None = None) -> Figure:
        traces = [
            go.Scatter(x=epochs, y=[line.get(key) for line in log], name=name, mode="lines+markers",
                       line={"color": colours[key]})
            for key, name in curves.items()
        ]  # fmt: skip
        if chance is not None:
            line = {"dash": "dot", "color": GREY}
            traces.append(go.Scatter(x=epochs, y=[chance] * len(epochs), name="chance", mode="lines", line=line))
        last = ", ".join(f"{name} {_number(log[-1].get(key))}" for key, name in curves.items()) if log else "none"
        rows = [(str(line["epoch"]), *(_number(line.get(key)) for key in curves)) for line in log]
        header = ("epoch", *curves.values())
        return _figure(title, f"After {len(log)} epochs: {last}.", traces, header, rows, layout=_axes("epoch", y))

    return [
        draw("Loss", "loss", {"train_loss": "training", "val_loss": "held-out subjects"}),
        draw(
            "Ranking accuracy of adjacent frames", "share of pairs in order", {"val_accuracy": "held-out subjects"}, 0.5
        ),
        draw("Spread of embeddings (1: random directions)", "spread", {"embedding_std": "embeddings"}),
    ]


def _check_curve(curve: Any, where: str) -> None:
    """Raise ``StoreError`` unless a curve is one of ``write_distances``: lists of numbers of one length."""
    lists = [curve.get(key) if isinstance(curve, dict) else None for key in ("seconds", "mean", "q25", "q75")]
    lengths = {len(values) if isinstance(values, list) else -1 for values in lists}
    good = len(lengths) == 1 and -1 not in lengths
    if not good or not all(isinstance(value, int | float) for values in lists if values for value in values):
        raise StoreError(
            f"Expected equally long lists of numbers (seconds, mean, q25, q75), but got something else for {where}. "
            "Remove the file, or omit --run."
        )


def distance_figures(run: Path) -> list[Figure]:
    """Return figures of the distance of embeddings over time from ``RUN/distance.json``, none without that file."""
    path = run / "distance.json"
    if not path.is_file():
        return []
    traces, rows = [], []
    for name, curve in read_json(path).items():
        _check_curve(curve, f"{name!r} in {path}")
        colour, light = (BLUE, "rgba(42,143,176,0.2)") if name == "trained" else (GREY, "rgba(138,143,148,0.2)")
        band = {"x": curve["seconds"], "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        traces.append(go.Scatter(y=curve["q25"], **band))
        traces.append(go.Scatter(y=curve["q75"], fill="tonexty", fillcolor=light, **band))
        traces.append(go.Scatter(x=curve["seconds"], y=curve["mean"], name=name, line={"color": colour}))
        numbers = zip(*(curve[key] for key in ("seconds", "mean", "q25", "q75")), strict=True)
        rows += [(name, *(_number(value) for value in values)) for values in numbers]
    title = "Distance to the anchor"
    description = (
        "Held-out subjects: squared distance of embeddings by the time between two frames; mean and middle half of "
        "the pairs. If a curve rises, the encoder distinguishes frames by their distance in time."
    )
    header = ("encoder", "seconds", "mean", "lower quartile", "upper quartile")
    layout = _axes("time from the anchor in s", "squared distance")
    return [_figure(title, description, traces, header, rows, layout=layout)]


def _heatmap(z: np.ndarray, x: Any, y: list[str], hover: str) -> go.Heatmap:
    look = {"zmin": 0, "zmax": 1, "colorscale": SHADES, "colorbar": {"thickness": 10}}
    rows = [_rounded(row) for row in z]
    return go.Heatmap(z=rows, x=x, y=y, hovertemplate=f"{hover}<extra></extra>", **look)


def _rounded(values: np.ndarray) -> list[float | None]:
    """Return (N,) numbers for JSON, with two decimals; ``None`` for NaN."""
    return [None if np.isnan(value) else round(value, 2) for value in values.tolist()]


def au_timeline_figure(timeline: AuTimeline, clip: str) -> Figure:
    """Return a heat map of a clip's AU probabilities over time; intensities and labels are in the rows below each."""
    names = list(timeline.rows)
    about = [_row_title(name, timeline.thresholds) for name in names]
    seconds, shares = np.round(timeline.seconds, 3).tolist(), np.array(list(timeline.rows.values()))
    heat = _heatmap(shares, seconds, names, "%{customdata[1]}<br>frame %{customdata[0]}, %{x:.2f} s: %{z}")
    heat.meta = {"frames": timeline.frames.tolist(), "about": about}  # the page makes customdata of them
    first, last = timeline.frames[0], timeline.frames[-1]
    frames = f" (frames {first} to {last})" if first != last else f" (frame {first})"
    layout = {
        "xaxis": {"title": {"text": f"time in s{frames}"}, "showgrid": False, "zeroline": False},
        "yaxis": {**LISTED, "tickmode": "array", "tickvals": names, "ticktext": about},
    }
    most = max(timeline.table, key=lambda row: row[1] or 0)
    description = (
        f"{clip}: predicted probability over time, with the value from which an AU counts as present; intensities and "
        "labels are below it if there are any."
    )
    if most[1]:
        description += f" Most often predicted: {au_title(most[0])}, in {_percent(most[1])} of the frames."
    rows = [
        (au_title(name), _threshold(timeline.thresholds.get(name)), _percent(p), _percent(label), _number(f1))
        for name, p, label, f1 in timeline.table
    ]
    header = ("AU", "present from", "predicted present", "labelled present", "F1 in this clip")
    height = 80 + 17 * len(names)
    return _figure("Action Units", description, [heat], header, rows, height_px=height, layout=layout)


def _threshold(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _row_title(row: str, thresholds: dict[str, float]) -> str:
    """Return the text beside a row of a timeline: ``AU12 Lip Corner Puller, from 0.42``, or ``intensity / 5``."""
    name, _, kind = row.partition(" ")
    if kind:
        return f"{name} {kind}"
    return au_title(name) + (f", from {_threshold(thresholds[name])}" if name in thresholds else "")


def co_occurrence_figure(counted: CoOccurrence, what: str) -> Figure | None:
    """Return a heat map of P(column | row) of AUs, ``None`` if no AU is ever present.

    ``what`` was counted: ``Predictions`` or ``Labels``.
    """
    shares, names = counted.shares(), list(counted.au_names)
    if not np.isfinite(shares).any():
        return None
    heat = _heatmap(shares, names, names, "%{x} given %{y}: %{z}")
    others = np.where(np.eye(len(names), dtype=bool), -1, np.nan_to_num(shares, nan=-1))
    row, column = np.unravel_index(int(others.argmax()), others.shape)
    description = "Share of the frames with the row's AU in which the column's AU is also present."
    if others[row, column] >= 0:
        strongest = f"{_percent(others[row, column])} of the frames with {au_title(names[row])}"
        description += f" Highest: {au_title(names[column])} in {strongest}."
    layout = {"xaxis": {"type": "category", "side": "top", "showgrid": False, "zeroline": False}, "yaxis": LISTED}
    rows = [(au_title(name), *(_percent(v) for v in values)) for name, values in zip(names, shares, strict=True)]
    height = 80 + 26 * len(names)
    title = f"{what}: AU co-occurrence"
    return _figure(title, description, [heat], ("given", *names), rows, height_px=height, layout=layout)


def map_figure(mapped: EmbeddingMap) -> Figure:
    """Return the map of embeddings, which the page colours by subject or by a column of ``extra["columns"]``."""
    subjects, codes = np.unique(mapped.subjects, return_inverse=True)
    dots = go.Scatter(
        x=mapped.points[:, 0].round(4).tolist(),
        y=mapped.points[:, 1].round(4).tolist(),
        text=mapped.names,
        mode="markers",
        marker={"size": 5},
        hovertemplate="%{text}<extra></extra>",
    )
    axes = [f"principal component {i + 1} ({_percent(share)})" for i, share in enumerate(mapped.explained)]
    description = (
        f"{len(mapped.points):,} frames, the first two principal components of their embeddings. "
        f"{_percent(mapped.between['subject'])} of the variance of whole embeddings lies between subjects: it depends "
        "on who the person is, not on what the face does."
    )
    rows = [(_between_name(name), _percent(share)) for name, share in mapped.between.items()]
    columns = {name: _rounded(values) for name, values in mapped.columns.items()}
    extra = {"subjects": subjects.tolist(), "codes": codes.tolist(), "columns": columns}
    header = ("groups", "share of variance between them")
    layout = _axes(*axes)
    return _figure("Map", description, [dots], header, rows, height_px=460, layout=layout, extra=extra)


def _between_name(name: str) -> str:
    if name == "subject":
        return "subjects"
    return f"{au_title(name.partition('_')[0])}, {'label' if name.endswith('_true') else 'prediction'}"
