"""A row of the benchmark, how it is measured, and what a reader must know of the machine.

Each ratio is measured alternately with its bound in one run, so that a busy machine slows both.
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
"""Whether this system lets a process keep to some of its cores."""


@contextmanager
def one_core() -> Iterator[None]:
    """Let processes that are started now use one core alone, where the system can."""
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
    """One line of the table: ``name`` is measured beside ``against``, which is empty for a figure that stands alone.

    ``values`` has one number per run, a ratio if there is no ``unit``. The median should be ``at_least`` or ``at_most``
    what these say. ``rates`` are frames/s of each run, where that says something.
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
        """Whether the median is where it should be; None if nobody said where."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return None if self.at_most is None else self.median <= self.at_most

    def cells(self) -> list[str]:
        """Return the row as the table shows it; see ``HEADERS``."""
        goal = f">= {self.at_least:g}" if self.at_least is not None else ""
        goal = f"<= {self.at_most:g}" if self.at_most is not None else goal
        rate = f"{np.median(self.rates):,.0f}" if self.rates else ""
        figures = [f"{value:,.3g}" for value in (self.median, min(self.values), max(self.values))]
        reached = {None: "", True: "yes", False: "no"}[self.reached]
        return [self.name, self.against, f"{figures[0]} {self.unit}".strip(), *figures[1:], goal, reached, rate]


HEADERS = ("what", "against", "median", "lowest", "highest", "goal", "reached", "frames/s")


def measure_s(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_cpu_s(work: Callable[[], object]) -> float:
    """Return the seconds that the process's threads spend on some work."""
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
    """Return what a reader of the figures must know of the machine."""
    import torch

    packages = ("mediapipe", "opencv-python", "h5py", "torch", "pyarrow", "pandas")
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
    """Return machine and rows as JSON has them."""
    return {
        "machine": describe_machine(),
        "runs": runs,
        "rows": [{**asdict(row), "median": row.median, "reached": row.reached} for row in rows],
    }
