"""People never seen: how well AUs agree with true intensities, by quality of the video, head pose and group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tclr.pipeline.au import LabelledFrames, Prediction
from tclr.pipeline.tools.box import METRICS, TURNED_RAD, Forecast, Judged
from tclr.pipeline.tools.evidence.path import Predicted, common_aus
from tclr.schemas.errors import InputError

GROUP_TABLE = "people.csv"
"""Table of a folder of videos: a column ``person``, and one column per way to group people."""
MAX_GROUPS = 6
"""Most groups of a column; numbers with more values are split at their median."""
MIN_PEOPLE = 2
"""Fewest people of a group that is judged: one has no interval."""
TURNED, FACING = "head turned", "head not turned"


def find_rows(one: Predicted, frames: LabelledFrames) -> np.ndarray:
    """Return (N,) int: the row of the features that each labelled frame has."""
    keys = one.table.groupby(["subject", "clip"], observed=True).indices
    rows = np.zeros(len(frames), np.int64)
    for key, places in frames.by_clip():
        rows[places] = keys[key][frames.rows[places]]
    return rows


def to_forecast(one: Predicted, frames: LabelledFrames) -> Forecast:
    """Return the features' predictions for labelled frames."""
    rows = find_rows(one, frames)
    probability, intensity = (one.values(one.au_names, ending)[rows].astype(np.float32) for ending in ("", "_r"))
    threshold = np.array([one.threshold[name] for name in one.au_names], np.float32)
    return Forecast(one.model, one.source, one.au_names, Prediction(probability, intensity), threshold)


def _figures(values: dict[str, float | None], intervals: dict[str, tuple[float, float] | None]) -> dict[str, Any]:
    return {name: [values.get(name), *(intervals.get(name) or (None, None))] for name in METRICS}


def to_result(judged: Judged, common: Judged) -> dict[str, Any]:
    """Return scores as figures: the mean over a model's own AUs, over those that all models have, and by AU."""
    return {
        "model": judged.model,
        "frames": judged.quality,
        "n_frames": judged.n_frames,
        "n_people": judged.n_people,
        "n_aus": sum(values.get("roc_auc") is not None for values in judged.aus.values()),
        "mean": _figures(judged.mean, judged.interval),
        "common": _figures(common.mean, common.interval),
        "aus": {name: _figures(judged.aus[name], judged.au_intervals.get(name, {})) for name in judged.aus},
    }


def judge_people(
    predicted: dict[str, Predicted], frames: LabelledFrames, parts: dict[str, np.ndarray | None]
) -> list[dict[str, Any]]:
    """Return the scores of each model on each part of the frames, see ``to_result``.

    ``parts`` are (N,) masks of the labelled frames by name; None takes all, and parts without a frame are left out.
    """
    names = [name for name in frames.names if name in common_aus(predicted)]
    shared = frames.select(names)
    results = []
    for one in predicted.values():
        forecast = to_forecast(one, frames)
        for part, mask in parts.items():
            if mask is None or mask.any():
                results.append(to_result(forecast.judge(frames, part, mask), forecast.judge(shared, part, mask)))
    return results


def turned_parts(one: Predicted, frames: LabelledFrames) -> dict[str, np.ndarray | None]:
    """Return (N,) masks of labelled frames with the head turned aside and not; nothing if it is never turned.

    The yaw is that of the features, which is nearer to the truth than the detector's (docs/model-card.md).
    """
    turned = np.abs(one.values(["yaw"])[find_rows(one, frames), 0]) >= TURNED_RAD
    return {TURNED: turned, FACING: ~turned} if turned.any() else {}


def read_groups(folder: Path) -> pd.DataFrame | None:
    """Return the table of people by name, None if the folder has none.

    Raises
    ------
    InputError
        If it cannot be read, or has no column ``person``.
    """
    path = folder / GROUP_TABLE
    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path, dtype={"person": str})
    except (OSError, ValueError) as error:
        raise InputError(f"Expected a comma-separated table, but cannot read {path}: {error}.") from error
    if "person" not in table or table["person"].duplicated().any():
        raise InputError(f"Expected a column 'person' with each name once in {path}. Mend the table, or remove it.")
    return table.set_index("person")


def group_parts(table: pd.DataFrame, subjects: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a name and an (N,) mask of the frames of each group of people, ``sex: female``.

    ``subjects`` (N,) are the people of the frames. Numbers with more than ``MAX_GROUPS`` values are split at their
    median; other columns with so many are passed over, as are groups of fewer than ``MIN_PEOPLE``.
    """
    people = table.reindex(np.unique(subjects))
    for column in table:
        values = people[column].dropna()
        if values.nunique() > MAX_GROUPS:
            if not pd.api.types.is_numeric_dtype(values):
                continue
            middle = float(values.median())
            values = values.map(lambda value, middle=middle: f"up to {middle:g}" if value <= middle else "above")
        for value, members in values.groupby(values):
            if len(members) >= MIN_PEOPLE:
                yield f"{column}: {value}", np.isin(subjects, members.index.to_numpy())
