"""The fine-tuned head: the encoder's own weights are trained with a linear head, on augmented crops."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from tclr.pipeline.au.inputs.degrade import degrade
from tclr.pipeline.au.labelled import LabelledFrames, embed_crops
from tclr.pipeline.au.learning.frozen import fit_linear
from tclr.pipeline.au.learning.training import HeadLoss, batches, train
from tclr.pipeline.au.readout import Readout, column_scale
from tclr.pipeline.encoder import N_DRAWS, LoadedEncoder, TemporalEncoder, TorchEncoder, augment, normalise, to_input
from tclr.schemas.config import FitAuConfig, PretrainConfig


class _Network(nn.Module):
    """The encoder, then the linear head on standardised embeddings: (N, 3, H, W) to (N, 2 A)."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: TemporalEncoder, embeddings: np.ndarray, readout: Readout) -> None:
        super().__init__()
        self.encoder = encoder
        mean, std = column_scale(embeddings)
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("std", torch.from_numpy(std))
        weight = np.nan_to_num(np.concatenate([readout.weight, readout.intensity_weight]))
        bias = np.nan_to_num(np.concatenate([readout.bias, readout.intensity_bias]))
        self.head = nn.Linear(weight.shape[1], len(weight))
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight * std))
            self.head.bias.copy_(torch.from_numpy(bias + weight @ mean))

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.encoder(x) - self.mean) / self.std)

    def readout(self) -> Readout:
        """Return the head for embeddings that are not standardised."""
        mean, std = self.mean.cpu().double().numpy(), self.std.cpu().double().numpy()
        weight = self.head.weight.detach().cpu().double().numpy() / std
        bias = self.head.bias.detach().cpu().double().numpy() - weight @ mean
        weights, biases = np.split(weight.astype(np.float32), 2), np.split(bias.astype(np.float32), 2)
        return Readout(weights[0], biases[0], weights[1], biases[1])


@torch.no_grad()
def round_to_half(model: nn.Module) -> None:
    """Round a network's parameters to 16 bits, so that a head's file can hold them so; statistics stay exact."""
    for parameter in model.parameters():
        parameter.copy_(parameter.half().float())


class _Course:
    """The losses of fine-tuning, on the frames to learn from and on held-out ones."""

    def __init__(
        self,
        model: _Network,
        frames: LabelledFrames,
        encoder: LoadedEncoder,
        config: FitAuConfig,
        progress: Callable[[int, int], None],
    ) -> None:
        self.model, self.frames, self.config, self.progress = model, frames, config, progress
        self.device, self.info = encoder.device, encoder.info
        self.view = PretrainConfig(image_size=self.info.image_size, crop_ratio=self.info.crop_ratio)
        self.loss = HeadLoss.of(frames, config.loss)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": list(model.encoder.parameters()), "lr": config.encoder_learning_rate},
                {"params": list(model.head.parameters()), "lr": config.learning_rate},
            ],
            weight_decay=config.weight_decay,
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.generator = torch.Generator().manual_seed(config.seed)
        self.n_seen, self.n_all = 0, config.epochs * len(frames)
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and self.device.type == "cuda")

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.model(normalise(x, self.info))

    def read(self, frames: LabelledFrames, index: Tensor, seeds: Tensor) -> Tensor:
        """Return the crops of an (n,) index, some of them spoilt."""
        crops = degrade(frames.crops(index.numpy()), self.config.degrade, seeds.numpy())
        return torch.from_numpy(crops).to(self.device)

    def losses(self) -> Iterator[Tensor]:
        """Yield the loss of each batch of an epoch, on augmented crops; both learning rates fall meanwhile."""
        for index in batches(len(self.frames), self.config.batch_size, self.generator):
            seeds = torch.randint(2**62, (len(index),), generator=self.generator)
            crops = self.read(self.frames, index, seeds)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * self.n_seen / self.n_all))
            draws = torch.rand(len(index), 1, N_DRAWS, generator=self.generator).to(self.device)
            yield self.loss(self.forward(augment(crops[:, None], draws, self.view)), index)
            self.n_seen += len(index)
            self.progress(self.n_seen, self.n_all)

    def held_out_loss(self, held_out: LabelledFrames) -> float:
        """Return the mean loss over held-out frames, each spoilt the same way in every epoch."""
        loss, total = HeadLoss.of(held_out, self.config.loss, self.loss.positive_weight), 0.0
        for index in torch.arange(len(held_out)).split(self.config.batch_size):
            crops = self.read(held_out, index, index)
            total += len(index) * loss(self.forward(to_input(crops, self.info)), index).item()
        return total / len(held_out)


def fine_tune(
    frames: LabelledFrames,
    held_out: LabelledFrames | None,
    encoder: LoadedEncoder,
    config: FitAuConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Readout, LoadedEncoder]:
    """Train a copy of an encoder and a linear head on crops.

    The head starts as the linear probe of the frozen encoder, so that the first steps do not spoil the encoder
    (Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022). Both
    learn by AdamW, the encoder at a lower rate; both rates fall to 0 along half a cosine. Crops are augmented as in
    pretraining; some are spoilt first (``degrade``). With held-out subjects, the weights of the best epoch on them are
    kept; their crops are spoilt as often. On the CPU of one machine, the same frames and settings give the same
    weights.

    Parameters
    ----------
    frames, held_out : LabelledFrames
        Frames to learn from; frames of other subjects to stop by, or None. Only their crops and labels are used.
    encoder : LoadedEncoder
        The start; it is not changed.
    config : FitAuConfig
        Settings.
    progress : callable
        Called with frames seen and frames in total, over at most ``epochs`` epochs.

    Returns
    -------
    (Readout, LoadedEncoder)
        The head and the encoder that it belongs to.
    """
    frames = replace(frames, inputs=embed_crops(encoder, frames))
    start = fit_linear(frames, config.model_copy(update={"loss": "bce"}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = _Network(deepcopy(encoder.model), frames.inputs, start).to(encoder.device)
    course = _Course(model, frames, encoder, config, progress)
    held_out_loss = None if held_out is None else partial(course.held_out_loss, held_out)
    if config.epochs:
        train(model, course.optimizer, config.epochs, course.losses, held_out_loss)
    if config.half:
        round_to_half(model.encoder)
    readout = model.readout().without(~frames.occurrence_known, ~frames.intensity_known)
    info = encoder.info
    everyone = {*info.subjects, *frames.people(), *(held_out.people() if held_out is not None else ())}
    recipe = f"{info.recipe}, fine-tuned"
    learnt = replace(info, recipe=recipe, subjects=tuple(sorted(everyone)), n_subjects=len(everyone), supervised=True)
    return readout, TorchEncoder(model.encoder, learnt, encoder.device)
