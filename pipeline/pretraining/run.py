"""Temporal-consistency pretraining, to be read from top to bottom.

Each step sends all frames of a batch of tuples through the encoder at once. The loss demands that every frame be nearer
to the anchor than the next frame, and what the recipe adds (``objective.py``). ``trainer.py`` does the steps; this
module does the rest: resuming, checkpoints, logs, warnings and the final encoder.

Source: Lu, Tavabi and Soleymani, BMVC 2020. Unlike in the paper's own trainer, anchors are redrawn every epoch, and a
partial last batch counts by its size.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tclr.pipeline.encoder import TemporalEncoder, TorchEncoder, save_encoder
from tclr.pipeline.pretraining.checkpoint import Checkpoints, load_checkpoint
from tclr.pipeline.pretraining.judging.distances import distance_curve, write_distances
from tclr.pipeline.pretraining.judging.quality import (
    QUALITY_FILE,
    Measure,
    measure_quality,
    probe,
    read_quality,
    write_quality,
)
from tclr.pipeline.pretraining.judging.validation import COLLAPSE_STD, Validation, held_out_metrics, validate
from tclr.pipeline.pretraining.model import start_encoder
from tclr.pipeline.pretraining.processes import open_processes
from tclr.pipeline.pretraining.runlog import RunLog, means_of
from tclr.pipeline.pretraining.trainer import Trainer
from tclr.pipeline.system import remove_abandoned, remove_quietly, write_json
from tclr.schemas.config import PretrainConfig

LOG_EVERY_STEPS = 10
"""Steps between two points in TensorBoard, and between two checks that the loss is finite."""

logger = logging.getLogger("tclr.pretrain")


@dataclass(frozen=True)
class PretrainResult:
    """The result of a run; ``history`` has one dictionary per epoch, as in ``log.jsonl``.

    ``resumed_at`` and ``resumed_step`` are the epochs, and the steps of the next epoch, done before this call.
    ``n_frames`` is the number of frames trained on. ``is_main`` is true in the first process only. ``quality`` says
    whether the run is any good, see ``judging/quality.py``; a run of an earlier version has none.
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
    quality: list[Measure] = field(default_factory=list)


def pretrain(
    store: Path,
    run: Path,
    config: PretrainConfig,
    *,
    init: Path | str | None = None,
    resume: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warn: Callable[[str], None] = logger.warning,
) -> PretrainResult:
    """Train an encoder on a store, in as many processes as ``torchrun`` started; all need access to the folders.

    Parameters
    ----------
    store, run, config : Path, Path, PretrainConfig
        Store to read, folder to write (docs/training.md lists its files), and settings.
    init : Path or str, optional
        Initial weights: ImageNet's in torchvision's names, the paper's, or an encoder or run of tclr; ``facemesh``
        means mediapipe's landmark network and ``box`` the bundled encoder, both of architecture ``facemesh``.
    resume : bool
        Resume from RUN/checkpoint.pt if it exists. A finished run is not trained again; ``resumed_at`` then equals
        ``config.epochs``.
    progress : callable
        Called with the tuples done and the total, in the first process only.
    warn : callable
        Called with one line after the first epoch in which the embeddings have collapsed.

    Raises
    ------
    InputError
        If no clip is long enough for a tuple.
    SettingError, ModelError
        If the checkpoint or the initial weights do not match, or ``batch_size`` is not divisible by the processes.
    TclrError
        If a loss or the weights are no longer finite.

    Examples
    --------
    >>> from tclr.schemas.config import PretrainConfig
    >>> config = PretrainConfig(epochs=1, anchors_per_clip=2, batch_size=2, image_size=32, embedding_dim=8)
    >>> result = pretrain(Path("store"), Path("run"), config)
    >>> result.train_subjects, result.val_subjects, result.n_frames, result.encoder.as_posix()
    (['F003'], ['F001'], 12, 'run/encoder.safetensors')
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
        quality = read_quality(run) if processes.is_main else []
        return PretrainResult(run, encoder, trainer.history, *resumed, *subjects, n_frames, processes.is_main, quality)


def _prepare(run: Path, trainer: Trainer) -> None:
    """Write the settings; remove outdated files of earlier runs and partial files of killed ones."""
    remove_abandoned(run)
    if trainer.epoch < trainer.config.epochs:
        for name in ("encoder.safetensors", "distance.json", "distance.png", QUALITY_FILE):
            remove_quietly(run / name)
    if trainer.steps_done == 0:
        for name in ("checkpoint.pt", "log.jsonl"):
            remove_quietly(run / name)
    settings = trainer.config.model_dump(mode="json")
    write_json(run / "config.json", {"store": str(trainer.store), "init": str(trainer.init or ""), **settings})


def _train(run: Path, trainer: Trainer, progress: Callable[[int, int], None], warn: Callable[[str], None]) -> None:
    """Do the remaining epochs."""
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
        f"{line['embedding_std']:.3f}, and 1 for random directions. Lower --learning-rate."
    )


def _train_epoch(
    trainer: Trainer, checkpoints: Checkpoints, log: RunLog | None, tick: Callable[[], None]
) -> dict[str, Any]:
    """Do the remaining steps of an epoch, validate, and return the epoch's line of the log."""
    started_s, done_before = time.perf_counter(), trainer.tuples_done
    before, before_s = trainer.sums_of_all(), started_s
    for _ in trainer.steps():
        last = trainer.step == len(trainer.plan)
        if trainer.step % LOG_EVERY_STEPS == 0 or last:
            trainer.check_finite()
            now, now_s = trainer.sums_of_all(), time.perf_counter()
            if log:
                log.add_scalars("train", _means_between(before, now, now_s - before_s), trainer.steps_done)
            before, before_s = now, now_s
        if not last:
            checkpoints.write_if_due()
        if log:
            tick()
    rate = (trainer.tuples_done - done_before) / (time.perf_counter() - started_s)
    line = {**_epoch_line(trainer), "tuples_per_s": rate}
    trainer.end_epoch(line)
    return line


def _means_between(before: dict[str, Any], now: dict[str, Any], seconds: float) -> dict[str, float]:
    """Return the mean losses and the tuples per second between two states of the running means."""
    n_tuples = now["n_tuples"] - before["n_tuples"]
    sums = {name: value - before["sums"].get(name, 0.0) for name, value in now["sums"].items()}
    return {**means_of({"n_tuples": n_tuples, "sums": sums}), "tuples_per_s": n_tuples / seconds}


def _epoch_line(trainer: Trainer) -> dict[str, Any]:
    """Return the log line of an epoch whose steps are done."""
    trained = means_of(trainer.sums_of_all())
    seen = validate(trainer, trainer.model.encoder)
    measured = _measure(trainer, seen)
    return {
        "epoch": trainer.epoch + 1,
        "step": trainer.steps_done,
        "learning_rate": trainer.learning_rate(trainer.steps_done - 1),
        **{f"train_{name}": value for name, value in trained.items()},
        **measured,
    }


def _measure(trainer: Trainer, seen: Validation) -> dict[str, Any]:
    """Return losses, ranking, spread and rank of the watched tuples; without held-out subjects ``val_`` is None."""
    measured: dict[str, Any] = {f"val_{name}": value for name, value in seen.losses.items()}
    measured |= held_out_metrics(seen.embeddings, seen.seconds)
    if not trainer.data.val_subjects:  # validation tuples are training data then
        measured |= dict.fromkeys(name for name in measured if name.startswith("val_"))
    return measured


def _finish(run: Path, trainer: Trainer) -> None:
    """Write the encoder, and what it is worth: its distances over time and quality beside those before training."""
    encoder = trainer.model.encoder
    untrained = start_encoder(trainer.config, trainer.init)[0].to(trainer.device)
    seen = {"trained": validate(trainer, encoder), "before training": validate(trainer, untrained)}
    if not trainer.processes.is_main:
        return
    if trainer.data.val_subjects:
        write_distances(run, {name: distance_curve(one.embeddings, one.seconds) for name, one in seen.items()})
    write_quality(run, _judge(trainer, seen, untrained))
    save_encoder(run / "encoder.safetensors", encoder, trainer.info_now())


def _judge(trainer: Trainer, seen: dict[str, Validation], untrained: TemporalEncoder) -> list[Measure]:
    """Return the measures of a finished run beside those of its start."""
    trained, start = (_measure(trainer, one) for one in seen.values())
    encoders = (
        TorchEncoder(trainer.model.encoder, trainer.info_now(), trainer.device),
        TorchEncoder(untrained, trainer.info, trainer.device),
    )
    data = trainer.data
    probed = probe(trainer.store, data.train_subjects, data.val_subjects, *encoders)
    return measure_quality(trained, start, trainer.config.embedding_dim) + ([probed] if probed else [])
