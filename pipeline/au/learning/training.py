"""Training of heads that are networks: losses, batches, and early stopping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tclr.pipeline.au.labelled import LabelledFrames
from tclr.schemas.action_units import ABSENT, PRESENT, UNKNOWN
from tclr.schemas.errors import TclrError

PATIENCE = 5
"""Epochs without a lower loss on held-out subjects after which training ends."""


@dataclass(frozen=True)
class HeadLoss:
    """The loss of a batch: occurrence and intensity, each where it is known.

    ``label`` and ``intensity`` are (N, A) float32, NaN unknown; ``positive_weight`` (A,); ``kind`` as in
    ``occurrence_loss``.
    """

    kind: str
    label: Tensor
    intensity: Tensor
    positive_weight: Tensor

    @classmethod
    def of(cls, frames: LabelledFrames, kind: str, positive_weight: Tensor | None = None) -> HeadLoss:
        """Take labels from frames, and the weights unless they are given."""
        label = np.where(frames.labels == UNKNOWN, np.nan, frames.labels).astype(np.float32)
        if positive_weight is None:
            positive_weight = torch.from_numpy(positive_weights(frames.labels))
        return cls(kind, torch.from_numpy(label), torch.from_numpy(frames.intensities), positive_weight)

    def __call__(self, output: Tensor, index: Tensor) -> Tensor:
        """Return the loss of (n, 2 A) outputs, logits and then intensities, for the frames of an (n,) index."""
        logit, intensity = output.float().chunk(2, dim=1)
        label, true = self.label[index].to(output.device), self.intensity[index].to(output.device)
        weight = self.positive_weight.to(output.device)
        return occurrence_loss(logit, label, self.kind, weight) + intensity_loss(intensity, true)


def batches(n_frames: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the (n,) int64 index of each batch of an epoch, shuffled; a last batch of a single frame is left out."""
    for index in torch.randperm(n_frames, generator=generator).split(size):
        if len(index) > 1 or n_frames == 1:  # one frame has no batch statistics
            yield index


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    n_epochs: int,
    losses: Callable[[], Iterable[Tensor]],
    held_out_loss: Callable[[], float] | None,
) -> int:
    """Train a model in place for at most ``n_epochs``; return the number of epochs that its weights come from.

    ``losses`` yields the loss of each batch of an epoch. With ``held_out_loss``, the weights of the epoch with the
    lowest loss on held-out subjects are kept; without, all epochs are done.

    Raises
    ------
    TclrError
        If the held-out loss is never finite.
    """
    best, kept, best_epoch = float("inf"), None, 0
    for epoch in range(1, n_epochs + 1):
        model.train()
        for loss in losses():
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if held_out_loss is None:
            continue
        model.eval()
        with torch.no_grad():
            loss_now = held_out_loss()
        if loss_now < best:
            best, kept, best_epoch = loss_now, deepcopy(model.state_dict()), epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    if held_out_loss is not None and kept is None:
        raise TclrError(
            f"Expected a finite loss on held-out subjects, but got none in {n_epochs} epochs. Lower the learning rate."
        )
    if kept is not None:
        model.load_state_dict(kept)
    model.eval()
    return best_epoch if held_out_loss is not None else n_epochs


MAX_POSITIVE_WEIGHT = 10.0
"""Largest weight of a present frame: beyond it a few frames of a few people would dominate."""
FOCUS, MARGIN = 4.0, 0.05
"""Exponent and margin of absent frames in the asymmetric loss; those of present ones are 0, as in the paper."""


def positive_weights(labels: np.ndarray) -> np.ndarray:
    """Return (A,) float32, the weight of a present frame of each AU: absent frames per present one, from 1/10 to 10.

    ``labels`` are (N, A) int8, -1 unknown.
    """
    present, absent = (labels == PRESENT).sum(axis=0), (labels == ABSENT).sum(axis=0)
    ratio = absent / np.maximum(present, 1)
    return ratio.clip(1 / MAX_POSITIVE_WEIGHT, MAX_POSITIVE_WEIGHT).astype(np.float32)


def occurrence_loss(logit: Tensor, label: Tensor, kind: str, positive_weight: Tensor) -> Tensor:
    """Return the mean loss over the known labels.

    Parameters
    ----------
    logit, label : Tensor
        (B, A); labels are 1 present, 0 absent, NaN unknown.
    kind : str
        ``bce``: cross entropy. ``weighted``: with ``positive_weight`` on present frames. ``asymmetric``: with p the
        probability and q = max(p - 0.05, 0), ``-log p`` where present and ``-q^4 log(1 - q)`` where absent, so that
        easy absent frames count for little: Ridnik et al., "Asymmetric Loss for Multi-Label Classification", ICCV 2021,
        equation 7, with the paper's exponents and margin.
    positive_weight : Tensor
        (A,), see ``positive_weights``.

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
