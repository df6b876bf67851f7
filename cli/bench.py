"""``tclr bench``: what the stages cost, as ratios within one run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from tclr.cli.output import Command, say, show

SMOOTHINGS_S = (0.0, 0.03, 0.06, 0.12, 0.24)


@click.command("bench", cls=Command)
@click.option("--source", type=click.Path(path_type=Path), help="Folder of two clips  [default: demo clips made here]")
@click.option("--rows", help="What to measure, with commas between  [default: startup,preprocess,loader,export,memory]")
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="Runs of each row.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write rows and machine to this JSON file.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the table to this Markdown file.")
@click.option("--alignment", is_flag=True, help="Measure how well crops stay in place instead.")
def command(
    source: Path | None, rows: str | None, runs: int, out: Path | None, markdown: Path | None, alignment: bool
) -> dict[str, Any]:
    """Measure each stage against what bounds it, and print the ratios.

    A ratio is measured in one run, turn by turn with its bound, so it holds on any machine that is not too busy;
    figures in seconds and MB are this machine's. With --alignment, a portrait is moved in a known way and the crops'
    jitter, error and lag are printed for several widths of smoothing.

    \b
    Example:
      tclr bench
      tclr bench --rows preprocess,loader --source videos/ --runs 9 -o bench.json
      tclr bench --alignment
    """
    from rich.table import Table

    from tclr.cli.progress import show_progress

    measured = []
    with show_progress() as display, tempfile.TemporaryDirectory() as scratch:
        display.stage("Starting")
        from tclr.pipeline.alignment_check import check_alignment
        from tclr.pipeline.bench import GROUPS, HEADERS, run_groups, to_markdown, to_record
        from tclr.pipeline.files import replacing

        if alignment:
            display.stage("Tracking a moving portrait")
            checked = check_alignment(SMOOTHINGS_S)
        else:
            names = list(GROUPS) if rows is None else [name.strip() for name in rows.split(",")]
            for group in run_groups(names, source, Path(scratch), runs, tell=display.stage):
                measured += group
    if alignment:
        table = Table("smooth_s", "jitter, still (crop px)", "error, moving (crop px)", "lag (ms)")
        for figures in checked:
            values = (figures.jitter_px, figures.error_px, figures.lag_ms)
            table.add_row(f"{figures.smooth_s:g}", *(f"{value:.2f}" for value in values))
        show(table)
        return {"alignment": checked}
    table = Table(*HEADERS, title=f"{runs} runs")
    for row in measured:
        table.add_row(*row.cells())
    show(table, piped_width=140)
    record = to_record(measured, runs)
    for path, text in ((out, json.dumps(record, indent=1) + "\n"), (markdown, to_markdown(measured))):
        if path:
            with replacing(path) as temporary:
                temporary.write_text(text)
            say(f"Written: {path}")
    return record
