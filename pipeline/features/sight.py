"""How much of the faces in a folder of features can be seen: hidden regions and poor light, clip by clip."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tclr.pipeline.features.clips import FeatureClips, values_of
from tclr.schemas.action_units import AUS_OF_REGION, REGIONS, au_column
from tclr.schemas.features import HIDDEN_BELOW, LEAST_CONTRAST, sight_columns

DIM = "dim"
"""Column of the share of frames with too little light or contrast."""
WORTH_SAYING = 0.02
"""Share of a clip's frames from which a hidden region or poor light is reported."""


def measure_sight(clips: FeatureClips) -> pd.DataFrame:
    """Return one row per clip: ``subject``, ``clip``, ``n_faces``, and shares of these frames, 0..1.

    There is a share per region of the face that is hidden, and ``dim``. Features without such columns, of stores whose
    crops do not fit, give no rows.

    >>> measure_sight(FeatureClips(Path("features"))).columns.tolist()[3:]
    ['brows', 'eyes', 'nose', 'mouth', 'chin', 'dim']
    """
    columns, rows = sight_columns(), []
    for subject, clip in clips.paths if set(columns) & set(clips.columns) else []:
        table = clips.read(subject, clip, columns)
        visible = np.stack([values_of(table, f"visible_{region}") for region in REGIONS], axis=1)
        contrast = values_of(table, "contrast")
        n_faces = int(np.isfinite(np.column_stack([visible, contrast])).any(axis=1).sum())
        counts = [*(visible < HIDDEN_BELOW).sum(axis=0), (contrast < LEAST_CONTRAST).sum()]
        rows.append([subject, clip, n_faces, *(count / max(1, n_faces) for count in counts)])
    return pd.DataFrame(rows, columns=["subject", "clip", "n_faces", *REGIONS, DIM])


def sight_warnings(sight: pd.DataFrame) -> list[str]:
    """Return what to tell the user of a table of ``measure_sight``, a sentence per hidden region and one on the light.

    >>> import pandas as pd
    >>> from tclr.schemas.action_units import REGIONS
    >>> columns = ["subject", "clip", "n_faces", *REGIONS, DIM]
    >>> rows = [["anna", "day1", 100, 0, 0, 0, 0.4, 0, 0], ["ben", "day1", 100, *[0.0] * 6]]
    >>> sight_warnings(pd.DataFrame(rows, columns=columns))
    ['Hidden mouth in 20% of frames, most in anna/day1 (40%): AU10, AU11, ... AU28 cannot be seen there.']
    """
    told = []
    for name in (*REGIONS, DIM):
        worst = sight.loc[sight[name].idxmax()] if len(sight) else None
        if worst is None or worst[name] < WORTH_SAYING:
            continue
        share = np.average(sight[name], weights=sight["n_faces"])
        where = f"in {_percent(share)} of frames, most in {worst['subject']}/{worst['clip']} ({worst[name]:.0%})"
        if name == DIM:
            told.append(f"Too little light or contrast {where}: do not trust these frames.")
        else:
            told.append(f"Hidden {name} {where}: {_brief(AUS_OF_REGION[name])} cannot be seen there.")
    return told


def _percent(share: float) -> str:
    """Return a share that is not 0 as a percentage.

    >>> _percent(0.004), _percent(0.2)
    ('less than 1%', '20%')
    """
    return f"{share:.0%}" if share >= 0.005 else "less than 1%"


def _brief(numbers: tuple[int, ...]) -> str:
    names = [au_column(number) for number in numbers]
    return ", ".join(names if len(names) <= 5 else [*names[:2], "... " + names[-1]])
