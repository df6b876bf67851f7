"""``tclr bench``: what the stages cost, as ratios within one run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click


@click.command("bench")
@click.option("--source", type=click.Path(path_type=Path), help="Folder of videos  [default: a demo clip made here]")
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each row.")
def command(source: Path | None, runs: int) -> None:
    """Measure preprocessing and reading against what bounds them, and print the ratios.

    \b
    Example:
      tclr bench
      tclr bench --source videos/ --runs 9
    """
    from rich.console import Console
    from rich.table import Table

    from tclr.pipeline.benchmark import run_benchmark
    from tclr.pipeline.synth import write_demo

    with tempfile.TemporaryDirectory() as scratch:
        if source is None:
            source = Path(scratch)
            write_demo(source, subjects=1, tasks=1, frames=200)
        rows = run_benchmark(source, runs)
    table = Table("what", "against", "median ratio", "lowest", "highest", title=f"{runs} runs")
    for row in rows:
        values = (row.median, min(row.ratio), max(row.ratio))
        table.add_row(row.name, row.bound, *(f"{value:.3f}" for value in values))
    Console().print(table)
