"""Is a run any good: a few measures of the trained encoder beside those of its start, each with a verdict.

Ranking, spread and effective rank are of the fixed tuples that every epoch validates on. A linear probe then reads AUs,
or blendshapes where there are no labels, off the embedding: it learns from the people trained on and is scored on those
held out, whom neither encoder nor probe has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tclr.pipeline.au import LabelledFrames, embed_crops, transfer_score
from tclr.pipeline.encoder import LoadedEncoder
from tclr.pipeline.pretraining.judging.validation import COLLAPSE_STD
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import read_json, write_json
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.config import FitAuConfig

QUALITY_FILE = "quality.json"
LEARNT_FRAMES, JUDGED_FRAMES = 600, 300
"""Most frames that a probe learns from and is scored on, spread evenly over the clips: seconds on a CPU."""
LEAST_GAIN = 0.02
"""Smallest difference that counts as better or worse than the start: of 300 frames, less is noise."""
CHANCE = 0.5
FEW_DIMENSIONS = 3.0
"""Effective rank below which embeddings lie nearly on a line or a plane."""
BETTER, SAME, WORSE = "better than its start", "no better than its start", "worse than its start"


@dataclass(frozen=True)
class Measure:
    """One line of the table: the trained encoder, its start, what is good, and what this run is."""

    name: str
    trained: float
    start: float
    good: str
    verdict: str


def measure_quality(trained: Mapping[str, Any], start: Mapping[str, Any], dim: int) -> list[Measure]:
    """Return the measures of the validation's tuples; the mappings are from ``held_out_metrics``.

    Without held-out subjects, whose ``val_accuracy`` is None, ranking is left out.

    >>> seen = {"val_accuracy": 0.8, "embedding_std": 0.01, "effective_rank": 12.0}
    >>> [measure.verdict for measure in measure_quality(seen, {**seen, "val_accuracy": 0.6}, dim=64)]
    ['better than its start', 'collapsed', 'fine']
    """
    measures = []
    if trained["val_accuracy"] is not None:
        accuracy = trained["val_accuracy"]
        verdict = _compare(accuracy, start["val_accuracy"])
        verdict = "chance" if abs(accuracy - CHANCE) < LEAST_GAIN else verdict
        measures.append(
            _measure("ranking accuracy", "val_accuracy", trained, start, "above 0.5 and the start", verdict)
        )
    collapsed = trained["embedding_std"] < COLLAPSE_STD
    verdict = "collapsed" if collapsed else "fine"
    measures.append(_measure("spread", "embedding_std", trained, start, f"{COLLAPSE_STD} to 1", verdict))
    flat = trained["effective_rank"] < FEW_DIMENSIONS
    verdict = "few dimensions" if flat else "fine"
    good = f"{FEW_DIMENSIONS:g} to {dim}"
    return [*measures, _measure("effective rank", "effective_rank", trained, start, good, verdict)]


def _measure(
    name: str, key: str, trained: Mapping[str, Any], start: Mapping[str, Any], good: str, verdict: str
) -> Measure:
    return Measure(name, trained[key], start[key], good, verdict)


def _compare(trained: float, start: float) -> str:
    """Return the verdict on a figure that should rise above the start's."""
    if abs(trained - start) < LEAST_GAIN:
        return SAME
    return BETTER if trained > start else WORSE


@dataclass(frozen=True)
class Probed:
    """Frames of a store for a probe, their embeddings as inputs or none yet; blendshapes (N, B) float32, B may be 0."""

    frames: LabelledFrames
    blendshapes: np.ndarray


def probe(
    store: Path, learn_from: list[str], judge_on: list[str], trained: LoadedEncoder, start: LoadedEncoder
) -> Measure | None:
    """Return how well a linear probe reads AUs or blendshapes off the embeddings of people held out.

    AUs are scored by the mean ROC AUC, blendshapes by the share of variance explained. None without held-out people,
    or where a store has neither labels that can be learnt on both sides nor blendshapes.
    """
    if not judge_on:
        return None
    learnt, judged = _sample(store, learn_from, LEARNT_FRAMES), _sample(store, judge_on, JUDGED_FRAMES)
    ours, before = (_score(_described(learnt, one), _described(judged, one)) for one in (trained, start))
    if ours is None or before is None:
        return None
    (name, of_trained), (_, of_start) = ours, before
    return Measure(name, of_trained, of_start, "above the start", _compare(of_trained, of_start))


def _sample(store: Path, subjects: list[str], most: int) -> Probed:
    """Return at most so many frames with a face and, where the store has labels, a label, spread evenly."""
    with Store(store, subjects) as opened:
        infos = opened.clips
        names = sorted({name for info in infos for name in opened.names(info, "au")})
        labels = [opened.read_columns(info, "au", names) for info in infos]
        used = [
            opened.face_mask(info) & ((of_clip != UNKNOWN).any(axis=1) | (not names))
            for info, of_clip in zip(infos, labels, strict=True)
        ]
        places = [(clip, row) for clip, mask in enumerate(used) for row in np.flatnonzero(mask).tolist()]
        chosen = np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)
        clips, rows = np.array(places, np.int64).reshape(-1, 2)[chosen].T
        known = [opened.read(info, "blendshapes") if opened.has_blendshapes() else _nothing(info) for info in infos]
        times = [opened.read(info, "timestamp") for info in infos]
    label = np.array([labels[clip][row] for clip, row in zip(clips, rows, strict=True)], np.int8)
    frames = LabelledFrames(
        store=store,
        names=names,
        inputs=np.zeros((len(rows), 0), np.float32),
        labels=label.reshape(len(rows), len(names)),
        intensities=np.full((len(rows), len(names)), np.nan, np.float32),
        subjects=np.array([infos[clip].subject for clip in clips], str),
        clips=np.array([infos[clip].clip for clip in clips], str),
        rows=rows,
        timestamps=np.array([times[clip][row] for clip, row in zip(clips, rows, strict=True)]),
    )
    return Probed(frames, np.array([known[clip][row] for clip, row in zip(clips, rows, strict=True)], np.float32))


def _nothing(info: ClipInfo) -> np.ndarray:
    return np.zeros((info.n_frames, 0), np.float32)


def _described(sample: Probed, encoder: LoadedEncoder) -> Probed:
    """Return the sample with the encoder's embeddings as inputs."""
    return replace(sample, frames=replace(sample.frames, inputs=embed_crops(encoder, sample.frames)))


def _score(learnt: Probed, judged: Probed) -> tuple[str, float] | None:
    """Return what is scored and the score: ROC AUC of AUs, else the variance of blendshapes explained, else None."""
    scores = transfer_score(learnt.frames, judged.frames, FitAuConfig())
    known = [score.roc_auc for score in scores if score.roc_auc is not None]
    if known:
        return "AU probe, ROC AUC", float(np.mean(known))
    if not (learnt.blendshapes.size and judged.blendshapes.size):
        return None
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=FitAuConfig().l2 * len(learnt.frames)))
    predicted = ridge.fit(learnt.frames.inputs, learnt.blendshapes).predict(judged.frames.inputs)
    return "blendshape probe, R²", float(r2_score(judged.blendshapes, predicted, multioutput="variance_weighted"))


def write_quality(run: Path, measures: list[Measure]) -> None:
    """Write the measures to RUN/quality.json."""
    write_json(run / QUALITY_FILE, {"measures": [asdict(measure) for measure in measures]})


def read_quality(run: Path) -> list[Measure]:
    """Return the measures that RUN/quality.json has, none without that file, which older runs lack."""
    path = run / QUALITY_FILE
    return [Measure(**line) for line in read_json(path)["measures"]] if path.is_file() else []
