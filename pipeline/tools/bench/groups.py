"""The benchmark's groups of rows, measured one after another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import tclr.pipeline.tools.bench as bench
from tclr.pipeline.tools.bench.rows import BenchRow, measure_s
from tclr.pipeline.tools.synth import write_demo
from tclr.schemas.errors import SettingError

GROUPS = ("startup", "preprocess", "loader", "export", "memory")
"""Each is measured by ``bench_<name>`` of this room, which gets a folder of clips, an empty folder, and the runs."""
ON_CLIPS = {"preprocess", "loader", "export"}
"""Groups that need clips."""
DEMO_FRAMES = 300
"""Frames of a demo clip; chosen by us: starting a detector then takes a hundredth of the time."""


def bench_startup(source: Path | None, scratch: Path, runs: int) -> list[BenchRow]:
    """Measure how long the command line takes to show its help."""
    command = [sys.executable, "-m", "tclr.cli.main", "--help"]
    seconds = [measure_s(partial(subprocess.run, command, check=True, capture_output=True)) for _ in range(runs)]
    return [BenchRow("tclr --help", "", tuple(seconds), "s", at_most=0.5)]


def make_source(scratch: Path, tell: Callable[[str], None]) -> Path:
    """Make two demo clips, and return their folder."""
    tell("Making demo clips")
    write_demo(scratch / "demo", subjects=2, tasks=1, frames=DEMO_FRAMES)
    return scratch / "demo"


def run_groups(
    names: Sequence[str],
    source: Path | None,
    scratch: Path,
    runs: int,
    tell: Callable[[str], None] = lambda what: None,
) -> Iterator[list[BenchRow]]:
    """Measure some of ``GROUPS``, one after another, on the clips of a source, or on two demo clips.

    ``scratch`` is an empty folder; ``tell`` is called with what is measured next.

    Raises
    ------
    SettingError
        If a group is unknown.
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
        yield getattr(bench, f"bench_{name}")(source, folder, runs)
