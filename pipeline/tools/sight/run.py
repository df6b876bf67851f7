"""The recipe of the judge of visibility, from videos of people to its file and the evidence.

Preprocess, draw things before the faces of four fifths of the people, learn, and judge on the others: copies of
their videos with things before the face are preprocessed as any video, so that alignment suffers as it does there. Two
kinds of things, cups and telephones, are drawn for the judgement only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from tclr.pipeline.au import Judge, save_judge
from tclr.pipeline.preprocessing import preprocess_all
from tclr.pipeline.store import Store
from tclr.pipeline.system import replacing
from tclr.pipeline.tools.sight.covered import write_covered
from tclr.pipeline.tools.sight.evidence import judge_store, tabulate
from tclr.pipeline.tools.sight.learn import train_judge
from tclr.pipeline.tools.sight.samples import DRAWN_PX, Faces, draw_samples, read_faces
from tclr.pipeline.tools.sight.things import Paints
from tclr.schemas.config import AlignConfig, DetectConfig, PreprocessConfig, SightConfig
from tclr.schemas.errors import InputError

LEARNT = ("hand", "microphone", "blob", "blob", "sheet", "mask", "mask", "sunglasses", "hair", "edge")
"""Kinds of things to learn from, the frequent ones twice."""
UNSEEN = ("cup", "telephone")
"""Kinds that are only judged."""
COVERED = ("hand", "cup", "mask", "microphone", "telephone", "blob", "sheet", "sunglasses", "hair")
"""Kinds in the videos of the judgement."""
N_SPRITES = 40
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SightResult:
    """The judge's file, and the evidence as a file and as rows, one per set of pictures and region."""

    judge: Path
    evidence: Path
    rows: list[dict[str, Any]]


def run_sight(
    people: Path,
    out: Path,
    config: SightConfig,
    *,
    workers: int | None = None,
    tell: Tell = lambda what, done, of: None,
) -> SightResult:
    """Make a judge from a folder of videos of people, and judge it; stores and videos that exist are kept.

    Raises
    ------
    InputError
        If there are too few people to hold one out.

    Examples
    --------
    >>> from tclr.schemas.config import SightConfig
    >>> run_sight(Path("clips"), Path("sight"), SightConfig())
    Traceback (most recent call last):
    tclr.schemas.errors.InputError: Expected at least 5 people, but got 1 in clips. Give more, or ...
    """
    with Store(_store_of(people, out / "store", config, config.fps, workers, tell)) as store:
        test = store.subjects[config.test_every - 1 :: config.test_every]
        train = [subject for subject in store.subjects if subject not in test]
        if not test:
            raise InputError(
                f"Expected at least {config.test_every} people, but got {len(store.subjects)} in {people}. Give more, "
                "or a smaller --test-every."
            )
        judge = _learn(store, train, config, tell)
        paints = _paints(read_faces(store, test, 1), [config.seed, 2])
        truths = write_covered(people, store, test, COVERED, paints, out / "covered", config.seed)
        judged = {"held out, nothing before the face": judge_store(judge, _only(store, test), {})}
    with Store(_store_of(out / "covered" / "videos", out / "covered" / "store", config, 0.0, workers, tell)) as covered:
        table = judge_store(judge, covered, truths)
    unseen = table["clip"].str.split("/").str[0].isin(UNSEEN)
    judged |= {"held out, kinds it learnt": table[~unseen], "held out, other kinds": table[unseen]}
    return _write(judge, tabulate(judged), out, len(train), config)


def _store_of(source: Path, path: Path, config: SightConfig, fps: float, workers: int | None, tell: Tell) -> Path:
    """Return the store of a folder of videos, made if needed."""
    settings = PreprocessConfig(DetectConfig(fps=fps), AlignConfig(size=config.crop_size))
    name = f"preprocess {source.name}"
    tell(name, 0, 1)
    preprocess_all(source, path, settings, workers=workers, progress=partial(tell, name))
    return path


def _only(store: Store, subjects: Sequence[str]) -> Store:
    return Store(store.root, list(subjects))


def _paints(faces: Faces, seed: Sequence[int]) -> Paints:
    small = np.stack([cv2.resize(crop, (DRAWN_PX, DRAWN_PX), interpolation=cv2.INTER_AREA) for crop in faces.crops])
    return Paints.prepare(small, N_SPRITES, np.random.default_rng(list(seed)))


def _learn(store: Store, train: Sequence[str], config: SightConfig, tell: Tell) -> Judge:
    faces = read_faces(store, train, config.faces_per_clip)
    paints = _paints(read_faces(store, train, 2), [config.seed, 0])
    tell("draw", 0, 1)
    crops, shares = draw_samples(faces, paints, LEARNT, config.samples, np.random.default_rng([config.seed, 1]))
    tell("draw", 1, 1)
    return train_judge(crops, shares, config.epochs, config.seed, lambda done, of: tell("learn", done, of))


def _write(judge: Judge, table: pd.DataFrame, out: Path, n_train: int, config: SightConfig) -> SightResult:
    weights, evidence = out / "sight.safetensors", out / "evidence.csv"
    save_judge(judge, weights, {"n_people": str(n_train), "settings": config.to_json()})
    with replacing(evidence) as temporary:
        table.round(4).to_csv(temporary, index=False)
    return SightResult(weights, evidence, table.replace({np.nan: None}).to_dict("records"))
