"""Left and right sides of the face, and head pose, against tables of the truth.

``sides/<person>_<clip>.csv``: ``frame``, ``AU12_L``, ``AU12_R``, 0..1, the person's left and right.
``pose/<person>_<clip>.csv``: ``frame``, ``pitch``, ``yaw``, ``roll`` in rad, with the signs of the features.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tclr.pipeline.tools.evidence.path import Predicted
from tclr.pipeline.tools.evidence.resampling import divide, draw_weights, figure_of, linear_fit, mean_known, sum_by
from tclr.schemas.action_units import MAX_INTENSITY
from tclr.schemas.errors import InputError
from tclr.schemas.features import SIDE_ENDINGS

AXES = ("pitch", "yaw", "roll")
KEYS = ["subject", "clip", "frame"]


def read_truth(folder: Path, clips: Collection[tuple[str, str]]) -> pd.DataFrame | None:
    """Return the tables of some clips, (subject, clip), as one with the columns of ``KEYS``; None without any.

    Raises
    ------
    InputError
        If a table cannot be read or has no column ``frame``.
    """
    tables = []
    for subject, clip in sorted(clips):
        path = folder / f"{subject}_{clip}.csv"
        if not path.is_file():
            continue
        try:
            table = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise InputError(f"Expected a comma-separated table, but cannot read {path}: {error}.") from error
        if "frame" not in table:
            raise InputError(f"Expected a column 'frame' in {path}, but got {', '.join(map(str, table.columns))}.")
        tables.append(table.assign(subject=subject, clip=clip))
    return pd.concat(tables, ignore_index=True) if tables else None


def clips_of(one: Predicted, people: Collection[str]) -> list[tuple[str, str]]:
    """Return (subject, clip) of the features of some people."""
    pairs = one.table[["subject", "clip"]].astype(str).drop_duplicates()
    return [(subject, clip) for subject, clip in pairs.itertuples(index=False) if subject in people]


def _joined(one: Predicted, truth: pd.DataFrame) -> pd.DataFrame:
    """Return the features beside the truth of the same frames, whose columns end in ``_truth``."""
    features = one.table.astype({"subject": str, "clip": str})
    named = truth.rename(columns={name: f"{name}_truth" for name in truth.columns if name not in KEYS})
    return features.merge(named, on=KEYS, validate="one_to_one")


def judge_sides(predicted: dict[str, Predicted], truth: pd.DataFrame) -> dict[str, Any]:
    """Return by model and AU ``r`` and ``slope`` of the predicted left minus right intensity on the true one.

    Only AUs whose sides differ in the truth and are predicted; ``mean`` is over them. Intervals are over people.
    """
    models: dict[str, Any] = {}
    for model, one in predicted.items():
        table = _joined(one, truth)
        aus: dict[str, dict[str, Any]] = {}
        for name in one.au_names:
            columns = [f"{name}_{side}_truth" for side in "LR"], [name + ending for ending in SIDE_ENDINGS]
            if not all(column in table for group in columns for column in group):
                continue
            values = table[[*columns[0], *columns[1]]].astype(float).to_numpy()
            known = np.isfinite(values).all(axis=1)
            left, right, guessed_left, guessed_right = values[known].T
            difference = MAX_INTENSITY * (left - right)
            if known.any() and np.ptp(difference) > 0:
                people = table["subject"].to_numpy()[known]
                aus[name] = linear_fit(people, difference, guessed_left - guessed_right)
        if aus:
            means = {key: _mean([fit[key][0] for fit in aus.values()]) for key in ("r", "slope")}
            models[model] = {"aus": aus, "mean": means}
    return models


def _mean(values: list[float | None]) -> float | None:
    found = mean_known(np.array([np.nan if value is None else value for value in values], float)[None])[0]
    return float(found) if np.isfinite(found) else None


def judge_pose(one: Predicted, truth: pd.DataFrame) -> dict[str, Any]:
    """Return for each axis ``slope`` and ``rms_deg`` of the change of pose within a clip, against the true change.

    Each clip's mean is taken off both, since the truth's zero may be another one. The slope is that of the line
    through zero, the error the root mean square in degrees. Intervals are over people.
    """
    table = _joined(one, truth)
    clips = pd.factorize(pd.MultiIndex.from_frame(table[["subject", "clip"]]))[0]
    result = {}
    for axis in AXES:
        values = table.reindex(columns=[f"{axis}_truth", axis]).astype(float).to_numpy()
        known = np.isfinite(values).all(axis=1)
        if not known.any():
            continue
        values, owner = values[known], clips[known]
        counts = sum_by(owner, np.ones(len(owner)))
        means = sum_by(owner, values) / counts[:, None]
        true, guess = (values - means[np.unique(owner, return_inverse=True)[1]]).T
        people = table["subject"].to_numpy()[known]
        products = np.stack([np.ones(len(true)), true * true, true * guess, (guess - true) ** 2], axis=1)
        n, squares, common, errors = (draw_weights(len(np.unique(people))) @ sum_by(people, products)).T
        result[axis] = {
            "slope": figure_of(divide(common, squares)),
            "rms_deg": figure_of(np.rad2deg(np.sqrt(divide(errors, n)))),
        }
    return result
