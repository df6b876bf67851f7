"""Measures the benchmark's groups of rows, one after another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

from tclr.pipeline.tools.bench.rows import BenchRow, measure_s
from tclr.pipeline.tools.synth import write_demo
from tclr.schemas.errors import SettingError

GROUPS = ("startup", "preprocess", "loader", "export", "memory")
"""``bench_<name>(source, scratch, runs)``, in a module of that name or here, measures each group."""
ON_CLIPS = {"preprocess", "loader", "export"}
"""Groups that need clips."""
DEMO_FRAMES = 300
"""Frames of a demo clip: so many that starting a detector takes a hundredth of the time."""


def bench_startup(source: Path | None, scratch: Path, runs: int) -> list[BenchRow]:
    """Measure how long ``tclr --help`` takes."""
    command = [sys.executable, "-m", "tclr.cli.main", "--help"]
    seconds = [measure_s(partial(subprocess.run, command, check=True, capture_output=True)) for _ in range(runs)]
    return [BenchRow("tclr --help", "", tuple(seconds), "s", at_most=0.5)]


def make_source(scratch: Path, tell: Callable[[str], None]) -> Path:
    """Write two demo clips and return their folder."""
    tell("Making demo clips")
    write_demo(scratch / "demo", subjects=2, tasks=1, frames=DEMO_FRAMES)
    return scratch / "demo"


def run_groups(
    names: Sequence[str], source: Path | None, scratch: Path, runs: int, tell: Callable[[str], None] = lambda what: None
) -> Iterator[list[BenchRow]]:
    """Measure some of ``GROUPS`` on the clips of a source folder, or on two demo clips; yield each group's rows.

    ``scratch`` is an empty folder. ``tell`` is called with each step before it begins.

    Raises
    ------
    SettingError
        If a group is unknown.

    Examples
    --------
    >>> [[row]] = run_groups(["startup"], None, Path("."), runs=1)
    >>> row.name, row.unit
    ('tclr --help', 's')
    """
    for name in names:
        if name not in GROUPS:
            raise SettingError(f"Unknown rows {name!r}. Known rows: {', '.join(GROUPS)}.")
    if source is None and ON_CLIPS.intersection(names):
        source = make_source(scratch, tell)
    for name in names:
        tell(f"Measuring {name}")
        folder = scratch / name
        folder.mkdir()
        module = import_module(__name__ if name == "startup" else f"{__package__}.{name}")
        yield getattr(module, f"bench_{name}")(source, folder, runs)
