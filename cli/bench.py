"""``tclr bench``: what the stages cost, as ratios within one run."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import click

from tclr.cli.output import Command, show

SMOOTHINGS_S = (0.0, 0.03, 0.06, 0.12, 0.24)


@click.command("bench", cls=Command)
@click.option("--source", type=click.Path(path_type=Path), help="Folder of videos  [default: a demo clip made here]")
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each row.")
@click.option("--alignment", is_flag=True, help="Measure how well crops stay in place instead.")
@click.option("--loader", is_flag=True, help="Measure reading for pretraining instead.")
def command(source: Path | None, runs: int, alignment: bool, loader: bool) -> dict[str, Any]:
    """Measure preprocessing and reading against what bounds them, and print the ratios.

    With --alignment, a portrait is moved in a known way and the crops' jitter, error and lag are printed for several
    widths of smoothing. With --loader, reading tuples is measured against single JPEG files, and a training step
    against the network's part of it.

    \b
    Example:
      tclr bench
      tclr bench --source videos/ --runs 9
      tclr bench --alignment
      tclr bench --loader
    """
    from rich.table import Table

    from tclr.cli.progress import show_progress

    with show_progress() as display, tempfile.TemporaryDirectory() as scratch:
        display.stage("Starting")
        from tclr.pipeline.alignment_check import check_alignment
        from tclr.pipeline.benchmark import run_benchmark
        from tclr.pipeline.synth import write_demo

        if alignment:
            display.stage("Tracking a moving portrait")
            checked = check_alignment(SMOOTHINGS_S)
        else:
            if source is None:
                display.stage("Making a demo clip")
                source = Path(scratch)
                write_demo(source, subjects=1, tasks=1, frames=200)
            if loader:
                from tclr.pipeline.loader_benchmark import run_loader_benchmark

                rows = run_loader_benchmark(source, runs, tell=display.stage)
            else:
                rows = run_benchmark(source, runs, tell=display.stage)
    if alignment:
        table = Table("smooth_s", "jitter, still (crop px)", "error, moving (crop px)", "lag (ms)")
        for figures in checked:
            values = (figures.jitter_px, figures.error_px, figures.lag_ms)
            table.add_row(f"{figures.smooth_s:g}", *(f"{value:.2f}" for value in values))
        show(table)
        return {"alignment": checked}
    table = Table("what", "against", "median ratio", "lowest", "highest", "frames/s", title=f"{runs} runs")
    for row in rows:
        values = (row.median, min(row.ratio), max(row.ratio))
        rate = f"{statistics.median(row.frames_per_s):,.0f}" if row.frames_per_s else ""
        table.add_row(row.name, row.bound, *(f"{value:.3f}" for value in values), rate)
    show(table)
    return {"runs": runs, "rows": rows}
