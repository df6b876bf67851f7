"""What each part of a pretraining recipe is worth: train variants, probe them on people they have not seen.

A variant is a set of changed settings. Each is trained on one store with several seeds, and the frozen encoder is
judged on another store with AU labels: mean F1 and ROC-AUC of linear probes on subject-exclusive folds, with the same
folds for all, and the share of adjacent frames that it ranks by their time. A third store, of pictures in classes such
as emotions, may judge, too (``class_probe.py``). Probes on features that need no training are reported beside them.
Every finished run is kept, so an interrupted campaign resumes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tclr.pipeline.au import (
    Describe,
    blendshape_rows,
    collect_frames,
    cross_score,
    embed_rows,
    landmark_rows,
    shape_rows,
)
from tclr.pipeline.encoder import (
    EncoderInfo,
    LoadedEncoder,
    TorchEncoder,
    load_encoder,
    pooled_features,
    untrained_encoder,
)
from tclr.pipeline.evaluation.class_probe import class_accuracy
from tclr.pipeline.geometry import N_LANDMARKS
from tclr.pipeline.pretraining import pretrain, ranked_pairs, start_encoder
from tclr.pipeline.store import Store, hash_data
from tclr.pipeline.system import markdown_table, write_json
from tclr.pipeline.tuples import Spacing, TupleDataset
from tclr.schemas.config import PAPER, FitAuConfig, PretrainConfig
from tclr.schemas.errors import SettingError, suggestion

WATCHED_SPACING = Spacing(0, 0.08, in_seconds=True)
"""Spacing of the tuples that ranking accuracy is measured on, the same for all recipes: two frames at 25 frames/s. A
clip too short for it has the largest that fits."""
VARIANTS: dict[str, dict[str, Any]] = {
    "tclr": {},
    "paper": {"recipe": "paper", "learning_rate": PAPER["learning_rate"]},
    "paper with our optimizer": {
        "recipe": "paper",
        "optimizer": "adamw",
        "learning_rate": 0.002,
        "weight_decay": 0.05,
        "schedule": "cosine",
        "warmup_epochs": 0.3,
        "grad_clip": 1.0,
    },
    "supervised": {"supervision_weight": 1.0, "ranking_weight": 0, "geometry_weight": 0},
    "ranking alone": {"geometry_weight": 0},
    "geometry alone": {"ranking_weight": 0},
    "geometry of 8 directions": {"geometry_components": 8},
    "spacing of a frame": {"spacing_min_s": 0, "spacing_max_s": 0},
    "two following frames": {"n_following": 2},
    "ten following frames": {"n_following": 10},
    "one anchor a clip": {"anchors_per_clip": 1},
    "background in the picture": {"crop_ratio": 0.95},
    "shifted anywhere": {"shift": 1.0},
    "augmented a tuple alike": {"augment": "tuple"},
    "not augmented": {"augment": "none"},
    "light not changed": {"colour_jitter": 0, "light_jitter": 0, "blur": 0},
    "not turned or tilted": {"rotation_deg": 0, "zoom": 0, "tilt": 0},
    "not mirrored": {"flip": 0},
    "forward only": {"direction": "forward"},
    "margin of 0.2": {"margin": 0.2},
    "no warm-up": {"warmup_epochs": 0},
    "constant learning rate": {"schedule": "constant", "warmup_epochs": 0},
    "gradient not clipped": {"grad_clip": 0},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.01, "weight_decay": 0},
}
"""Named changes of the default recipe; each is a row of the table. A learning rate for AdamW would be none for SGD."""
MESH = f"{N_LANDMARKS} landmarks"
"""What a store of mediapipe has beside its fields."""
BASELINES: dict[str, tuple[Describe, set[str]]] = {
    "landmarks": (landmark_rows, {"landmarks"}),
    "shape": (shape_rows, {MESH, "blendshapes"}),
    "blendshapes": (blendshape_rows, {"blendshapes"}),
}
"""Features without an encoder, and what they need of a store, which may lack it."""


@dataclass(frozen=True)
class Judges:
    """Stores to judge on: one with AU labels, and optionally one whose subjects are classes."""

    probe: Path
    classes: Path | None = None

    @property
    def stores(self) -> list[Path]:
        """Those that there are."""
        return [self.probe] if self.classes is None else [self.probe, self.classes]


@dataclass(frozen=True)
class AblationResult:
    """One trained variant, or features that need no training.

    ``f1`` and ``roc_auc`` are means over the AUs of the probe store, ``au_f1`` the F1 of each. ``ranking`` is the share
    of ranked pairs on the probe store, ``None`` without an encoder. ``frames`` were trained on. ``made_from`` is a
    digest of settings and stores. ``accuracy`` is the share of right classes, ``None`` without a store of classes.
    """

    variant: str
    seed: int
    f1: float
    roc_auc: float
    au_f1: dict[str, float]
    ranking: float | None
    frames: int
    made_from: str = ""
    accuracy: float | None = None


@torch.inference_mode()
def ranking_accuracy(store: Path, encoder: LoadedEncoder, config: PretrainConfig) -> float:
    """Return the share of adjacent frames that an encoder ranks by time, on fixed tuples of all subjects of a store.

    Raises
    ------
    InputError
        If no clip is long enough.
    """
    with Store(store) as opened:
        subjects = opened.subjects
    tuples = TupleDataset(store, subjects, config, anchors_per_clip=0, fixed_spacing=WATCHED_SPACING)
    frames = (tuples.read(0, [index]).frames[0].numpy() for index in range(len(tuples)))
    embeddings = torch.from_numpy(np.concatenate(list(encoder.embed_all(frames))))
    return ranked_pairs(embeddings.view(len(tuples), tuples.n_frames, -1)).float().mean().item()


def judge(
    variant: str, seed: int, judges: Judges, describe: Describe, ranking: float | None = None, frames: int = 0
) -> AblationResult:
    """Probe features on the stores of the judges; folds are the same whatever the seed."""
    config = FitAuConfig(folds=3)
    with Store(judges.probe) as store:
        scores = cross_score(collect_frames(store, describe, config.batch_size), config)
    f1 = {score.name: score.f1 for score in scores if score.f1 is not None}
    roc_auc = [score.roc_auc for score in scores if score.name in f1 and score.roc_auc is not None]
    accuracy = None if judges.classes is None else class_accuracy(judges.classes, describe)
    means = float(np.mean([*f1.values()])), float(np.mean(roc_auc))
    return AblationResult(variant, seed, *means, f1, ranking, frames, accuracy=accuracy)


def _judge_encoder(
    variant: str, seed: int, judges: Judges, encoder: LoadedEncoder, config: PretrainConfig, frames: int = 0
) -> AblationResult:
    ranking = ranking_accuracy(judges.probe, encoder, config.model_copy(update={"n_following": 10}))
    return judge(variant, seed, judges, embed_rows(encoder), ranking, frames)


def _untrained(config: PretrainConfig, init: Path | str | None) -> LoadedEncoder:
    """Return the encoder as it is before training: random, or with initial weights."""
    sizes = {name: getattr(config, name) for name in ("embedding_dim", "image_size", "crop_ratio", "arch", "seed")}
    if init is None:
        return untrained_encoder(EncoderInfo(**sizes))
    model, info = start_encoder(config, init)
    return TorchEncoder(model, replace(info, **sizes))


def _starts(
    seeds: Sequence[int], common: Mapping[str, Any], init: Path | str | None
) -> Iterator[tuple[str, int, PretrainConfig, LoadedEncoder]]:
    """Yield name, seed, settings and encoder of what is judged untrained."""
    configs = [(seed, variant_config("tclr", seed, common)) for seed in seeds]
    for seed, config in configs:
        yield "random", seed, config, _untrained(config, None)
    if init is None:
        return
    for seed, config in configs:
        yield "start", seed, config, _untrained(config, init)
    seed, config = configs[0]
    yield "start's features", seed, config, pooled_features(_untrained(config, init))


def _train_and_judge(
    variant: str,
    seed: int,
    store: Path,
    judges: Judges,
    run: Path,
    config: PretrainConfig,
    init: Path | str | None,
    progress: Callable[[int, int], None],
) -> AblationResult:
    trained = pretrain(store, run, config, init=init, progress=progress)
    return _judge_encoder(variant, seed, judges, load_encoder(trained.run), config, trained.n_frames)


def variant_config(name: str, seed: int, common: Mapping[str, Any]) -> PretrainConfig:
    """Return the settings of a variant: those in ``common``, overridden by those that make the variant.

    All variants see as many frames as the default recipe with the common settings, per step and in total: one with
    longer tuples gets fewer of them, one with fewer anchors per clip more epochs (and as long a warm-up).

    Raises
    ------
    SettingError
        If there is no such variant.
    """
    if name not in VARIANTS:
        raise SettingError(
            f"Unknown variant {name!r}. Known variants: {', '.join(VARIANTS)}.{suggestion(name, VARIANTS)}"
        )
    own, plain = VARIANTS[name], PretrainConfig(**common)
    config = PretrainConfig(**{**common, **own, "seed": seed})
    tuples = (plain.n_following + 2) / (config.n_following + 2)
    anchors = own.get("anchors_per_clip", max(1, round(plain.anchors_per_clip * tuples)))
    longer = plain.anchors_per_clip * tuples / anchors
    return config.model_copy(
        update={
            "batch_size": max(1, round(plain.batch_size * tuples)),
            "anchors_per_clip": anchors,
            "epochs": max(1, round(plain.epochs * longer)),
            "warmup_epochs": config.warmup_epochs * longer,
        }
    )


def _once(out: Path, variant: str, seed: int, made_from: str, make: Callable[[], AblationResult]) -> AblationResult:
    """Return the result that ``out`` has of a run, else make and write it.

    Raises
    ------
    SettingError
        If it was made from other settings or stores.
    """
    path = _run_folder(out, variant, seed) / "result.json"
    if not path.is_file():
        result = replace(make(), made_from=made_from)
        write_json(path, asdict(result))
        return result
    known = AblationResult(**json.loads(path.read_text()))
    if known.made_from != made_from:
        raise SettingError(
            f"Expected results of these settings and stores, but {path} was made from others. Use another folder "
            "for OUT, or delete that one."
        )
    return known


def _run_folder(out: Path, variant: str, seed: int) -> Path:
    return out / variant.replace(" ", "-").replace("'", "") / f"seed{seed}"


def run_ablation(
    store: Path,
    probe: Path,
    out: Path,
    variants: Sequence[str],
    seeds: Sequence[int],
    common: Mapping[str, Any],
    *,
    init: Path | str | None = None,
    classes: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Iterator[AblationResult]:
    """Train and judge variants, seed by seed, so that all have as many results after an early stop.

    Parameters
    ----------
    store, probe : Path
        Store to train on; store with AU labels of other people to judge on.
    out : Path
        Folder of runs and results; finished runs in it are kept.
    variants : sequence of str
        Keys of ``VARIANTS``.
    seeds : sequence of int
        Seeds of each variant, and of ``random``, an untrained encoder.
    common : mapping
        Settings that all variants share, such as sizes and epochs.
    init : Path or str, optional
        Initial weights of all variants, see ``pretrain``. They are judged untrained as ``start``, with an embedding
        layer that is random unless they have one, and as ``start's features``, without such a layer.
    classes : Path, optional
        Store whose subjects are classes, such as emotions, to judge on, too.
    progress : callable
        Called with the run's name, tuples done and tuples in all.

    Yields
    ------
    AblationResult
        As soon as it is known.

    Raises
    ------
    SettingError
        If a variant is unknown, or a run in ``out`` had other settings.

    Examples
    --------
    >>> results = run_ablation(Path("store"), Path("store"), Path("ablation"), ["tclr"], [0], {"epochs": 1})
    >>> next(results).variant
    'landmarks'
    """
    configs = {(name, seed): variant_config(name, seed, common) for seed in seeds for name in variants}
    judges = Judges(probe, classes)
    judged_on, fields = _describe_stores(judges.stores)
    trained_on, _ = _describe_stores([store])

    for name, (describe, needed) in BASELINES.items():
        if needed <= fields:
            yield _once(out, name, 0, _digest(judged_on), partial(judge, name, 0, judges, describe))
    for name, seed, config, encoder in _starts(seeds, common, init):
        made_from = _digest([*judged_on, encoder.digest])
        yield _once(out, name, seed, made_from, partial(_judge_encoder, name, seed, judges, encoder, config))
    for (name, seed), config in configs.items():
        told, run = partial(progress, f"{name}, seed {seed}"), _run_folder(out, name, seed)
        start = [] if init is None else [_untrained(config, init).digest]
        made_from = _digest([*judged_on, *trained_on, config.to_json(), *start])
        make = partial(_train_and_judge, name, seed, store, judges, run, config, init, told)
        yield _once(out, name, seed, made_from, make)


def _describe_stores(paths: Sequence[Path]) -> tuple[list[str], set[str]]:
    """Return a digest of each store, and the fields, or ``MESH``, that the first clips of all have."""
    digests, fields = [], []
    for path in paths:
        with Store(path) as opened:
            first = opened.clips[0]
            digests.append(hash_data(opened.clips))
            fields.append(set(opened.fields(first)))
            if "landmarks" in fields[-1] and opened.read(first, "landmarks", 0, 1).shape[1] == N_LANDMARKS:
                fields[-1].add(MESH)
    return digests, set.intersection(*fields)


def _digest(facts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def summarise(results: Sequence[AblationResult]) -> list[dict[str, Any]]:
    """Return one row per variant, in order of appearance: means and, over seeds, lowest and highest.

    Examples
    --------
    >>> results = [AblationResult("tclr", seed, 0.5 + seed / 10, 0.7, {}, 0.8, 1200) for seed in (0, 1)]
    >>> summarise(results)[0]["f1_high"]
    0.6
    """
    rows = []
    for name in dict.fromkeys(result.variant for result in results):
        own = [result for result in results if result.variant == name]
        row: dict[str, Any] = {"variant": name, "seeds": len(own), "frames": own[0].frames}
        for measure in ("f1", "roc_auc", "accuracy", "ranking"):
            values = [value for result in own if (value := getattr(result, measure)) is not None]
            row[measure] = float(np.mean(values)) if values else None
            row[f"{measure}_low"], row[f"{measure}_high"] = (min(values), max(values)) if values else (None, None)
        rows.append(row)
    return rows


def ablation_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of ``summarise`` as a table in Markdown, with lowest and highest in brackets.

    Examples
    --------
    >>> results = [AblationResult("tclr", seed, 0.5 + seed / 10, 0.7, {}, 0.8, 1200) for seed in (0, 1)]
    >>> print(ablation_markdown(summarise(results)).splitlines()[-1])
    | tclr | 2 | 0.550 (0.500 to 0.600) | 0.700 (0.700 to 0.700) | 0.800 (0.800 to 0.800) | 1,200 |
    """
    measures = {"f1": "F1", "roc_auc": "ROC-AUC", "accuracy": "accuracy of classes", "ranking": "ranking accuracy"}
    shown = {name: title for name, title in measures.items() if any(row[name] is not None for row in rows)}
    table = []
    for row in rows:
        frames = f"{row['frames']:,}" if row["frames"] else ""
        table.append([row["variant"], str(row["seeds"]), *(_with_spread(row, name) for name in shown), frames])
    return markdown_table(("variant", "seeds", *shown.values(), "frames trained on"), table)


def _with_spread(row: Mapping[str, Any], measure: str) -> str:
    if row[measure] is None:
        return ""
    spread = f" ({row[f'{measure}_low']:.3f} to {row[f'{measure}_high']:.3f})" if row["seeds"] > 1 else ""
    return f"{row[measure]:.3f}{spread}"
