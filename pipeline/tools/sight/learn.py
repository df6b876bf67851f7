"""Training of the judge of visibility on drawn samples."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from tclr.pipeline.au import Judge

BATCH_SIZE = 128
LEARNING_RATE, WEIGHT_DECAY = 0.003, 0.02


def train_judge(crops: np.ndarray, shares: np.ndarray, epochs: int, seed: int) -> Judge:
    """Return a judge that learnt the visible shares (n, 5) of crops (n, 64, 64, 3) uint8: soft cross entropy, AdamW."""
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    judge = Judge().train()
    optimiser = torch.optim.AdamW(judge.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * (len(crops) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for _ in range(epochs):
        order = torch.randperm(len(crops))[: len(crops) // BATCH_SIZE * BATCH_SIZE].view(-1, BATCH_SIZE)
        for batch in order:
            x = torch.from_numpy(crops[batch.numpy()]).permute(0, 3, 1, 2).float()
            loss = functional.binary_cross_entropy_with_logits(judge(x), torch.from_numpy(shares[batch.numpy()]))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return judge.eval()


@torch.inference_mode()
def judge_samples(judge: Judge, crops: np.ndarray) -> np.ndarray:
    """Return the visible shares (n, 5) float32 of crops (n, 64, 64, 3) uint8."""
    blocks = (crops[start : start + BATCH_SIZE] for start in range(0, len(crops), BATCH_SIZE))
    return np.concatenate([torch.sigmoid(judge(torch.from_numpy(b).permute(0, 3, 1, 2).float())).numpy() for b in blocks])
