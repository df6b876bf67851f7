"""Computes the numbers of the report's figures: shares by subject, AU co-occurrence, embedding map, timelines.

Clips are read one by one; of a large folder, an evenly spaced part of the clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.metrics import f1_score

from tclr.pipeline.features import (
    MEASURES,
    FeatureClips,
    collapse_warnings,
    count_pairs,
    embeddings_of,
    measure_pairs,
    values_of,
)
from tclr.pipeline.views.report.samples import spread_evenly
from tclr.schemas.action_units import MAX_INTENSITY
from tclr.schemas.store import Status

MAX_FEATURE_CLIPS = 400
"""Most clips that are read for co-occurrence and map; it bounds the time and is not tuned."""
MAX_MAP_POINTS = 3000
TIMELINE_BINS = 400
"""Most columns of a timeline: enough for the width of a page, few enough for 24 timelines in one file."""


def subject_rows(clips: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sum the clips of ``summarise_store`` by subject: ``subject``, ``n_clips``, ``n_frames`` and ``n_<status>``."""
    counts = ["n_frames", *(f"n_{status.name}" for status in Status)]
    table = pd.DataFrame(clips, columns=["subject", *counts]).assign(n_clips=1)
    return table.groupby("subject").sum().reset_index().to_dict("records")


@dataclass
class CoOccurrence:
    """Counts of pairs of A AUs over any number of clips."""

    au_names: Sequence[str]
    counts: np.ndarray = field(init=False)
    """(4, A, A), see ``count_pairs``."""

    def __post_init__(self) -> None:
        self.counts = np.zeros((4, len(self.au_names), len(self.au_names)))

    def add(self, flags: np.ndarray) -> None:
        """Count (T, A) float: 1 present, 0 absent, NaN unknown."""
        self.counts += count_pairs(flags)

    def shares(self) -> np.ndarray:
        """Return (A, A) P(column's AU | row's AU) 0..1; NaN where the row's AU is never present."""
        return measure_pairs(*self.counts)[MEASURES.index("conditional")]


def variance_between(points: np.ndarray, groups: np.ndarray) -> float:
    """Return eta squared: the share 0..1 of the variance of points (N, D) that lies between groups (N,)."""
    centred = points - points.mean(axis=0)
    total = float(np.square(centred).sum())
    between = 0.0
    for group in np.unique(groups):
        mine = centred[groups == group]
        between += len(mine) * float(np.square(mine.mean(axis=0)).sum())
    return between / total if total else 0.0


@dataclass(frozen=True)
class EmbeddingMap:
    """The first two principal components of the embeddings of N frames."""

    points: np.ndarray
    """(N, 2) float."""
    explained: np.ndarray
    """(2,) shares of the variance along the axes."""
    names: list[str]
    """N names, such as ``F001/T1 frame 12``."""
    subjects: np.ndarray
    """(N,) str."""
    columns: dict[str, np.ndarray]
    """(N,) float per column of AUs: 0..1, NaN unknown."""
    between: dict[str, float]
    """Shares of the whole embedding's variance between subjects, and between presence and absence of each AU."""


def map_embeddings(embeddings: np.ndarray, frames: pd.DataFrame, au_names: Sequence[str]) -> EmbeddingMap | None:
    """Project embeddings (N, D), finite, and split their variance by subject and by AU.

    ``frames`` has N rows with ``subject``, ``clip``, ``frame`` and AU columns. With fewer than three frames or two
    dimensions, the result is ``None``.
    """
    if len(embeddings) < 3 or embeddings.shape[1] < 2:
        return None
    with np.errstate(invalid="ignore"):  # of one single point
        pca = PCA(n_components=2, random_state=0).fit(embeddings)
    subjects = frames["subject"].to_numpy(str)
    between = {"subject": variance_between(embeddings, subjects)}
    columns: dict[str, np.ndarray] = {}
    for name in au_names:
        for column in (name, f"{name}_true"):
            values = values_of(frames, column)
            if np.isfinite(values).any():
                columns[column] = values
        for column in (f"{name}_c", f"{name}_true"):
            values = values_of(frames, column)
            known = np.isfinite(values)
            if known.any():
                between[column] = variance_between(embeddings[known], values[known])
    names = [f"{s}/{c} frame {n}" for s, c, n in zip(subjects, frames["clip"], frames["frame"], strict=True)]
    return EmbeddingMap(pca.transform(embeddings), pca.explained_variance_ratio_, names, subjects, columns, between)


@dataclass(frozen=True)
class FeatureStatistics:
    """The numbers of the report about a features folder as a whole."""

    n_clips: int
    """Number of clips read."""
    predicted: CoOccurrence
    labelled: CoOccurrence
    embedding: EmbeddingMap | None
    warnings: tuple[str, ...]
    """What to tell the user of the embeddings."""


def read_statistics(features: FeatureClips) -> FeatureStatistics:
    """Read a features folder once, at most ``MAX_FEATURE_CLIPS`` evenly spaced clips of it."""
    every = list(features.paths)
    keys = [every[i] for i in spread_evenly(len(every), MAX_FEATURE_CLIPS)]
    names = features.au_names
    with_prediction = [name for name in names if f"{name}_c" in features.columns]
    with_label = [name for name in names if f"{name}_true" in features.columns]
    predicted, labelled = CoOccurrence(with_prediction), CoOccurrence(with_label)
    points_a_clip = -(-MAX_MAP_POINTS // len(keys))
    embeddings, frames = [], []
    wanted = ["clip", "frame", *features.au_columns, *features.embedding_columns]
    for subject, clip in keys:
        table = features.read(subject, clip, wanted)
        predicted.add(_flags(table, [f"{name}_c" for name in with_prediction]))
        labelled.add(_flags(table, [f"{name}_true" for name in with_label]))
        points = embeddings_of(table)
        rows = np.flatnonzero(np.isfinite(points).all(axis=1)) if points.shape[1] else np.zeros(0, int)
        rows = rows[spread_evenly(len(rows), points_a_clip)]
        if len(rows):
            embeddings.append(points[rows])
            frames.append(table.iloc[rows][["clip", "frame", *features.au_columns]].assign(subject=subject))
    points = np.concatenate(embeddings) if embeddings else np.zeros((0, 0))
    mapped = map_embeddings(points, pd.concat(frames), names) if embeddings else None
    return FeatureStatistics(len(keys), predicted, labelled, mapped, tuple(collapse_warnings(points)))


def _flags(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    return np.stack([values_of(table, name) for name in columns], axis=1) if columns else np.zeros((len(table), 0))


def bin_means(values: np.ndarray, n_bins: int) -> np.ndarray:
    """Return (min(T, n_bins),) means of successive, nearly equal parts of (T,) values, ignoring NaN."""
    if len(values) <= n_bins:
        return values
    edges = _edges(len(values), n_bins)
    return pd.Series(values).groupby(np.repeat(np.arange(n_bins), np.diff(edges))).mean().to_numpy()


def _edges(n_values: int, n_bins: int) -> np.ndarray:
    """Return the (m + 1,) edges of m = min(n_values, n_bins) nearly equal parts."""
    return np.linspace(0, n_values, min(n_values, n_bins) + 1).round().astype(int)


@dataclass(frozen=True)
class AuTimeline:
    """The AUs of a clip over time, in n columns."""

    seconds: np.ndarray
    """(n,) mean time of each column."""
    frames: np.ndarray
    """(n,) int64 number of each column's first frame in the source."""
    thresholds: dict[str, float]
    """Probability from which an AU counts as present, where it is known."""
    rows: dict[str, np.ndarray]
    """(n,) 0..1 for each AU's probability, intensity (divided by 5) and label, in this order; NaN unknown."""
    table: list[tuple[str, float | None, float | None, float | None]]
    """AU, share of frames predicted present, share labelled present, and their F1; ``None`` unknown."""


def read_au_timeline(features: FeatureClips, subject: str, clip: str) -> AuTimeline | None:
    """Return the timeline of a clip, ``None`` if the folder lacks it or has no AU of it."""
    if (subject, clip) not in features.paths or not features.au_names:
        return None
    frames = features.read(subject, clip, ["frame", "timestamp", *features.au_columns])
    rows, table = {}, []
    for name in features.au_names:
        for ending, shown, most in (("", "", 1), ("_r", " intensity / 5", MAX_INTENSITY), ("_true", " label", 1)):
            values = values_of(frames, name + ending)
            if np.isfinite(values).any():
                rows[name + shown] = bin_means(values, TIMELINE_BINS) / most
        predicted, labelled = values_of(frames, f"{name}_c"), values_of(frames, f"{name}_true")
        known = np.isfinite(predicted) & np.isfinite(labelled)
        f1 = float(f1_score(labelled[known], predicted[known], zero_division=0)) if known.any() else None
        table.append((name, _mean(predicted), _mean(labelled), f1))
    seconds = bin_means(frames["timestamp"].to_numpy(float), TIMELINE_BINS)
    first = frames["frame"].to_numpy(np.int64)[_edges(len(frames), TIMELINE_BINS)[:-1]]
    if not rows:
        return None
    return AuTimeline(seconds, first, dict(features.metadata().get("au_thresholds", {})), rows, table)


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
