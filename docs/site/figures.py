"""Draws the figures of docs/method.md: ``python docs/site/figures.py demo-out run docs/images``.

``demo-out`` is what ``tclr demo`` wrote, ``run`` a folder of ``tclr pretrain``. The figures are committed: they need
minutes of work beforehand, and show data, not the code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.features import load
from tclr.pipeline.pretraining import aggregate_ranking_loss, anchor_distances
from tclr.pipeline.sources import find_clips
from tclr.pipeline.store import Store
from tclr.pipeline.video import probe, read_frames

TEAL, RED, GREY = "#1f7a8c", "#c8553d", "#8a8f94"
MARGIN = 0.03


def save(figure: plt.Figure, out: Path, name: str) -> None:
    """Write a figure as a small WebP on white, which is readable on dark pages, too."""
    figure.savefig(out / f"{name}.webp", dpi=130, facecolor="white", pil_kwargs={"quality": 80})
    plt.close(figure)


def plain(axes: Axes) -> None:
    """Remove the upper and the right spine."""
    axes.spines[["top", "right"]].set_visible(False)


def draw_tuple(store: Store, run: Path, out: Path) -> None:
    """Draw an anchor, its sibling and the frames that follow on a time line, and their distances to the anchor."""
    info = store.clips[0]
    rows = 8 + np.array([0, 1, 6, 11, 16, 21])
    seconds = store.read(info, "timestamp")[rows]
    seconds -= seconds[0]
    crops = store.read_crops_at(info, rows)
    distances = anchor_distances(torch.from_numpy(load_encoder(run).embed(crops))[None])[0].numpy()
    figure, (faces, curve) = plt.subplots(2, 1, figsize=(7.4, 4.2), height_ratios=[1.25, 1], layout="constrained")
    faces.set(xlim=(-0.08, 0.92), ylim=(-0.02, 1), yticks=[])
    faces.spines[["left", "top", "right"]].set_visible(False)
    places = np.linspace(0, 0.84, len(rows))
    names = ["anchor", "sibling", *(str(i) for i in range(1, len(rows) - 1))]
    for place, second, crop, name in zip(places, seconds, crops, names, strict=True):
        faces.imshow(crop, extent=(place - 0.068, place + 0.068, 0.32, 0.9), aspect="auto", zorder=2)
        faces.plot([place, second], [0.32, 0], color=GREY, linewidth=0.8, zorder=1, clip_on=False)
        faces.text(place, 0.93, name, ha="center", color=RED if name == "anchor" else TEAL)
    faces.set_xticks(seconds, [f"{second:.2f}" for second in seconds], fontsize=8)
    faces.tick_params(axis="x", labelrotation=45)
    curve.plot(seconds[1:], distances, "o-", color=TEAL)
    curve.plot(0, 0, "o", color=RED)
    curve.set(xlim=(-0.08, 0.92), xlabel="seconds from the anchor", ylabel="squared distance\nto the anchor")
    plain(curve)
    save(figure, out, "tuple")


def draw_loss(out: Path) -> None:
    """Draw distances of a tuple, and what each pair of neighbours adds to the loss."""
    distances = np.array([0.02, 0.07, 0.055, 0.12, 0.135])
    angles = 2 * np.arcsin(np.sqrt(distances) / 2)  # unit vectors at just these distances from the first one
    embeddings = np.column_stack([np.cos(angles), np.sin(angles)])
    loss = float(aggregate_ranking_loss(torch.tensor(np.vstack([[1.0, 0.0], embeddings]))[None], MARGIN))
    terms = np.maximum(0, distances[:-1] - distances[1:] + MARGIN)
    if not np.isclose(terms.sum(), loss):
        raise RuntimeError(f"The figure says {terms.sum()}, the loss {loss}.")
    figure, axes = plt.subplots(figsize=(7.4, 3.2), layout="constrained")
    names = ["sibling", "1", "2", "3", "4"]
    axes.plot(range(5), distances, "o-", color=TEAL, zorder=3)
    for i, term in enumerate(terms):
        middle, colour = i + 0.5, RED if term > 0 else GREY
        axes.plot([i, i + 1], [distances[i] + MARGIN] * 2, color=GREY, linestyle=":", linewidth=1)
        axes.text(middle, 0.178, f"{term:.3f}", ha="center", color=colour, weight="bold" if term > 0 else "normal")
        if term > 0:
            axes.plot([i + 1] * 2, [distances[i + 1], distances[i] + MARGIN], color=RED, linewidth=3, alpha=0.7)
    axes.text(-0.42, 0.178, "adds", color=GREY)
    axes.text(4.55, 0.178, f"sum {loss:.3f}", ha="right", weight="bold")
    axes.set(xticks=range(5), xlim=(-0.45, 4.6), ylim=(0, 0.195), ylabel="squared distance\nto the anchor")
    axes.set_xticklabels(names)
    axes.set_xlabel("frame of the tuple, farther and farther from the anchor")
    plain(axes)
    save(figure, out, "loss")


def draw_distance(run: Path, out: Path) -> None:
    """Draw how distance grows with time, before training and after, on people who were held out."""
    figure, axes = plt.subplots(figsize=(7.4, 3.4), layout="constrained")
    curves = json.loads((run / "distance.json").read_text())
    for name, colour in (("trained", TEAL), ("before training", GREY)):
        curve = curves[name]
        axes.fill_between(curve["seconds"], curve["q25"], curve["q75"], color=colour, alpha=0.18, linewidth=0)
        axes.plot(curve["seconds"], curve["mean"], "o-", color=colour, label=name)
    axes.set(xlabel="seconds from the anchor", ylabel="squared distance\nto the anchor", xlim=(0, None), ylim=(0, None))
    axes.legend(frameon=False, loc="upper left")
    plain(axes)
    save(figure, out, "distance")


def draw_path(demo: Path, store: Store, out: Path) -> None:
    """Draw the path of one frame: picture, landmarks, crop, curves of features."""
    info, row = store.clips[0], 15
    clips = find_clips(demo / "clips", "bp4d")
    clip = next(clip for clip in clips if (clip.subject, clip.clip) == (info.subject, info.clip))
    picture = next(frame.image for i, frame in enumerate(read_frames(probe(clip, 25.0))) if i == row)
    landmarks = store.read(info, "landmarks", row, row + 1)[0]
    figure, axes = plt.subplots(1, 4, figsize=(9.6, 2.7), width_ratios=[1, 1, 1, 1.5], layout="constrained")
    titles = ["a frame", "478 landmarks", "the aligned crop", "features: one row per frame"]
    for place, title in zip(axes, titles, strict=True):
        place.set_title(title, fontsize=10)
    for place in axes[:2]:
        place.imshow(picture)
    axes[1].plot(*landmarks[:, :2].T, ".", markersize=1.2, color="#35e0ff")
    axes[2].imshow(store.read_crops(info, row, row + 1)[0])
    for place in axes[:3]:
        place.axis("off")
    table = load(demo / "features", subjects=[info.subject]).query("clip == @info.clip")
    for i, (name, colour) in enumerate((("AU12", TEAL), ("yaw", RED), ("pitch", GREY))):
        values = table[name].astype(float).to_numpy()
        spread = np.nanmax(values) - np.nanmin(values) or 1
        axes[3].plot(table.timestamp, 2 - i + 0.75 * (values - np.nanmin(values)) / spread, color=colour)
        axes[3].text(-0.12, 2 - i + 0.3, name, ha="right", fontsize=8, color=colour)
    axes[3].axvline(table.timestamp.iloc[row], color="black", linewidth=0.8, linestyle=":")
    axes[3].set(yticks=[], xlabel="seconds")
    axes[3].spines[["left", "top", "right"]].set_visible(False)
    save(figure, out, "path")


def main(demo: Path, run: Path, out: Path) -> None:
    """Draw all figures."""
    out.mkdir(parents=True, exist_ok=True)
    with Store(demo / "store") as store:
        draw_path(demo, store, out)
        draw_tuple(store, run, out)
    draw_loss(out)
    draw_distance(run, out)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
