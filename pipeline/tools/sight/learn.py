"""Training of the judge of visibility on drawn samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from tclr.pipeline.au import Judge, JudgeNetwork, to_input

BATCH_SIZE = 128
LEARNING_RATE, WEIGHT_DECAY = 0.003, 0.02


def train_judge(
    crops: np.ndarray, shares: np.ndarray, epochs: int, seed: int, tell: Callable[[int, int], None]
) -> Judge:
    """Return a judge that learnt the visible shares (n, 5) float32 of crops (n, 64, 64, 3) uint8.

    Soft cross entropy, AdamW, one cycle of the learning rate. ``tell`` gets epochs done and in total.
    """
    torch.manual_seed(seed)
    network, n_batches = JudgeNetwork().train(), len(crops) // BATCH_SIZE
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, LEARNING_RATE, total_steps=epochs * n_batches, pct_start=0.1
    )
    for epoch in range(epochs):
        tell(epoch, epochs)
        for batch in np.array_split(torch.randperm(len(crops)).numpy(), n_batches):
            loss = functional.binary_cross_entropy_with_logits(
                network(to_input(crops[batch])), torch.from_numpy(shares[batch])
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    tell(epochs, epochs)
    return network.judge()
