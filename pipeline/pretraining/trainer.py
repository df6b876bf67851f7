"""The trainer: model, optimizer, progress and steps of one run.

Random numbers have no state: anchors depend on seed and epoch, augmentation on numbers that come with each tuple. Each
step depends on its number alone, so a resumed run ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tclr.pipeline.encoder import EncoderInfo, augment, default_device, encoder_digest
from tclr.pipeline.pretraining.data import open_data
from tclr.pipeline.pretraining.model import build_model, describe_encoder, start_encoder
from tclr.pipeline.pretraining.optimisation import learning_rate, make_optimizer
from tclr.pipeline.pretraining.processes import Processes, plan_steps, share_batch_statistics
from tclr.pipeline.pretraining.runlog import RunningMeans, add_states
from tclr.pipeline.tuples import TupleBatch, load_batches
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import TclrError


class Trainer:
    """A run: its data, model, optimizer and progress, and the steps of an epoch.

    ``init`` are initial weights (``start_encoder``). By default this is the only process, on the GPU if there is one.

    Raises
    ------
    StoreError, InputError, ModelError, SettingError
        If the store, ``init`` and the settings do not match: see ``open_data``, ``plan_steps``, ``load_weights``.

    Examples
    --------
    >>> from tclr.schemas.config import PretrainConfig
    >>> config = PretrainConfig(anchors_per_clip=3, batch_size=2, image_size=32, embedding_dim=8)
    >>> trainer = Trainer(Path("store"), config, init=None)
    >>> list(trainer.steps()), trainer.steps_done, trainer.tuples_done
    ([2, 1], 2, 3)
    """

    def __init__(
        self, store: Path, config: PretrainConfig, init: Path | str | None, processes: Processes | None = None
    ) -> None:
        self.store, self.config, self.init = store, config, init
        self.processes = processes or Processes(default_device())
        self.device = self.processes.device
        self.data = open_data(store, config)
        self.plan = plan_steps(len(self.data.train_tuples), config, self.processes.count)
        encoder, before = start_encoder(config, init)
        self.info = describe_encoder(config, self.data, before)
        self.start_digest = encoder_digest(encoder, self.info)
        self.model = build_model(encoder, self.info, config, self.data, self.device)
        if self.processes.count > 1:
            share_batch_statistics(self.model, self.device)
        self.optimizer = make_optimizer(self.model, config)
        self.means = RunningMeans()
        self.epoch, self.step = 0, 0
        self.history: list[dict[str, Any]] = []

    @property
    def steps_done(self) -> int:
        """Steps done in the run."""
        return self.epoch * len(self.plan) + self.step

    @property
    def tuples_done(self) -> int:
        """Tuples done in the run."""
        in_epoch = sum(len(micro) for step in self.plan[: self.step] for micro in step)
        return self.epoch * len(self.data.train_tuples) + in_epoch

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step of the run, counted from 0."""
        return learning_rate(step, len(self.plan), self.config)

    def info_now(self) -> EncoderInfo:
        """Return the info of the encoder as trained so far."""
        return replace(self.info, epochs=self.epoch)

    def steps(self) -> Iterator[int]:
        """Do the remaining steps of the epoch; yield after each its number of tuples, over all processes."""
        tuples, todo = self.data.train_tuples, self.plan[self.step :]
        self.model.train()
        tuples.epoch = self.epoch
        shares = [[self.processes.share(micro) for micro in step] for step in todo]
        wanted = [share for step in shares for share in step if share]
        batches = load_batches(tuples, wanted, num_workers=self.config.num_workers, device=self.device)
        for step, mine in zip(todo, shares, strict=True):
            n_tuples = sum(len(micro) for micro in step)
            self._take_step(mine, batches, n_tuples)
            self.step += 1
            yield n_tuples

    @cached_property
    def parallel(self) -> nn.Module:
        """The model with gradients averaged over processes, made at the first step: after a checkpoint is loaded."""
        if self.config.compile:
            self.model.encoder.compile()
        return self.model if self.processes.count == 1 else DistributedDataParallel(self.model)

    def _take_step(self, shares: Sequence[Sequence[int]], batches: Iterator[TupleBatch], n_tuples: int) -> None:
        """Accumulate the gradients of this process's shares of a step's micro-batches, and update the weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.steps_done)
        self.optimizer.zero_grad(set_to_none=True)
        parallel = self.parallel
        for i, share in enumerate(shares):
            last = i + 1 == len(shares)  # its backward averages all gradients over the processes
            with parallel.no_sync() if isinstance(parallel, DistributedDataParallel) and not last else nullcontext():
                self._backward(next(batches) if share else None, n_tuples)
        if self.config.grad_clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.optimizer.step()

    def _backward(self, batch: TupleBatch | None, n_tuples: int) -> None:
        """Add a micro-batch's part of the gradient of the mean loss over the step's ``n_tuples``."""
        if batch is None:
            x = torch.zeros(0, 3, self.config.image_size, self.config.image_size, device=self.device)
            self.parallel(x, None)["loss"].backward()
            return
        losses = self.parallel(augment(batch.frames, batch.draws, self.config), batch)
        share = len(batch) / n_tuples * self.processes.count  # compensates the average over processes
        (losses["loss"] * share).backward()
        self.means.add(losses, len(batch))

    def sums_of_all(self) -> dict[str, Any]:
        """Return the state of the epoch's running means over all processes."""
        return add_states(self.processes.gather(self.means.state()))

    def check_finite(self) -> None:
        """Raise if training has diverged, before weights are written.

        Raises
        ------
        TclrError
            If a loss or the weights are no longer finite.
        """
        weights = torch.cat([value.float().flatten() for value in self.model.state_dict().values()])
        values = {f"the {name} of": value for name, value in self.means.state()["sums"].items()}
        values["the size of all weights in"] = weights.abs().sum().item()
        for what, value in values.items():
            if not math.isfinite(value):
                raise TclrError(
                    f"Expected a finite number, but {what} epoch {self.epoch + 1}, up to step {self.step}, "
                    f"became {value}. Lower --learning-rate (now {self.config.learning_rate}) and start again "
                    "with --no-resume."
                )

    def end_epoch(self, line: dict[str, Any]) -> None:
        """Add an epoch's line to the history and advance to the next epoch."""
        self.history.append(line)
        self.epoch, self.step, self.means = self.epoch + 1, 0, RunningMeans()
