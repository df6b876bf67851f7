"""What people look at after a run: one self-contained HTML page, readable without a network.

It shows how many frames have a face, the aligned faces of each clip with the doubtful ones first, the training
curves, AU timelines with labels beside predictions, and the settings that made it all.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from tclr.pipeline import features as features_io
from tclr.pipeline.files import replacing
from tclr.pipeline.inspection import summarise_store
from tclr.pipeline.store import ClipInfo, Store
from tclr.schemas.errors import StoreError
from tclr.schemas.store import Status

FACES_PER_CLIP = 8
"""Crops shown of each clip; chosen by us: one row of a page."""
MAX_CLIPS = 24
"""Clips that get pictures and timelines; chosen by us: the page stays under some 15 MB."""
THUMBNAIL_PX = 112


@dataclass(frozen=True)
class ClipView:
    """What the page shows of one clip."""

    row: dict[str, Any]
    faces: list[tuple[str, str]]
    timeline: str


def choose_rows(status: np.ndarray, score: np.ndarray, count: int) -> np.ndarray:
    """Return the frames that a contact sheet shows: the lowest scores first, then evenly through the clip.

    Parameters
    ----------
    status : ndarray
        (T,) uint8.
    score : ndarray
        (T,) float32.
    count : int
        Most frames to show; a quarter of them are the worst.

    Returns
    -------
    ndarray
        (n,) rising frame rows that have a face.
    """
    rows = np.flatnonzero(np.isfinite(score) & (status != Status.no_face))
    if len(rows) <= count:
        return rows
    worst = rows[np.argsort(score[rows], kind="stable")[: count // 4]]
    even = rows[np.linspace(0, len(rows) - 1, count - len(worst)).round().astype(int)]
    return np.unique(np.concatenate([worst, even]))


def _thumbnail(crop: np.ndarray) -> str:
    small = cv2.resize(crop, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()


def _faces(store: Store, info: ClipInfo) -> list[tuple[str, str]]:
    """Return (caption, picture) of some frames."""
    status, score = store.read(info, "status"), store.read(info, "score")
    numbers = store.read(info, "source_frame")
    return [
        (
            f"frame {numbers[row]}, {Status(int(status[row])).name}, score {score[row]:.2f}",
            _thumbnail(store.read_frames(info, row, row + 1)[0]),
        )
        for row in choose_rows(status, score, FACES_PER_CLIP)
    ]


def _figure(
    traces: list[Any], title: str, x_title: str, y_title: str, height_px: int = 320, *, reverse_y: bool = False
) -> str:
    figure = go.Figure(traces)
    figure.update_layout(
        title=title,
        xaxis_title=x_title,
        yaxis_title=y_title,
        height=height_px,
        margin={"l": 60, "r": 20, "t": 50, "b": 45},
        template="plotly_white",
    )
    if reverse_y:
        figure.update_yaxes(autorange="reversed")
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False})


def detection_figure(rows: list[dict[str, Any]]) -> str:
    """Return a bar chart of the share of frames with a face, by clip."""
    names = [f"{row['subject']}/{row['clip']}" for row in rows]
    bars = go.Bar(x=names, y=[100 * row["share_face"] for row in rows], marker_color="#2a7f9e")
    return _figure([bars], "Frames with a face", "clip", "% of frames")


def training_figures(log: list[dict[str, Any]]) -> list[str]:
    """Return loss, ranking accuracy and spread of embeddings over epochs, from the lines of a run's log."""
    epochs = [line["epoch"] for line in log]

    def curve(key: str, name: str) -> go.Scatter:
        return go.Scatter(x=epochs, y=[line.get(key) for line in log], name=name, mode="lines+markers")

    losses = [curve("train_loss", "training"), curve("val_loss", "held-out subjects")]
    accuracy = [curve("val_accuracy", "held-out subjects")]
    chance = go.Scatter(x=epochs, y=[0.5] * len(epochs), name="chance", line={"dash": "dot", "color": "#888"})
    return [
        _figure(losses, "Aggregate ranking loss", "epoch", "loss"),
        _figure([*accuracy, chance], "Ranking accuracy of adjacent frames", "epoch", "share of pairs in order"),
        _figure(
            [curve("embedding_std", "embeddings")], "Spread of embeddings (1: random directions)", "epoch", "spread"
        ),
    ]


def distance_figures(run: Path) -> list[str]:
    """Return the distance of embeddings over time, from ``RUN/distance.json``; none without held-out subjects."""
    path = run / "distance.json"
    if not path.is_file():
        return []
    traces = []
    for name, curve in json.loads(path.read_text()).items():
        colour, light = ("#2a7f9e", "rgba(42,127,158,0.2)") if name == "trained" else ("#888", "rgba(136,136,136,0.2)")
        band = {"x": curve["seconds"], "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        traces.append(go.Scatter(y=curve["q25"], **band))
        traces.append(go.Scatter(y=curve["q75"], fill="tonexty", fillcolor=light, **band))
        traces.append(go.Scatter(x=curve["seconds"], y=curve["mean"], name=name, line={"color": colour}))
    title = "Held-out subjects: distance to the anchor, mean and middle half of the pairs"
    return [_figure(traces, title, "time from the anchor in s", "squared distance of embeddings")]


def timeline_figure(table: pd.DataFrame, au_names: list[str]) -> str:
    """Return AU probabilities over time as a heat map, with the labels of each AU in the row below it."""
    rows, names = [], []
    for name in au_names:
        rows.append(table[name].to_numpy(float, na_value=np.nan))
        names.append(name)
        if f"{name}_true" in table and table[f"{name}_true"].notna().any():
            rows.append(table[f"{name}_true"].to_numpy(float, na_value=np.nan))
            names.append(f"{name} label")
    heat = go.Heatmap(z=np.array(rows), x=table["timestamp"], y=names, zmin=0, zmax=1, colorscale="Viridis")
    return _figure([heat], "Action Units", "time in s", "", 140 + 17 * len(names), reverse_y=True)


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the lines of ``RUN/log.jsonl``.

    Raises
    ------
    StoreError
        If the folder has none.
    """
    path = run / "log.jsonl"
    if not path.is_file():
        raise StoreError(f"Expected a run of 'tclr pretrain' with log.jsonl, but found none in {run}.")
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _clip_views(
    root: Path, rows: list[dict[str, Any]], features: Path | None, progress: Callable[[int, int], None]
) -> list[ClipView]:
    views = []
    by_name = {(row["subject"], row["clip"]): row for row in rows}
    with Store(root) as store:
        shown = store.clips[:MAX_CLIPS]
        for done, info in enumerate(shown):
            timeline = ""
            if features is not None:
                table = features_io.load(features, subjects=[info.subject])
                table = table[table["clip"].astype(str) == info.clip]
                aus = [name for name in table.columns if name.startswith("AU") and name[2:].isdigit()]
                timeline = timeline_figure(table, aus) if len(table) and aus else ""
            views.append(ClipView(by_name[info.subject, info.clip], _faces(store, info), timeline))
            progress(done + 1, len(shown))
    return views


def write_report(
    root: Path,
    out: Path,
    *,
    features: Path | None = None,
    run: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the page.

    Parameters
    ----------
    root : Path
        The store.
    out : Path
        The HTML file.
    features, run : Path, optional
        Features folder and pretraining run to show, too.
    progress : callable
        Called with clips done and clips in all.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    StoreError
        If the store, features or run cannot be read.
    OutputError
        If the page cannot be written.
    """
    summary = summarise_store(root)
    context = {
        "summary": summary,
        "detection": detection_figure(summary["clips"]),
        "training": [*training_figures(read_log(run)), *distance_figures(run)] if run else [],
        "clips": _clip_views(root, summary["clips"], features, progress),
        "max_clips": MAX_CLIPS,
        "plotly": get_plotlyjs(),
        "provenance": {"features": str(features or "-"), "run": str(run or "-")},
    }
    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    with replacing(out) as temporary:
        temporary.write_text(template.render(context))
    return out


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tclr report: {{ summary.store }}</title>
<script>{{ plotly | safe }}</script>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; color: #1c2730; background: #fff; margin: 0 auto; max-width: 70rem;
         padding: 1rem 1.5rem 4rem; }
  h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-bottom: 2px solid #2a7f9e; } h3 { margin-top: 2rem; }
  table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }
  .faces { display: flex; flex-wrap: wrap; gap: .5rem; } figure { margin: 0; width: 112px; }
  figure img { width: 112px; height: 112px; display: block; background: #000; }
  figcaption { font-size: .7rem; line-height: 1.25; color: #4a5a66; }
  .warning { color: #9a3412; font-weight: 600; }
</style>
</head>
<body>
<h1>tclr report</h1>
<table>
<tr><th scope="row">store</th><td>{{ summary.store }}</td></tr>
<tr><th scope="row">dataset</th><td>{{ summary.dataset | join(", ") }}</td></tr>
<tr><th scope="row">subjects, clips, frames</th>
    <td>{{ summary.n_subjects }}, {{ summary.n_clips }}, {{ "{:,}".format(summary.n_frames) }}</td></tr>
<tr><th scope="row">frames with a face</th><td>{{ "%.1f" | format(100 * summary.share_face) }}%</td></tr>
<tr><th scope="row">crop, size on disk</th>
    <td>{{ summary.crop_size_px }} px, {{ "%.1f" | format(summary.size_bytes / 1e6) }} MB</td></tr>
{% for stage in ("detect", "align") %}
<tr><th scope="row">{{ stage }}</th>
    <td>{% for name, value in summary[stage].items() %}{{ name }}={{ value }}{{ ", " if not loop.last }}
    {% endfor %}</td>
</tr>
{% endfor %}
{% for name, value in provenance.items() %}<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>{% endfor %}
</table>
<h2>Detection</h2>
{{ detection | safe }}
{% if training %}<h2>Pretraining</h2>{% for figure in training %}{{ figure | safe }}{% endfor %}{% endif %}
<h2>Clips</h2>
{% if summary.n_clips > max_clips %}<p>The first {{ max_clips }} of {{ summary.n_clips }} clips.</p>{% endif %}
{% for clip in clips %}
<h3>{{ clip.row.subject }} / {{ clip.row.clip }}</h3>
<p>{{ clip.row.n_frames }} frames, {{ "%.2f" | format(clip.row.duration_s) }} s,
{{ "%.1f" | format(100 * clip.row.share_face) }}% with a face, {{ clip.row.n_low_confidence }} low confidence,
{{ clip.row.n_unreadable }} unreadable.
{% if clip.row.warning %}<span class="warning">{{ clip.row.warning }}</span>{% endif %}</p>
<div class="faces">{% for caption, picture in clip.faces %}
<figure><img src="{{ picture }}" alt="aligned face, {{ caption }}"><figcaption>{{ caption }}</figcaption></figure>
{% endfor %}</div>
{{ clip.timeline | safe }}
{% endfor %}
</body>
</html>
"""
