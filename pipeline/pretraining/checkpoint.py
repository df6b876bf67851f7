"""Checkpoints of a run: all that an exact resume needs, in one file that is written in one step.

``checkpoint.pt`` loads with ``weights_only=True``. Its ``model`` is the encoder, so the file is an encoder, too.
"""

from __future__ import annotations

import io
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch

from tclr.pipeline.encoder import check_unpacked, info_to_json
from tclr.pipeline.pretraining.trainer import Trainer
from tclr.pipeline.system import replacing
from tclr.schemas.errors import ModelError, SettingError, TclrError

FREE_SETTINGS = frozenset({"checkpoint_every", "checkpoint_every_s", "num_workers"})
"""Settings that change no result, so that a run may resume under others; ``epochs`` is free with a constant rate."""
REMOVED_SETTINGS = {
    "layout": "following",
    "match": "none",
    "margin_per_s": 0,
    "contrast_weight": 0,
    "cross_subject_weight": 0,
    "ema": 0,
}
"""Settings that only 0.1.0 has, at the values under which they did nothing."""
REMOVED_WITH_THEM = frozenset({"match_window", "contrast_temperature", "contrast_min_s"})
"""Settings that only mattered where one of those was in use."""


def save_checkpoint(path: Path, trainer: Trainer, sums: dict[str, Any]) -> None:
    """Write the state of a run between two steps; ``sums`` are the epoch's running means, over all processes.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    random = {"cpu": torch.get_rng_state()}
    if trainer.device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(trainer.device)
    content = {
        "epoch": trainer.epoch,
        "step": trainer.step,
        "sums": json.dumps(sums),
        "config": trainer.config.to_json(),
        "encoder_info": info_to_json(trainer.info_now()),
        "store": str(trainer.store),
        "data_hash": trainer.data.data_hash,
        "start_digest": trainer.start_digest,
        "history": json.dumps(trainer.history),
        "model": trainer.model.encoder.state_dict(),
        "objective": trainer.model.objective.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "random": random,
    }
    with replacing(path) as temporary:
        buffer = io.BytesIO()  # torch writes no OSError when a disk is full
        torch.save(content, buffer)
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path, trainer: Trainer) -> None:
    """Put a checkpoint's state into a trainer.

    Raises
    ------
    ModelError
        If the file is damaged or of another size.
    SettingError
        If it was made with other settings or data.
    """
    check_unpacked(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        _require_same_run(content, trainer, path)
        trainer.model.encoder.load_state_dict(content["model"])
        trainer.model.objective.load_state_dict(content["objective"])
        trainer.optimizer.load_state_dict(content["optimizer"])
        trainer.epoch, trainer.step = content["epoch"], content["step"]
        trainer.history = json.loads(content["history"])
        if trainer.processes.is_main:  # the sums are those of all processes
            trainer.means.load(json.loads(content["sums"]), trainer.device)
        torch.set_rng_state(content["random"]["cpu"])
        if trainer.device.type == "cuda" and "cuda" in content["random"]:
            torch.cuda.set_rng_state(content["random"]["cuda"], trainer.device)
    except TclrError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"Expected a checkpoint of this run, but cannot use {path}: {reason}. "
            "Delete it, or start over with --no-resume."
        ) from error


def _require_same_run(content: dict[str, Any], trainer: Trainer, path: Path) -> None:
    """Refuse to resume under other settings, data or initial weights: neither the old run nor a new one."""
    advice = "another RUN, or --no-resume to start over."
    _require_same_settings(content, trainer, path, advice)
    if content["data_hash"] != trainer.data.data_hash:
        raise SettingError(
            f"Cannot resume {path}: it was trained on other data ({content['store']}: other clips, detection or "
            f"alignment than {trainer.store} has now). Use {advice}"
        )
    if content["start_digest"] != trainer.start_digest:
        raise SettingError(
            f"Cannot resume {path}: it started from other weights. Give the same --init, or none if none was given, "
            f"{advice}"
        )


def _require_same_settings(content: dict[str, Any], trainer: Trainer, path: Path, advice: str) -> None:
    now = trainer.config.model_dump(mode="json")
    before = {"leave_out": "", **json.loads(content["config"])}  # a setting that older runs did not have
    begun = content["epoch"] + (content["step"] > 0)
    if now["epochs"] < begun:
        raise SettingError(
            f"Cannot resume {path}: it has {begun} epochs, more than 'epochs', now {now['epochs']}. "
            f"Give as many epochs or more, {advice}"
        )
    for name, idle in REMOVED_SETTINGS.items():
        value = before.pop(name, idle)
        if value != idle:
            raise SettingError(
                f"Cannot resume {path}: setting {name!r} was {value!r}, and this version of tclr no longer has it. "
                f"Finish the run with tclr 0.1.0, or use {advice}"
            )
    free = FREE_SETTINGS | REMOVED_WITH_THEM | ({"epochs"} if now["schedule"] == "constant" else set())
    for name in sorted((before.keys() | now.keys()) - free):
        if before.get(name) != now.get(name):
            why = ", and the cosine schedule depends on it" if name == "epochs" else ""
            raise SettingError(
                f"Cannot resume {path}: setting {name!r} was {before.get(name)!r} and is now {now.get(name)!r}{why}. "
                f"Use the same settings, {advice}"
            )


class Checkpoints:
    """Writes checkpoints by time, and when SIGTERM or SIGINT asks to stop; a second signal does not wait.

    A context, in which signals are caught. Schedulers of clusters send SIGTERM before they take a machine away. Time
    and signals are those of the first process.
    """

    def __init__(self, path: Path, trainer: Trainer) -> None:
        self.path, self.trainer = path, trainer
        self.written_s = time.monotonic()
        self.asked: signal.Signals | None = None
        self.handlers_before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Checkpoints:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            kinds = (signal.SIGTERM, signal.SIGINT)
            self.handlers_before = {kind: signal.signal(kind, self._note_signal) for kind in kinds}
        return self

    def __exit__(self, *_: object) -> None:
        for kind, handler in self.handlers_before.items():
            signal.signal(kind, handler)
        self.handlers_before = {}

    def _note_signal(self, number: int, frame: object) -> None:
        self.asked = signal.Signals(number)
        self.__exit__()

    def write_if_due(self, now: bool = False) -> None:
        """Write one if the time has come, or ``now``, between two steps.

        Raises
        ------
        TclrError
            After it is written, if the run was asked to stop.
        """
        trainer = self.trainer
        elapsed_s = time.monotonic() - self.written_s
        due = elapsed_s >= trainer.config.checkpoint_every_s or self.asked is not None
        if not (now or trainer.processes.agree(due)):
            return
        trainer.check_finite()
        sums = trainer.sums_of_all()
        if trainer.processes.is_main:
            save_checkpoint(self.path, trainer, sums)
        self.written_s = time.monotonic()
        if trainer.processes.agree(self.asked is not None):
            signal_name = self.asked.name if self.asked else "a signal to another process"
            raise TclrError(
                f"Stopped by {signal_name} after {trainer.steps_done} steps, which {self.path} holds. Run the same "
                "command again to go on."
            )
