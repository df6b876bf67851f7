"""Features in the columns of Py-Feat's Fex (Cheong et al., Affective Science 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tclr.pipeline.features.foreign.points import read_points

AUS = "01 02 04 05 06 07 09 10 11 12 14 15 17 20 23 24 25 26 28 43".split()
"""In Py-Feat's order. tclr has no AU11."""


def as_pyfeat(table: pd.DataFrame, metadata: Mapping[str, Any]) -> pd.DataFrame:
    """Return a clip's features as Py-Feat's table, one row per frame.

    Parameters
    ----------
    table : pandas.DataFrame
        A clip's features, T rows.
    metadata : mapping
        The metadata of its file.

    Returns
    -------
    pandas.DataFrame
        T rows. AUs are probabilities, 0..1. Angles are in radians: Pitch is positive upwards, Yaw to the person's
        right, Roll towards the person's right shoulder. Numbers of frames without a face, and AUs of hidden regions,
        are null. There is no gaze, and there are no emotions and no identities.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"frame": [0], "timestamp": [62.5], "pitch": [0.1], "yaw": [0.2], "roll": [0.0],
    ...                       "AU12": [0.5]})
    >>> as_pyfeat(table, {"source": "anna.mp4"}).round(3).to_dict("records")[0]
    {'Pitch': -0.1, 'Roll': 0.0, 'Yaw': -0.2, 'AU12': 0.5, 'input': 'anna.mp4', 'frame': 0, 'approx_time': '01:02'}
    """
    columns: dict[str, Any] = {}
    points = dict(read_points(table))
    if points:
        columns |= _box(points)
    if "score" in table:
        columns["FaceScore"] = table["score"]
    columns |= points
    columns |= {
        label: sign * table[name]
        for label, name, sign in (("Pitch", "pitch", -1), ("Roll", "roll", 1), ("Yaw", "yaw", -1))
        if name in table
    }
    columns |= {f"AU{au}": table[f"AU{au}"] for au in AUS if f"AU{au}" in table}
    columns["input"] = str(metadata.get("source", ""))
    columns["frame"] = table["frame"]
    columns["approx_time"] = [_clock(time_s) for time_s in table["timestamp"]]
    return pd.DataFrame(columns, index=table.index)


def _box(points: Mapping[str, pd.Series]) -> dict[str, pd.Series]:
    """Return the box around the points, px."""
    box = {}
    for axis, side in (("x", "Width"), ("y", "Height")):
        along = pd.concat([points[f"{axis}_{i}"] for i in range(len(points) // 2)], axis=1)
        box[f"FaceRect{axis.upper()}"] = along.min(axis=1)
        box[f"FaceRect{side}"] = along.max(axis=1) - along.min(axis=1)
    return {f"FaceRect{name}": box[f"FaceRect{name}"] for name in ("X", "Y", "Width", "Height")}


def _clock(time_s: float) -> str:
    """Return minutes and seconds, as Py-Feat writes them.

    >>> _clock(3725.9)
    '62:05'
    """
    minutes, seconds = divmod(int(time_s), 60)
    return f"{minutes:02d}:{seconds:02d}"
