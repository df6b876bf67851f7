"""``tclr report``: one HTML page that shows a run."""

from __future__ import annotations

from pathlib import Path

import click

from tclr.cli.options import PATH
from tclr.cli.output import Command, say


@click.command("report", cls=Command)
@click.argument("store", type=PATH)
@click.option("-o", "--out", type=PATH, required=True, help="The HTML file to write.")
@click.option("--features", type=PATH, help="Folder of 'tclr embed': adds AU timelines.")
@click.option("--run", type=PATH, help="Folder of 'tclr pretrain': adds training curves.")
def command(store: Path, out: Path, features: Path | None, run: Path | None) -> dict[str, Path]:
    """Write one HTML page about STORE and its results, which opens without a network.

    \b
    Example:
      tclr report store/ -o report.html --features features/ --run run/
    """
    from tclr.cli.progress import progress_bar

    with progress_bar("Report", "clips") as progress:
        from tclr.pipeline.views.report import write_report

        write_report(store, out, features=features, run=run, progress=progress)
    say(f"Report: {out}")
    return {"report": out}
