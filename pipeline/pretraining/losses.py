"""The aggregate ranking loss, and the pairs of frames that are ranked as it demands.

Each frame after an anchor must be nearer to the anchor than the next frame. Source: Lu, Tavabi and Soleymani,
"Self-Supervised Learning for Facial Action Unit Recognition through Temporal Consistency", BMVC 2020, section 3.
Shapes: embeddings (B, F, D); frame 0 is the anchor, frame 1 the sibling, and the others follow in order of time.
"""

from __future__ import annotations

import torch
from torch import Tensor


def anchor_distances(embeddings: Tensor) -> Tensor:
    """Return the squared Euclidean distances of frames 1 to F - 1 to the anchor, (B, F - 1).

    >>> import torch
    >>> anchor_distances(torch.tensor([0.0, 1.0, 2.0, 1.5]).view(1, 4, 1))
    tensor([[1.0000, 4.0000, 2.2500]])
    """
    return (embeddings[:, 1:] - embeddings[:, :1]).square().sum(dim=2)


def aggregate_ranking_loss(embeddings: Tensor, margin: float) -> Tensor:
    """Return the sum of triplet losses over adjacent frames, averaged over the batch (scalar).

    ``mean_b sum_i max(0, d(b, i) - d(b, i + 1) + margin)`` of the distances d of embeddings (B, F, D), F >= 3: the
    later frame must be farther by ``margin``.

    >>> import torch
    >>> aggregate_ranking_loss(torch.tensor([0.0, 1.0, 2.0, 1.5]).view(1, 4, 1), margin=0.03)  # 0 + 4 - 2.25 + 0.03
    tensor(1.7800)
    """
    distances = anchor_distances(embeddings)
    return torch.relu(distances[:, :-1] - distances[:, 1:] + margin).sum(dim=1).mean()


def ranked_pairs(embeddings: Tensor) -> Tensor:
    """Return (B, F - 2) bool: whether the earlier frame of each adjacent pair is strictly nearer to the anchor.

    >>> import torch
    >>> ranked_pairs(torch.tensor([0.0, 1.0, 2.0, 1.5]).view(1, 4, 1))
    tensor([[ True, False]])
    """
    distances = anchor_distances(embeddings)
    return distances[:, :-1] < distances[:, 1:]
