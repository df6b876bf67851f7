"""The 68 points of the iBUG scheme, which OpenFace and Py-Feat report, among mediapipe's 478."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

N_POINTS = 68
JAW = [127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356]
BROWS = [70, 63, 105, 66, 107, 336, 296, 334, 293, 300]
NOSE = [168, 197, 5, 4, 98, 97, 2, 326, 327]
EYES = [33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380]
OUTER_LIPS = [61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181]
INNER_LIPS = [78, 82, 13, 312, 308, 317, 14, 87]
POINTS = [*JAW, *BROWS, *NOSE, *EYES, *OUTER_LIPS, *INNER_LIPS]
"""Nearest vertices of mediapipe's mesh. On the jaw mediapipe follows the visible outline, iBUG the bone."""


def landmark_columns(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the names of the x and y columns of the 68 points, in order; none if the features have no landmarks.

    >>> import pandas as pd
    >>> landmark_columns(pd.DataFrame(columns=["frame"]))
    ([], [])
    """
    n_points = sum(name.startswith("lm_x_") for name in table.columns)
    if n_points == 0:
        return [], []
    numbers = range(N_POINTS) if n_points == N_POINTS else POINTS
    return [f"lm_x_{i:03d}" for i in numbers], [f"lm_y_{i:03d}" for i in numbers]


def read_points(table: pd.DataFrame) -> Mapping[str, pd.Series]:
    """Return ``x_0`` to ``x_67`` and ``y_0`` to ``y_67``, px of the frame; nothing if the features have no landmarks.

    >>> import pandas as pd
    >>> len(read_points(pd.DataFrame({f"lm_{axis}_{i:03d}": [1.0] for i in range(478) for axis in "xy"})))
    136
    """
    across, down = landmark_columns(table)
    named = {f"x_{i}": table[name] for i, name in enumerate(across)}
    return named | {f"y_{i}": table[name] for i, name in enumerate(down)}
