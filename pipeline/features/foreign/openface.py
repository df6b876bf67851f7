"""Features in the columns of OpenFace 2's FeatureExtraction (Baltrusaitis et al., FG 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd

from tclr.pipeline.features.clips import values_of
from tclr.pipeline.features.foreign.points import read_points
from tclr.pipeline.features.foreign.pose import POSE, openface_angles

AUS = "01 02 04 05 06 07 09 10 12 14 15 17 20 23 25 26 45".split()
"""AUs with intensity, in OpenFace's order. Occurrence has AU28, too."""
FACE = {"ok", "interpolated"}


def as_openface(table: pd.DataFrame, metadata: Mapping[str, Any]) -> pd.DataFrame:
    """Return a clip's features as OpenFace's table, one row per frame.

    Parameters
    ----------
    table : pandas.DataFrame
        A clip's features, T rows.
    metadata : mapping
        The metadata of its file.

    Returns
    -------
    pandas.DataFrame
        T rows. Frames of a video count from 1. ``success`` is 1 where the status is ``ok`` or ``interpolated``.
        Numbers of frames without a face, and AUs of hidden regions, are null, where OpenFace writes 0. AUs and points
        that the features lack have no column.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"frame": [0], "timestamp": [0.0], "status": ["ok"], "yaw": [0.2], "AU12_r": [2.5],
    ...                       "pitch": [0.0], "roll": [0.0]})
    >>> as_openface(table, {"source": "anna.mp4"}).round(3).iloc[0][["frame", "success", "pose_Ry", "AU12_r"]].tolist()
    [1.0, 1.0, -0.2, 2.5]
    """
    is_file = bool(PurePath(str(metadata.get("source", ""))).suffix)
    columns: dict[str, Any] = {
        "frame": table["frame"] + int(is_file),
        "face_id": 0,
        "timestamp": table["timestamp"],
        "confidence": values_of(table, "confidence" if "confidence" in table else "score"),
        "success": table["status"].isin(FACE).astype(int),
    }
    columns |= _gaze(table) | _head(table) | dict(read_points(table))
    columns |= {f"AU{au}_r": table[f"AU{au}_r"] for au in AUS if f"AU{au}_r" in table}
    columns |= {f"AU{au}_c": table[f"AU{au}_c"] for au in sorted([*AUS, "28"]) if f"AU{au}_c" in table}
    return pd.DataFrame(columns, index=table.index)


def _gaze(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return ``gaze_angle_x``, which OpenFace counts from the camera's axis and tclr from the line to the face."""
    if not {"gaze_yaw", "head_x", "head_z"} <= set(table.columns):
        return {}
    towards_face = np.arctan2(values_of(table, "head_x"), values_of(table, "head_z"))
    return {"gaze_angle_x": values_of(table, "gaze_yaw") - towards_face}


def _head(table: pd.DataFrame) -> dict[str, np.ndarray]:
    columns = {f"pose_T{axis}": values_of(table, f"head_{axis}") for axis in "xyz" if f"head_{axis}" in table}
    if set(POSE) <= set(table.columns):
        angles = openface_angles(np.stack([values_of(table, name) for name in POSE], axis=1))
        columns |= {f"pose_R{axis}": angles[:, i] for i, axis in enumerate("xyz")}
    return columns
