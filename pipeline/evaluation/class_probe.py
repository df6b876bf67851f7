"""Pictures that fall into classes, such as emotions, as a judge of features: how often a linear probe is right.

The class is the subject: ``tclr preprocess`` names subjects after folders, so that one folder per class will do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tclr.pipeline.au import Describe
from tclr.pipeline.store import Store, assign_folds
from tclr.schemas.errors import InputError

N_FOLDS = 5
PENALTIES = (10.0, 1.0, 0.1, 0.01)
"""L2 penalties to choose from, for ``mean loss + l2 / 2 |w|^2`` on standardised features; strong ones are preferred."""
MAX_ITERATIONS = 100
"""Enough for the stronger penalties; with the weakest, stopping early is a penalty of its own."""
BLOCK_ROWS = 128


def class_accuracy(path: Path, describe: Describe) -> float:
    """Return the share of frames with a face whose class a linear probe names, on folds that it was not fitted on.

    Folds have the same share of each class. Stills are dealt to them one by one, videos whole. The penalty is chosen
    within the training folds.

    Raises
    ------
    InputError
        If there are fewer than two subjects, or one has fewer stills or clips than there are folds.

    Examples
    --------
    >>> from tclr.pipeline.au import blendshape_rows
    >>> class_accuracy(Path("store"), blendshape_rows)
    Traceback (most recent call last):
    tclr.schemas.errors.InputError: Expected a subject per class, with 5 stills or clips each, but got F001: 1, ...
    """
    with Store(path) as store:
        blocks = list(_read_blocks(store, describe))
    inputs, classes, pieces = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    counts = {name: len(np.unique(pieces[classes == name])) for name in np.unique(classes).tolist()}
    if len(counts) < 2 or min(counts.values()) < N_FOLDS:
        found = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise InputError(
            f"Expected a subject per class, with {N_FOLDS} stills or clips each, but got {found} in {path}."
        )
    folds = _deal(classes, pieces, N_FOLDS)
    right = []
    for fold in range(N_FOLDS):
        train = folds != fold
        penalty = _choose_penalty(inputs[train], classes[train], pieces[train])
        probe = _fit(inputs[train], classes[train], penalty)
        right.append(probe.predict(inputs[~train]) == classes[~train])
    return float(np.concatenate(right).mean())


def _read_blocks(store: Store, describe: Describe) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield features (n, D), classes (n,) and pieces (n,), a still or a clip each, of the frames with a face."""
    for info in store.clips:
        is_still = "source_name" in store.fields(info)
        for start in range(0, info.n_frames, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, info.n_frames)
            face = store.face_mask(info, start, stop)
            if face.any():
                rows = np.arange(start, stop)[face]
                pieces = [f"{info.name}/{row}" if is_still else info.name for row in rows]
                yield describe(store, info, start, stop)[face], np.full(len(rows), info.subject), np.array(pieces)


def _deal(classes: np.ndarray, pieces: np.ndarray, n_folds: int) -> np.ndarray:
    """Return the fold of each frame, (n,) int; those of a piece share one, and all folds have all classes."""
    folds = np.empty(len(classes), np.int64)
    for name in np.unique(classes):
        folds[classes == name] = assign_folds(pieces[classes == name], n_folds, seed=0)
    return folds


def _choose_penalty(inputs: np.ndarray, classes: np.ndarray, pieces: np.ndarray) -> float:
    """Return the penalty with which a probe of some frames is right most often on the others, a third."""
    held_out = _deal(classes, pieces, 3) == 0
    probes = {penalty: _fit(inputs[~held_out], classes[~held_out], penalty) for penalty in PENALTIES}
    right = {penalty: probe.score(inputs[held_out], classes[held_out]) for penalty, probe in probes.items()}
    return max(right, key=right.__getitem__)


def _fit(inputs: np.ndarray, classes: np.ndarray, penalty: float) -> Pipeline:
    logistic = LogisticRegression(C=1 / (penalty * len(inputs)), max_iter=MAX_ITERATIONS)
    return make_pipeline(StandardScaler(), logistic).fit(inputs, classes)
