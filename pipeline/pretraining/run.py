"""Temporal-consistency pretraining: read top to bottom.

Each step takes a batch of tuples, sends all frames of all tuples through the encoder at once, and asks that every
frame lie nearer to the anchor than the next one, and for what the recipe adds (``objective.py``). ``trainer.py`` does
the steps; here is what surrounds them: resuming, checkpoints, logs, warnings, and the encoder at the end.

Source: Lu, Tavabi and Soleymani, BMVC 2020. Known flaws of the paper's own trainer are avoided: anchors are redrawn
every epoch, and a last partial batch counts by its size.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tclr.pipeline.encoder import save_encoder
from tclr.pipeline.pretraining.checkpoint import Checkpoints, load_checkpoint
from tclr.pipeline.pretraining.model import start_encoder
from tclr.pipeline.pretraining.processes import open_processes
from tclr.pipeline.pretraining.runlog import RunLog, means_of
from tclr.pipeline.pretraining.trainer import Trainer
from tclr.pipeline.pretraining.validation import (
    COLLAPSE_STD,
    distance_curve,
    held_out_metrics,
    validate,
    write_distances,
)
from tclr.pipeline.system import remove_abandoned, remove_quietly, write_json
from tclr.schemas.config import PretrainConfig

LOG_EVERY_STEPS = 10
"""Steps between points in TensorBoard and checks that the loss is finite; chosen by us."""

logger = logging.getLogger("tclr.pretrain")


@dataclass(frozen=True)
class PretrainResult:
    """What a run came to; ``history`` has one dictionary per epoch, as in ``log.jsonl``.

    ``resumed_at`` and ``resumed_step`` count the epochs, and the steps in the next one, done before this call.
    ``n_frames`` went through the encoder in training. ``is_main`` is False in all but one process of several.
    """

    run: Path
    encoder: Path
    history: list[dict[str, Any]]
    resumed_at: int
    resumed_step: int
    train_subjects: list[str]
    val_subjects: list[str]
    n_frames: int
    is_main: bool = True


def pretrain(
    store: Path,
    run: Path,
    config: PretrainConfig,
    *,
    init: Path | None = None,
    resume: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warn: Callable[[str], None] = logger.warning,
) -> PretrainResult:
    """Train an encoder on a store, in as many processes as ``torchrun`` started; all must see ``store`` and ``run``.

    Parameters
    ----------
    store, run, config : Path, Path, PretrainConfig
        Store to read; folder for what docs/training.md lists; settings.
    init : Path, optional
        Weights to start from: ImageNet's in torchvision's names, the paper's, or an encoder or run of tclr.
    resume : bool
        Resume from RUN/checkpoint.pt if it is there. A finished run is not trained again: ``resumed_at`` then
        equals ``config.epochs``.
    progress : callable
        Called with tuples done and tuples in all; in the first process only.
    warn : callable
        Called once with one line if the embeddings collapse, after the epoch in which they do.

    Raises
    ------
    InputError
        If no clip is long enough for a tuple.
    SettingError, ModelError
        If the checkpoint or the initial weights do not fit, or processes do not divide a step.
    TclrError
        If the loss or the weights are no longer finite.
    """
    with torch.random.fork_rng(devices=[]), open_processes() as processes:
        torch.manual_seed(config.seed)
        trainer = Trainer(store, config, init, processes)
        if resume and (run / "checkpoint.pt").is_file():
            load_checkpoint(run / "checkpoint.pt", trainer)
        resumed = trainer.epoch, trainer.step
        if processes.is_main:
            _prepare(run, trainer)
        if trainer.epoch < config.epochs:
            _train(run, trainer, progress, warn)
        encoder = run / "encoder.safetensors"
        if processes.agree(resumed[0] < config.epochs or not encoder.is_file()):
            _finish(run, trainer)
        n_frames = trainer.tuples_done * trainer.data.train_tuples.n_frames
        subjects = trainer.data.train_subjects, trainer.data.val_subjects
        return PretrainResult(run, encoder, trainer.history, *resumed, *subjects, n_frames, processes.is_main)


def _prepare(run: Path, trainer: Trainer) -> None:
    """Write the settings; remove what an earlier run left that this one is not, and what a killed one left half."""
    remove_abandoned(run)
    if trainer.epoch < trainer.config.epochs:
        for name in ("encoder.safetensors", "distance.json", "distance.png"):
            remove_quietly(run / name)
    if trainer.steps_done == 0:
        for name in ("checkpoint.pt", "log.jsonl"):
            remove_quietly(run / name)
    settings = trainer.config.model_dump(mode="json")
    write_json(run / "config.json", {"store": str(trainer.store), "init": str(trainer.init or ""), **settings})


def _train(run: Path, trainer: Trainer, progress: Callable[[int, int], None], warn: Callable[[str], None]) -> None:
    """Do all epochs that are left."""
    config, is_main = trainer.config, trainer.processes.is_main
    n_tuples = config.epochs * len(trainer.data.train_tuples)
    warned = False
    with (
        Checkpoints(run / "checkpoint.pt", trainer) as checkpoints,
        RunLog(run, trainer.steps_done) if is_main else nullcontext() as log,
    ):
        if log:
            log.write_history(trainer.history)
            progress(trainer.tuples_done, n_tuples)
        try:
            while trainer.epoch < config.epochs:
                line = _train_epoch(trainer, checkpoints, log, lambda: progress(trainer.tuples_done, n_tuples))
                if log:
                    log.write_history(trainer.history)
                    log.add_scalars("epoch", line, trainer.steps_done)
                checkpoints.write_if_due(trainer.epoch % config.checkpoint_every == 0 or trainer.epoch == config.epochs)
                if is_main and line["embedding_std"] < COLLAPSE_STD and not warned:
                    warned = True
                    warn(_describe_collapse(line))
        finally:
            trainer.data.train_tuples.stop_workers()


def _describe_collapse(line: dict[str, Any]) -> str:
    return (
        f"the embeddings have nearly collapsed to one point after epoch {line['epoch']}: their spread is "
        f"{line['embedding_std']:.3f}, that of random directions is 1. Lower --learning-rate."
    )


def _train_epoch(
    trainer: Trainer, checkpoints: Checkpoints, log: RunLog | None, tick: Callable[[], None]
) -> dict[str, Any]:
    """Do the rest of an epoch's steps, validate, and return the epoch's line of the log."""
    started_s, done_before = time.perf_counter(), trainer.tuples_done
    window = _Window(trainer)
    for _ in trainer.steps():
        last = trainer.step == len(trainer.plan)
        if trainer.step % LOG_EVERY_STEPS == 0 or last:
            trainer.check_finite()
            means = window.close()
            if log:
                log.add_scalars("train", means, trainer.steps_done)
        if not last:
            checkpoints.write_if_due()
        if log:
            tick()
    rate = (trainer.tuples_done - done_before) / (time.perf_counter() - started_s)
    line = {**_epoch_line(trainer), "tuples_per_s": rate}
    trainer.end_epoch(line)
    return line


class _Window:
    """Means over the steps since the last point of the log, of all processes."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.before, self.started_s = trainer.sums_of_all(), time.perf_counter()

    def close(self) -> dict[str, float]:
        """Return means of the losses, and tuples per second; the next window begins."""
        before, started_s = self.before, self.started_s
        self.before, self.started_s = self.trainer.sums_of_all(), time.perf_counter()
        n_tuples = self.before["n_tuples"] - before["n_tuples"]
        since = {name: value - before["sums"].get(name, 0.0) for name, value in self.before["sums"].items()}
        means = means_of({"n_tuples": n_tuples, "sums": since})
        return {**means, "tuples_per_s": n_tuples / (self.started_s - started_s)}


def _epoch_line(trainer: Trainer) -> dict[str, Any]:
    """Return the log's line of the epoch whose steps are done."""
    trained = means_of(trainer.sums_of_all())
    seen = validate(trainer, trainer.model.encoder)
    measured: dict[str, Any] = {f"val_{name}": value for name, value in seen.losses.items()}
    measured |= held_out_metrics(seen.embeddings, seen.seconds)
    if not trainer.data.val_subjects:  # what was validated on then is training data
        measured |= dict.fromkeys(name for name in measured if name.startswith("val_"))
    return {
        "epoch": trainer.epoch + 1,
        "step": trainer.steps_done,
        "learning_rate": trainer.learning_rate(trainer.steps_done - 1),
        **{f"train_{name}": value for name, value in trained.items()},
        **measured,
    }


def _finish(run: Path, trainer: Trainer) -> None:
    """Write the encoder, and how its distances grow with time beside those before training."""
    encoder = trainer.model.encoder
    if trainer.data.val_subjects:
        untrained = start_encoder(trainer.config, trainer.init)[0].to(trainer.device)
        seen = {"trained": validate(trainer, encoder), "before training": validate(trainer, untrained)}
        if trainer.processes.is_main:
            write_distances(run, {name: distance_curve(one.embeddings, one.seconds) for name, one in seen.items()})
    if trainer.processes.is_main:
        save_encoder(run / "encoder.safetensors", encoder, trainer.info_now())
