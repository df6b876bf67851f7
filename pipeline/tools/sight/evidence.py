"""How good a judge of visibility is: hidden and clean regions of people whom it has not seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tclr.pipeline.au import Judge, shrink
from tclr.pipeline.store import Store
from tclr.schemas.action_units import REGIONS
from tclr.schemas.features import HIDDEN_BELOW

HIDDEN, CLEAN = 0.25, 0.95
"""True visible shares up to which a region is hidden, and from which it is clean; between them, all is right."""


def judge_store(judge: Judge, store: Store, truths: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return one row per region of each face: ``clip``, ``region``, ``true`` and ``seen`` visible share.

    ``truths`` has (T, 5) true shares by subject and clip; faces of other clips are clean.
    """
    parts = []
    for info in store.clips:
        rows = np.flatnonzero(store.face_mask(info))
        seen = judge.see([shrink(crop) for crop in store.read_crops_at(info, rows)])
        numbers = store.read(info, "source_frame")[rows]
        true = truths[info.name][numbers] if info.name in truths else np.ones(seen.shape)
        columns = {"clip": info.name, "region": np.tile(REGIONS, len(rows)), "true": true.ravel(), "seen": seen.ravel()}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def tabulate(judged: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return hidden and clean regions and the shares of them that are flagged, by set of pictures and region."""
    rows = []
    for name, table in judged.items():
        flagged = table["seen"] < HIDDEN_BELOW
        for region in REGIONS:
            of = table["region"] == region
            hidden, clean = of & (table["true"] <= HIDDEN), of & (table["true"] >= CLEAN)
            rows.append((name, region, hidden.sum(), flagged[hidden].mean(), clean.sum(), flagged[clean].mean()))
    return pd.DataFrame(rows, columns=["pictures", "region", "n_hidden", "flagged_hidden", "n_clean", "flagged_clean"])
