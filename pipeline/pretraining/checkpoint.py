"""Checkpoints of a run: everything needed to resume exactly, in one file that is replaced atomically.

``checkpoint.pt`` loads with ``weights_only=True``. Its ``model`` is the encoder, so it can be used as an encoder file.
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
"""Settings that may change on resuming, because they change no result; so may ``epochs`` at a constant rate."""
REMOVED_SETTINGS = {
    "layout": "following",
    "match": "none",
    "margin_per_s": 0,
    "contrast_weight": 0,
    "cross_subject_weight": 0,
    "ema": 0,
}
"""Settings that only 0.1.0 has, with the values at which they had no effect."""
REMOVED_WITH_THEM = frozenset({"match_window", "contrast_temperature", "contrast_min_s"})
"""Settings that had an effect only together with one of those."""


def save_checkpoint(path: Path, trainer: Trainer, sums: dict[str, Any]) -> None:
    """Write the state of a run between two steps; ``sums`` are the epoch's running means over all processes.

    Raises
    ------
    OutputError
        If the file cannot be written.
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
        buffer = io.BytesIO()  # torch raises no OSError when the disk is full
        torch.save(content, buffer)
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path, trainer: Trainer) -> None:
    """Load a checkpoint into a trainer.

    Raises
    ------
    ModelError
        If the file is damaged or its tensors have other sizes.
    SettingError
        If it was made with other settings, data or initial weights.
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
        if trainer.processes.is_main:  # the sums are over all processes
            trainer.means.load(json.loads(content["sums"]), trainer.device)
        torch.set_rng_state(content["random"]["cpu"])
        if trainer.device.type == "cuda" and "cuda" in content["random"]:
            torch.cuda.set_rng_state(content["random"]["cuda"], trainer.device)
    except TclrError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"Cannot use the checkpoint {path}: {reason}. Delete it, or start over with --no-resume."
        ) from error


def _require_same_run(content: dict[str, Any], trainer: Trainer, path: Path) -> None:
    """Raise if settings, data or initial weights differ: the result would be neither the old run nor a new one."""
    advice = "another RUN, or --no-resume to start over."
    _require_same_settings(content, trainer, path, advice)
    if content["data_hash"] != trainer.data.data_hash:
        raise SettingError(
            f"Cannot resume {path}: it was trained on other data ({content['store']}), whose clips, detection or "
            f"alignment differ from {trainer.store}. Use {advice}"
        )
    if content["start_digest"] != trainer.start_digest:
        raise SettingError(
            f"Cannot resume {path}: it started from other weights. Give the same --init (or none, if it had none), "
            f"{advice}"
        )


def _require_same_settings(content: dict[str, Any], trainer: Trainer, path: Path, advice: str) -> None:
    now = trainer.config.model_dump(mode="json")
    before = {"leave_out": "", **json.loads(content["config"])}  # older runs do not have this setting
    begun = content["epoch"] + (content["step"] > 0)
    if now["epochs"] < begun:
        raise SettingError(
            f"Cannot resume {path}: it has {begun} epochs, but 'epochs' is {now['epochs']}. "
            f"Give at least as many epochs, {advice}"
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
    """Writes checkpoints at intervals and upon SIGTERM or SIGINT; a second signal stops the run at once.

    A context manager: signals are caught within its block. Cluster schedulers send SIGTERM before they reclaim a
    machine. The first process decides by its own time and signals.
    """

    def __init__(self, path: Path, trainer: Trainer) -> None:
        self.path, self.trainer = path, trainer
        self.written_s = time.monotonic()
        self.asked: signal.Signals | None = None
        self.handlers_before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Checkpoints:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
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
        """Write a checkpoint between two steps, if it is due or ``now`` is true.

        Raises
        ------
        TclrError
            After writing, if a signal stopped the run.
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
                f"Stopped by {signal_name} after {trainer.steps_done} steps, saved in {self.path}. Run the same "
                "command again to resume."
            )
