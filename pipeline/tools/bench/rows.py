"""A row of the benchmark, its measurement, and a description of the machine.

A ratio's two sides are measured in turn within one run, so that a busy machine slows both.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CAN_PIN = hasattr(os, "sched_setaffinity")
"""Whether this system can bind a process to some of its cores."""


@contextmanager
def one_core() -> Iterator[None]:
    """Bind processes that start now to one core, if the system can."""
    before = os.sched_getaffinity(0) if CAN_PIN else {0}
    if CAN_PIN:
        os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        if CAN_PIN:
            os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class BenchRow:
    """One line of the table: ``name`` relative to ``against``, which is empty for an absolute figure.

    ``values`` has one number per run: a ratio if there is no ``unit``. ``at_least`` and ``at_most`` are goals for the
    median. ``rates`` are the frames/s of each run, if meaningful.
    """

    name: str
    against: str
    values: tuple[float, ...]
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    rates: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Median over the runs."""
        return float(np.median(self.values))

    @property
    def reached(self) -> bool | None:
        """Whether the median meets its goal; ``None`` without a goal."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return None if self.at_most is None else self.median <= self.at_most

    def cells(self) -> list[str]:
        """Return the cells of the row, in the order of ``HEADERS``."""
        goal = f">= {self.at_least:g}" if self.at_least is not None else ""
        goal = f"<= {self.at_most:g}" if self.at_most is not None else goal
        rate = f"{np.median(self.rates):,.0f}" if self.rates else ""
        figures = [f"{value:,.3g}" for value in (self.median, min(self.values), max(self.values))]
        reached = {None: "", True: "yes", False: "no"}[self.reached]
        return [self.name, self.against, f"{figures[0]} {self.unit}".strip(), *figures[1:], goal, reached, rate]


HEADERS = ("what", "against", "median", "lowest", "highest", "goal", "reached", "frames/s")


def measure_s(work: Callable[[], object]) -> float:
    """Return the seconds that work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_cpu_s(work: Callable[[], object]) -> float:
    """Return the processor seconds that this process spends on work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def describe_machine() -> dict[str, Any]:
    """Return the hardware, system and package versions that the figures depend on.

    >>> sorted(describe_machine())
    ['cores', 'gpu', 'memory_gb', 'packages', 'processor', 'python', 'system', 'tclr']
    """
    import torch

    packages = ("ai-edge-litert", "mediapipe", "opencv-python", "h5py", "torch", "pyarrow", "pandas")
    return {
        "processor": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "tclr": version("tclr-face"),
        "packages": {name: version(name) for name in packages},
    }


def to_record(rows: Sequence[BenchRow], runs: int) -> dict[str, Any]:
    """Return machine and rows as a record for JSON.

    >>> to_record([], runs=5)["runs"]
    5
    """
    return {
        "machine": describe_machine(),
        "runs": runs,
        "rows": [{**asdict(row), "median": row.median, "reached": row.reached} for row in rows],
    }
