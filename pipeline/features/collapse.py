"""Whether the embeddings in a folder of features have collapsed: nearly one point, whatever the frame shows."""

from __future__ import annotations

import numpy as np

from tclr.pipeline.features.occurrence import FEWEST_FRAMES

COLLAPSED = 0.05
"""Spread below which embeddings count as collapsed, as in ``tclr pretrain``. That of the bundled encoder is 0.7."""


def measure_spread(embeddings: np.ndarray) -> float:
    """Return the root of the summed variances of (N, D) embeddings: 0 for one point, 1 for random directions.

    >>> measure_spread(np.eye(4)), measure_spread(np.ones((4, 8)))
    (0.866..., 0.0)
    """
    return float(np.sqrt(embeddings.var(axis=0).sum())) if len(embeddings) else 0.0


def collapse_warnings(embeddings: np.ndarray) -> list[str]:
    """Return what to tell the user of (N, D) embeddings: one sentence if they have collapsed, else none.

    Fewer than ``FEWEST_FRAMES`` frames may look alike, so nothing is said of them.

    >>> collapse_warnings(np.ones((300, 8)))[0].split(":")[0]
    'The embeddings have collapsed nearly to one point'
    """
    spread = measure_spread(embeddings)
    if len(embeddings) < FEWEST_FRAMES or spread >= COLLAPSED:
        return []
    return [
        f"The embeddings have collapsed nearly to one point: their spread is {spread:.3f}, and 1 would be random "
        "directions. They hardly tell frames apart. Give 'tclr embed' another encoder, or train again with a lower "
        "--learning-rate."
    ]
