"""The benchmark: what the stages cost beside the work that bounds them, by group of rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tclr.pipeline.tools.bench.rows import HEADERS, BenchRow, measure_s, to_record
from tclr.pipeline.tools.synth import write_demo
from tclr.schemas.errors import SettingError

__all__ = ["GROUPS", "HEADERS", "BenchRow", "make_source", "run_groups", "to_record"]

DEMO_FRAMES = 300
"""Frames of a demo clip; chosen by us: starting a detector then takes a hundredth of the time."""


def _preprocess(source: Path, scratch: Path, runs: int) -> list[BenchRow]:
    from tclr.pipeline.tools.bench.preprocess import bench_preprocess

    return bench_preprocess(source, scratch, runs)


def _loader(source: Path, scratch: Path, runs: int) -> list[BenchRow]:
    from tclr.pipeline.tools.bench.loader import bench_loader

    return bench_loader(source, scratch, runs)


def _export(source: Path, scratch: Path, runs: int) -> list[BenchRow]:
    from tclr.pipeline.encoder import load_encoder
    from tclr.pipeline.sources import find_clips
    from tclr.pipeline.tools.bench.export import bench_embed, bench_tables
    from tclr.pipeline.tools.bench.memory import SMALL_CROPS, extract_clips

    extract_clips(find_clips(source)[:1], scratch / "store", SMALL_CROPS)
    return [bench_embed(scratch / "store", load_encoder("random"), scratch, runs), *bench_tables(scratch, runs)]


def _memory(source: Path, scratch: Path, runs: int) -> list[BenchRow]:
    from tclr.pipeline.tools.bench.memory import bench_memory

    return bench_memory(scratch)


def _startup(source: Path, scratch: Path, runs: int) -> list[BenchRow]:
    command = [sys.executable, "-m", "tclr.cli.main", "--help"]
    seconds = [measure_s(partial(subprocess.run, command, check=True, capture_output=True)) for _ in range(runs)]
    return [BenchRow("tclr --help", "", tuple(seconds), "s", at_most=0.5)]


GROUPS: dict[str, Callable[[Path, Path, int], list[BenchRow]]] = {
    "startup": _startup,
    "preprocess": _preprocess,
    "loader": _loader,
    "export": _export,
    "memory": _memory,
}
"""Groups of rows, by name. Each gets a folder of clips, an empty folder, and the number of runs."""


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
    """Measure groups of rows, one after another.

    Parameters
    ----------
    names : sequence of str
        Keys of ``GROUPS``.
    source : Path or None
        Folder of clips; None makes two demo clips.
    scratch : Path
        An empty folder.
    runs : int
        Runs of each row.
    tell : callable
        Called with what is done next.

    Raises
    ------
    SettingError
        If a group is unknown.
    InputError
        If there is no clip in the source.
    """
    for name in names:
        if name not in GROUPS:
            raise SettingError(f"Unknown rows {name!r}. Known rows: {', '.join(GROUPS)}.")
    if source is None and set(names) & {"preprocess", "loader", "export"}:
        source = make_source(scratch, tell)
    for name in names:
        tell(f"Measuring {name}")
        folder = scratch / name
        folder.mkdir()
        yield GROUPS[name](source or scratch, folder, runs)
