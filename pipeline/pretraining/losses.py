"""The aggregate ranking loss, and how often the ranking it asks for holds.

Source: Lu, Tavabi and Soleymani, "Self-Supervised Learning for Facial Action Unit Recognition through Temporal
Consistency", BMVC 2020, section 3: of the frames that follow an anchor, each must lie nearer to the anchor than
the one after it. Shapes: embeddings (B, F, D), frame 0 the anchor, frame 1 the sibling, then further and further.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

NEVER = -1e4
"""Stands for minus infinity among similarities; its gradient is 0 where infinity's would be NaN."""
TOLERANCE_S = 1e-3
"""Containers round timestamps to a millisecond, and seconds are float32."""


def anchor_distances(embeddings: Tensor) -> Tensor:
    """Return the squared Euclidean distances to the anchor.

    Parameters
    ----------
    embeddings : Tensor
        (B, F, D), frame 0 is the anchor.

    Returns
    -------
    Tensor
        (B, F - 1), the distances of frames 1 to F - 1.
    """
    return (embeddings[:, 1:] - embeddings[:, :1]).square().sum(dim=2)


def aggregate_ranking_loss(embeddings: Tensor, margin: float | Tensor, used: Tensor | None = None) -> Tensor:
    """Return the sum of triplet losses over adjacent frames, averaged over the batch.

    Parameters
    ----------
    embeddings : Tensor
        (B, F, D), frame 0 is the anchor, F >= 3.
    margin : float or Tensor
        How much farther the later frame must be; one for all, or (B, F - 2).
    used : Tensor, optional
        (B, F - 2) bool: which adjacent frames are compared; default all.

    Returns
    -------
    Tensor
        Scalar: ``mean_b sum_i max(0, d(b, i) - d(b, i + 1) + margin)``.
    """
    distances = anchor_distances(embeddings)
    losses = torch.relu(distances[:, :-1] - distances[:, 1:] + margin)
    return (losses if used is None else losses * used).sum(dim=1).mean()


def within_clip_contrast(embeddings: Tensor, seconds: Tensor, temperature: float, min_s: float) -> Tensor:
    """Return how badly each frame's neighbour in time is told from frames of its clip that are far in time.

    A tuple's frames share person, background and camera, so telling them apart takes what changes. For each frame the
    nearest other frame of its tuple is the positive; negatives are those at least ``min_s`` and three times the
    positive's distance away. Source: InfoNCE, van den Oord et al., "Representation learning with contrastive
    predictive coding", 2018, equation 4.

    Parameters
    ----------
    embeddings : Tensor
        (B, F, D) of unit length.
    seconds : Tensor
        (B, F) signed distance in time to the anchor.
    temperature : float
        Divides the cosine similarities.
    min_s : float
        Least distance in seconds of a negative.

    Returns
    -------
    Tensor
        Scalar, the mean over tuples of means over frames that have a negative; a tuple without one counts 0.
    """
    similarity = embeddings @ embeddings.transpose(1, 2) / temperature
    apart = (seconds[:, None, :] - seconds[:, :, None]).abs()
    others = apart.masked_fill(torch.eye(apart.shape[1], dtype=torch.bool, device=apart.device), torch.inf)
    nearest, place = others.min(dim=2)
    negative = others.isfinite() & (apart >= torch.clamp(3 * nearest, min=min_s)[:, :, None] - TOLERANCE_S)
    positive = similarity.gather(2, place[:, :, None]).squeeze(2)
    far = torch.logsumexp(similarity.masked_fill(~negative, NEVER), dim=2)
    used = negative.any(dim=2)
    losses = functional.softplus(far - positive) * used
    return (losses.sum(dim=1) / used.sum(dim=1).clamp(min=1)).mean()


def subject_spread(embeddings: Tensor) -> Tensor:
    """Return the share of the embeddings' variance that lies between tuples, most of which show different people.

    Parameters
    ----------
    embeddings : Tensor
        (B, F, D), B >= 2.

    Returns
    -------
    Tensor
        Scalar in 0..1: variance of the tuples' means over all variance.
    """
    means = embeddings.mean(dim=1, keepdim=True)
    between = (means - means.mean(dim=0, keepdim=True)).square().sum(dim=2).mean()
    within = (embeddings - means).square().sum(dim=2).mean()
    return between / (between + within + 1e-8)


def ranked_pairs(embeddings: Tensor) -> Tensor:
    """Tell which adjacent pairs are in order.

    Returns
    -------
    Tensor
        (B, F - 2) bool: the nearer frame of the pair is strictly nearer to the anchor; a tie is not in order.
    """
    distances = anchor_distances(embeddings)
    return distances[:, :-1] < distances[:, 1:]
