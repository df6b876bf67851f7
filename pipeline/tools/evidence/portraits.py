"""Portraits: what is called present on neutral and on smiling faces, and what changes when only the picture does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tclr.pipeline.au import BLINK
from tclr.pipeline.tools.box import AS_GIVEN
from tclr.pipeline.tools.evidence.emotions import faces_of, file_names
from tclr.pipeline.tools.evidence.path import Predicted
from tclr.pipeline.tools.evidence.resampling import divide, draw_weights, figure_of, shares, sum_by
from tclr.pipeline.tools.evidence.stills import Picture

LABELS = ("neutral", "smiling")
"""Names of the sub-folders."""
CHANGE_LIMIT = 0.02
"""Largest share of calls that may change between a picture and its altered copy: as many as may be wrong on neutral
faces."""
Made = Mapping[str, tuple[str, Picture]]
"""By file name, the way a picture was altered, and the picture."""


def still_aus(one: Predicted) -> list[str]:
    """Return a model's AUs that a still can show: a blink needs time."""
    return [name for name in one.au_names if name != BLINK]


def judge_calls(predicted: dict[str, Predicted], made: Made) -> dict[str, Any]:
    """Return by model and label how often each AU is called present on the pictures as given; over people."""
    models: dict[str, Any] = {}
    for model, one in predicted.items():
        names = still_aus(one)
        called, of_file = one.values(names, "_c"), [made[name] for name in file_names(one)]
        models[model] = {}
        for label in LABELS:
            rows = np.array([way == AS_GIVEN and picture.label == label for way, picture in of_file])
            if not rows.any():
                continue
            people = np.array([picture.person for _, picture in of_file])[rows]
            known = np.isfinite(called[rows])
            counts = sum_by(people, known), sum_by(people, np.nan_to_num(called[rows]))
            models[model][label] = shares(*counts, names) | {"n": int(faces_of(one)[rows].sum())}
    return models


def judge_twins(predicted: dict[str, Predicted], made: Made) -> dict[str, Any]:
    """Return by model and way of altering the share of 0/1 calls that differ from those on the picture as given.

    Only pictures with a face in both versions count; ``lost`` says how many have one only as given. Intervals are over
    people.
    """
    models: dict[str, Any] = {}
    for model, one in predicted.items():
        calls = one.values(still_aus(one), "_c")
        by_way: dict[str, dict[tuple[str, str], np.ndarray]] = {}
        for name, row in zip(file_names(one), calls, strict=True):
            way, picture = made[name]
            by_way.setdefault(way, {})[picture.label, picture.path.name] = row
        given = by_way[AS_GIVEN]
        models[model] = {way: _compare(given, twins) for way, twins in by_way.items() if way != AS_GIVEN}
    return models


def _compare(given: dict[tuple[str, str], np.ndarray], twins: dict[tuple[str, str], np.ndarray]) -> dict[str, Any]:
    keys = [key for key in given if key in twins]
    before, after = (np.array([calls[key] for key in keys]) for calls in (given, twins))
    known = np.isfinite(before) & np.isfinite(after)
    people = np.array([name.rsplit(".", 1)[0] for _, name in keys])
    counts = [sum_by(people, values.sum(axis=1)) for values in (known & (before != after), known)]
    weights = draw_weights(len(counts[0]))
    lost = np.isfinite(before).any(axis=1) & ~np.isfinite(after).any(axis=1)
    changed = figure_of(divide(weights @ counts[0], weights @ counts[1]))
    return {"changed": changed, "n_calls": int(known.sum()), "lost": int(lost.sum())}
