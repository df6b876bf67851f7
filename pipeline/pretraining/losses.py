"""The aggregate ranking loss, and how often the ranking it asks for holds.

Source: Lu, Tavabi and Soleymani, "Self-Supervised Learning for Facial Action Unit Recognition through Temporal
Consistency", BMVC 2020, section 3: of the frames that follow an anchor, each must lie nearer to the anchor than
the one after it. Shapes: embeddings (B, F, D), frame 0 the anchor, frame 1 the sibling, then further and further.
"""

from __future__ import annotations

import torch
from torch import Tensor


def anchor_distances(embeddings: Tensor) -> Tensor:
    """Return (B, F - 1): the squared Euclidean distances of frames 1 to F - 1 to the anchor."""
    return (embeddings[:, 1:] - embeddings[:, :1]).square().sum(dim=2)


def aggregate_ranking_loss(embeddings: Tensor, margin: float) -> Tensor:
    """Return the sum of triplet losses over adjacent frames, averaged over the batch.

    Parameters
    ----------
    embeddings : Tensor
        (B, F, D), frame 0 is the anchor, F >= 3.
    margin : float
        How much farther the later frame must be.

    Returns
    -------
    Tensor
        Scalar: ``mean_b sum_i max(0, d(b, i) - d(b, i + 1) + margin)``.
    """
    distances = anchor_distances(embeddings)
    return torch.relu(distances[:, :-1] - distances[:, 1:] + margin).sum(dim=1).mean()


def ranked_pairs(embeddings: Tensor) -> Tensor:
    """Return (B, F - 2) bool: whether the nearer frame in time is strictly nearer to the anchor; a tie is not."""
    distances = anchor_distances(embeddings)
    return distances[:, :-1] < distances[:, 1:]
