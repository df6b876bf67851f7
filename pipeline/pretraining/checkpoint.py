"""Checkpoints of a run: everything that going on exactly needs, in one file that is written in one step.

``checkpoint.pt`` loads with ``weights_only=True``. Its ``model`` is the encoder, so the file is an encoder, too.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tclr.pipeline.encoder import check_unpacked
from tclr.pipeline.pretraining.trainer import Trainer
from tclr.pipeline.system import replacing
from tclr.schemas.errors import ModelError, SettingError, TclrError

FREE_SETTINGS = frozenset({"checkpoint_every", "checkpoint_every_s", "num_workers"})
"""Settings that change no result, so that a run may go on under others; ``epochs`` is free with a constant rate."""
REMOVED_SETTINGS = {
    "layout": "following",
    "match": "none",
    "margin_per_s": 0,
    "contrast_weight": 0,
    "cross_subject_weight": 0,
    "ema": 0,
}
"""Settings of 0.1.0 that there are no more, at the values under which they did nothing."""
REMOVED_WITH_THEM = frozenset({"match_window", "contrast_temperature", "contrast_min_s"})
"""Settings that only mattered where one of those was in use."""


def save_checkpoint(path: Path, trainer: Trainer, sums: dict[str, Any]) -> None:
    """Write the state of a run.

    Parameters
    ----------
    path : Path
        The file.
    trainer : Trainer
        The run, between two steps.
    sums : dict
        State of the epoch's running means, over all processes.

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
        "encoder_info": json.dumps(asdict(trainer.info_now())),
        "store": str(trainer.store),
        "data_hash": trainer.data_hash,
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


def _read_settings(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the settings that a checkpoint was made with, as this version has them.

    Raises
    ------
    SettingError
        If it used one that there is no more.
    """
    settings = {"leave_out": "", **json.loads(content["config"])}  # a setting that older runs did not have
    for name, idle in REMOVED_SETTINGS.items():
        value = settings.pop(name, idle)
        if value != idle:
            raise SettingError(
                f"Cannot resume {path}: setting {name!r} was {value!r}, and this version of tclr no longer has it. "
                "Finish the run with tclr 0.1.0, or use another RUN, or --no-resume to start over."
            )
    return {name: value for name, value in settings.items() if name not in REMOVED_WITH_THEM}


def _check_same_run(content: dict[str, Any], trainer: Trainer, path: Path) -> None:
    """Refuse to go on under other settings, which would be neither the old run nor a new one."""
    advice = "another RUN, or --no-resume to start over."
    now = json.loads(trainer.config.to_json())
    before = _read_settings(content, path)
    begun = content["epoch"] + (content["step"] > 0)
    if now["epochs"] < begun:
        raise SettingError(
            f"Cannot resume {path}: it has {begun} epochs, more than 'epochs', now {now['epochs']}. "
            f"Give as many epochs or more, {advice}"
        )
    free = FREE_SETTINGS | ({"epochs"} if now["schedule"] == "constant" else set())
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    for name in changed:
        if name not in free:
            why = ", and the cosine schedule depends on it" if name == "epochs" else ""
            raise SettingError(
                f"Cannot resume {path}: setting {name!r} was {before.get(name)!r} and is now {now.get(name)!r}{why}. "
                f"Use the same settings, {advice}"
            )
    if content["data_hash"] != trainer.data_hash:
        raise SettingError(
            f"Cannot resume {path}: it was trained on other data ({content['store']}: other clips, detection or "
            f"alignment than {trainer.store} has now). Use {advice}"
        )
    if content["start_digest"] != trainer.start_digest:
        raise SettingError(
            f"Cannot resume {path}: it started from other weights. Give the same --init, or none if none was given, "
            f"{advice}"
        )


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
        _check_same_run(content, trainer, path)
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
