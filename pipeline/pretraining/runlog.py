"""The logs of a run: one JSON line per epoch, and TensorBoard event files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tclr.pipeline.system import remove_quietly, replacing


class RunningMeans:
    """Running means over tuples, from means over parts of them; sums stay on the device until they are read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.n_tuples = 0

    def add(self, means: dict[str, Tensor], n_tuples: int) -> None:
        """Add the means over ``n_tuples`` tuples."""
        self.n_tuples += n_tuples
        for name, value in means.items():
            total = value.detach().double() * n_tuples
            self.sums[name] = self.sums[name] + total if name in self.sums else total

    def state(self) -> dict[str, Any]:
        """Return the sums as numbers."""
        return {"n_tuples": self.n_tuples, "sums": {name: value.item() for name, value in self.sums.items()}}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Resume from ``state``."""
        self.n_tuples, sums = state["n_tuples"], state["sums"]
        self.sums = {name: torch.tensor(value, dtype=torch.float64, device=device) for name, value in sums.items()}


def add_states(states: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up the states of several processes; a process without tuples has no sums."""
    names = dict.fromkeys(name for state in states for name in state["sums"])
    sums = {name: sum(state["sums"].get(name, 0.0) for state in states) for name in names}
    return {"n_tuples": sum(state["n_tuples"] for state in states), "sums": sums}


def means_of(state: dict[str, Any]) -> dict[str, float]:
    """Return the means of a state by name."""
    return {name: value / state["n_tuples"] for name, value in state["sums"].items()}


class RunLog:
    """Writer of RUN/log.jsonl and RUN/tensorboard; a context manager that closes the event file.

    ``step`` is the number of steps done when the run begins or resumes. TensorBoard drops the points of later steps.
    """

    def __init__(self, run: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.run = run
        folder = run / "tensorboard"
        if step == 0:
            for path in folder.glob("events.out.tfevents.*"):
                remove_quietly(path)
        self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def add_scalars(self, group: str, values: dict[str, Any], step: int) -> None:
        """Write the numbers among ``values`` to TensorBoard at a step, as ``group/name``."""
        for name, value in values.items():
            if isinstance(value, int | float):
                self.writer.add_scalar(f"{group}/{name}", value, step)
        self.writer.flush()

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Write the lines of all epochs, if any, to log.jsonl."""
        if not history:
            return
        with replacing(self.run / "log.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in history))

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.writer.close()
