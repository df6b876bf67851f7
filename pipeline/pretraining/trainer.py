"""The trainer: model, optimizer and data of a run, one step, and the look at held-out subjects.

Nothing random has a state: anchors follow from seed and epoch, augmentation from numbers that come with each tuple.
What a step does follows from its number alone, so a run that was interrupted and resumed ends with the weights of one
that was not.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tclr.pipeline.encoder import (
    EncoderInfo,
    TemporalEncoder,
    augment,
    build_encoder,
    default_device,
    encoder_digest,
    load_weights,
    normalise,
    read_weights,
    to_input,
)
from tclr.pipeline.pretraining.objective import Objective, targets_for
from tclr.pipeline.pretraining.optimisation import learning_rate, make_optimizer
from tclr.pipeline.pretraining.processes import Processes, plan_steps, share_batch_statistics
from tclr.pipeline.pretraining.runlog import RunningMeans, add_states
from tclr.pipeline.store import Store, hash_data, leave_out
from tclr.pipeline.tuples import TupleBatch, TupleDataset, index_clips, load_batches, split_subjects
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import SettingError, TclrError

logger = logging.getLogger("tclr.pretrain")

MAX_WATCHED_TUPLES = 1024
"""Most held-out tuples that are looked at after an epoch; chosen by us: 10,000 pairs tell half a percent."""


class PretrainModel(nn.Module):
    """Encoder and objective as one module, so that their gradients travel together.

    Parameters
    ----------
    encoder : TemporalEncoder
        The network that is released.
    objective : Objective
        What it is trained for; its own parameters are trained, too.
    info : EncoderInfo
        Input transform.
    bf16 : bool
        Whether the encoder calculates in bfloat16; the objective never does.
    """

    def __init__(self, encoder: TemporalEncoder, objective: Objective, info: EncoderInfo, bf16: bool) -> None:
        super().__init__()
        self.encoder, self.objective, self.info, self.bf16 = encoder, objective, info, bf16

    def embed(self, encoder: nn.Module, x: Tensor, n_tuples: int) -> Tensor:
        """Embed (B * F, 3, H, W) pictures in 0..1 at once: (B, F, D) float32."""
        # a process without tuples takes part in batch statistics, which must have one dtype everywhere
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16 and n_tuples > 0):
            embeddings = encoder(normalise(x, self.info))
        embeddings = embeddings.to(torch.get_default_dtype())
        return embeddings.view(n_tuples, -1, embeddings.shape[-1]) if n_tuples else embeddings

    def forward(self, x: Tensor, batch: TupleBatch | None) -> tuple[dict[str, Tensor], Tensor]:
        """Return losses, means over the tuples, and embeddings; without a batch a loss of 0 that uses every parameter.

        Parameters
        ----------
        x : Tensor
            (B * F, 3, H, W) float32 in 0..1, augmented.
        batch : TupleBatch or None
            Where they come from; None if this process has none.
        """
        embeddings = self.embed(self.encoder, x, 0 if batch is None else len(batch))
        used = sum(parameter.sum() for parameter in self.objective.parameters()) * 0
        if batch is None:
            return {"loss": embeddings.sum() * 0 + used}, embeddings
        losses = self.objective(embeddings, batch)
        return {**losses, "loss": losses["loss"] + used}, embeddings


@dataclass(frozen=True)
class HeldOut:
    """Embeddings (B, F, D) and seconds (B, F) of held-out tuples, on the CPU, and their mean losses by name."""

    embeddings: Tensor
    seconds: Tensor
    losses: dict[str, float]


class Trainer:
    """Model, optimizer and data of one run, and how far it is.

    Parameters
    ----------
    store : Path
        The store.
    config : PretrainConfig
        Settings.
    init : Path or None
        Weights to start from.
    processes : Processes, optional
        The run's processes; default: this one, on the GPU if there is one.

    Raises
    ------
    StoreError, InputError
        If the store has no crops or of several sizes, or no clip long enough for a tuple.
    ModelError
        If ``init`` cannot be read or does not fit.
    SettingError
        If processes and micro-batches do not divide a step, or ``leave_out`` fits nobody or all.
    """

    def __init__(
        self, store: Path, config: PretrainConfig, init: Path | None, processes: Processes | None = None
    ) -> None:
        self.config, self.store, self.init = config, store, init
        self.processes = processes or Processes(default_device())
        self.device = self.processes.device
        with Store(store) as opened:
            opened.require_frames(opened.clips)
            wanted = leave_out(opened.subjects, config.leave_out, store)
            usable = sorted({info.subject for info in index_clips(opened, wanted, config)})
            self.train_subjects, self.val_subjects = split_subjects(usable, config.val_share, config.seed)
            crop_size = opened.crop_size()  # raises now if sizes differ, not in the midst of an epoch
            root = opened.clips[0].root
            self.data_hash = hash_data(opened.clips)
            self.au_names = sorted({name for info in opened.clips for name in opened.names(info, "au")})
        self.info = EncoderInfo(
            embedding_dim=config.embedding_dim,
            image_size=config.image_size,
            crop_ratio=config.crop_ratio,
            arch=config.arch,
            recipe=config.recipe,
            seed=config.seed,
            detect_hash=root["detect_hash"],
            align_hash=root["align_hash"],
            data_hash=self.data_hash,
            crop_size=crop_size,
            n_subjects=len(self.train_subjects),
            **self._seen(root["dataset"]),
            tclr_version=version("tclr-face"),
        )
        self.train_tuples = self._tuples(self.train_subjects, config.anchors_per_clip)
        self.watched_tuples = self._tuples(self.val_subjects or self.train_subjects, 0)
        self._check_targets()
        self.plan = plan_steps(len(self.train_tuples), config, self.processes.count)
        encoder = self.start_encoder()
        self.start_digest = encoder_digest(encoder, self.info)
        encoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        objective = Objective(config, self.train_tuples.n_targets)
        if config.geometry_weight and self.train_tuples.n_targets:  # no other targets are whitened
            objective.fit_targets(self.train_tuples.sample_targets())
        objective.to(self.device)
        bf16 = config.precision == "bf16" or (config.precision == "auto" and self.device.type == "cuda")
        self.model = PretrainModel(encoder, objective, self.info, bf16)
        if self.processes.count > 1:
            share_batch_statistics(self.model, self.device)
        self.optimizer = make_optimizer(self.model, config)
        self.means = RunningMeans()
        self.epoch = 0
        self.step = 0
        self.history: list[dict[str, Any]] = []

    def _seen(self, dataset: str) -> dict[str, Any]:
        """Return who the encoder will have learnt from, and whether from labels, here or where it starts from."""
        before = read_weights(self.init)[1] if self.init is not None else None
        before = before or EncoderInfo()
        subjects = {f"{dataset}/{subject}" for subject in self.train_subjects} | set(before.subjects)
        supervised = before.supervised or self.config.supervision_weight > 0
        return {"subjects": tuple(sorted(subjects)), "supervised": supervised}

    def _check_targets(self) -> None:
        """See that there is something to learn from."""
        config, n_targets = self.config, self.train_tuples.n_targets
        if config.supervision_weight and not n_targets:
            raise SettingError(
                f"Expected AU labels in {self.store} for 'supervision_weight', but it has none. Give a store with "
                "labels, or leave it 0."
            )
        if not (config.ranking_weight or n_targets):
            raise SettingError(
                f"Expected a loss, but 'ranking_weight' is 0, and 'geometry_weight' is 0 or {self.store} has no "
                "landmarks. Set one of the weights."
            )
        if config.geometry_weight and not n_targets:
            logger.warning("%s has no landmarks that geometry knows: it is left out.", self.store)

    def start_encoder(self) -> TemporalEncoder:
        """Return the encoder that training starts from, on the CPU."""
        encoder = build_encoder(self.config.embedding_dim, self.config.seed, self.config.arch)
        if self.init is not None:
            load_weights(encoder, self.init)
        return encoder

    def _tuples(self, subjects: list[str], anchors_per_clip: int) -> TupleDataset:
        return TupleDataset(
            self.store,
            subjects,
            self.config,
            anchors_per_clip=anchors_per_clip,
            targets=targets_for(self.config, self.au_names),
        )

    @property
    def steps_done(self) -> int:
        """Steps done in the run."""
        return self.epoch * len(self.plan) + self.step

    @property
    def tuples_done(self) -> int:
        """Tuples done in the run."""
        return self.epoch * len(self.train_tuples) + sum(
            len(micro) for step in self.plan[: self.step] for micro in step
        )

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of one of the run's steps, from 0."""
        return learning_rate(step, len(self.plan), self.config)

    def info_now(self) -> EncoderInfo:
        """Return the info of an encoder trained so far."""
        return replace(self.info, epochs=self.epoch)

    def steps(self) -> Iterator[int]:
        """Do the rest of the epoch's steps; yield after each the number of its tuples, over all processes."""
        parallel = self.parallel
        self.model.train()
        self.train_tuples.set_epoch(self.epoch)
        todo = self.plan[self.step :]
        shares = [[self.processes.share(micro) for micro in step] for step in todo]
        wanted = [share for step in shares for share in step if share]
        batches = load_batches(self.train_tuples, wanted, num_workers=self.config.num_workers, device=self.device)
        for step, mine in zip(todo, shares, strict=True):
            n_tuples = sum(len(micro) for micro in step)
            rate = self.learning_rate(self.steps_done)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.zero_grad(set_to_none=True)
            for i, share in enumerate(mine):
                last = i + 1 == len(mine)
                with (
                    parallel.no_sync() if isinstance(parallel, DistributedDataParallel) and not last else nullcontext()
                ):
                    self._backward(next(batches) if share else None, n_tuples)
            if self.config.grad_clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
            self.optimizer.step()
            self.step += 1
            yield n_tuples

    @cached_property
    def parallel(self) -> nn.Module:
        """The model as it is trained: its gradients are averaged over processes. First used after a checkpoint."""
        if self.config.compile:
            self.model.encoder.compile()
        return self.model if self.processes.count == 1 else DistributedDataParallel(self.model)

    def _backward(self, batch: TupleBatch | None, n_tuples: int) -> None:
        """Add a micro-batch's part of the gradient of the mean loss over a step of ``n_tuples``."""
        if batch is None:
            x = torch.zeros(0, 3, self.config.image_size, self.config.image_size, device=self.device)
            losses, _ = self.parallel(x, None)
            losses["loss"].backward()
            return
        losses, _ = self.parallel(augment(batch.frames, batch.draws, self.config), batch)
        share = len(batch) / n_tuples * self.processes.count  # gradients are averaged over processes
        (losses["loss"] * share).backward()
        self.means.add(losses, len(batch))

    def sums_of_all(self) -> dict[str, Any]:
        """Return the state of the epoch's running means over all processes."""
        return add_states(self.processes.gather(self.means.state()))

    def check_finite(self) -> None:
        """Stop a run that has exploded, before its weights are written anywhere.

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
        """Take in an epoch's line of the log and be ready for the next epoch."""
        self.history.append(line)
        self.epoch, self.step, self.means = self.epoch + 1, 0, RunningMeans()

    @torch.no_grad()
    def look(self, encoder: TemporalEncoder) -> HeldOut:
        """Embed held-out tuples without augmentation, each process its part; all get the whole.

        Without held-out subjects, the tuples are those of subjects that are trained on.
        """
        encoder.eval()
        self.model.objective.eval()
        n_watched = min(len(self.watched_tuples), MAX_WATCHED_TUPLES)
        chosen = np.linspace(0, len(self.watched_tuples) - 1, n_watched).round().astype(int).tolist()
        mine = self.processes.share(chosen)
        size = max(self.config.batch_size // (self.config.accumulate * self.processes.count), 1)
        parts = [mine[i : i + size] for i in range(0, len(mine), size)]
        means, embeddings, seconds = RunningMeans(), [], []
        for batch in load_batches(
            self.watched_tuples, parts, num_workers=0, device=self.device
        ):  # a second set is too much
            x = to_input(batch.frames.flatten(0, 1), self.info)
            embedded = self.model.embed(encoder, x, len(batch))
            means.add(self.model.objective(embedded, batch), len(batch))
            embeddings.append(embedded.cpu())
            seconds.append(batch.seconds.cpu())
        everyone = self.processes.gather((embeddings, seconds, means.state()))
        total = add_states([state for _, _, state in everyone])
        return HeldOut(
            torch.cat([part for parts, _, _ in everyone for part in parts]),
            torch.cat([part for _, parts, _ in everyone for part in parts]),
            {name: value / total["n_tuples"] for name, value in total["sums"].items()},
        )
