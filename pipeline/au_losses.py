"""Losses of AU heads, and how they meet rare AUs and unknown labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tclr.schemas.action_units import ABSENT, PRESENT

MAX_POSITIVE_WEIGHT = 10.0
"""Largest weight of a present frame; chosen by us: beyond it a few frames of a few people would rule."""
FOCUS, MARGIN = 4.0, 0.05
"""Exponent and margin of absent frames in the asymmetric loss; those of present ones are 0, as in the paper."""


def positive_weights(labels: np.ndarray) -> np.ndarray:
    """Return the weight of a present frame of each AU: absent frames for each present one, from 1/10 to 10.

    Parameters
    ----------
    labels : ndarray
        (N, A) int8, -1 unknown.

    Returns
    -------
    ndarray
        (A,) float32.
    """
    present, absent = (labels == PRESENT).sum(axis=0), (labels == ABSENT).sum(axis=0)
    ratio = absent / np.maximum(present, 1)
    return ratio.clip(1 / MAX_POSITIVE_WEIGHT, MAX_POSITIVE_WEIGHT).astype(np.float32)


def occurrence_loss(logit: Tensor, label: Tensor, kind: str, positive_weight: Tensor) -> Tensor:
    """Return the mean loss over the known labels.

    Parameters
    ----------
    logit : Tensor
        (B, A).
    label : Tensor
        (B, A) float: 1 present, 0 absent, NaN unknown.
    kind : str
        ``bce``: cross entropy. ``weighted``: with ``positive_weight`` on present frames. ``asymmetric``: with p the
        probability and q = max(p - 0.05, 0), ``-log p`` where present and ``-q^4 log(1 - q)`` where absent, so that
        easy absent frames count for little: Ridnik et al., "Asymmetric Loss for Multi-Label Classification", ICCV 2021,
        equation 7, with the paper's exponents and margin.
    positive_weight : Tensor
        (A,) see ``positive_weights``.

    Returns
    -------
    Tensor
        Scalar; 0 if no label is known.
    """
    known = torch.isfinite(label)
    label = torch.where(known, label, 0.0)
    if kind == "asymmetric":
        q = (torch.sigmoid(logit) - MARGIN).clamp(min=0)
        loss = -label * functional.logsigmoid(logit) - (1 - label) * q**FOCUS * torch.log1p(-q)
    else:
        weight = positive_weight if kind == "weighted" else None
        loss = functional.binary_cross_entropy_with_logits(logit, label, pos_weight=weight, reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def intensity_loss(predicted: Tensor, intensity: Tensor) -> Tensor:
    """Return the mean squared error over the known intensities, (B, A), NaN unknown; 0 if none is known."""
    known = torch.isfinite(intensity)
    error = torch.where(known, predicted - torch.where(known, intensity, 0.0), 0.0)
    return (error**2).sum() / known.sum().clamp(min=1)
