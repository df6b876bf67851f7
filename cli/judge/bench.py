"""``tclr bench``: the cost of each stage, as ratios within one run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import click

from tclr.cli.options import NAMES, PATH
from tclr.cli.output import Command, say, show

SMOOTHINGS_S = (0.0, 0.03, 0.06, 0.12, 0.24)


@click.command("bench", cls=Command)
@click.option("--source", type=PATH, help="Folder of two clips  [default: new demo clips]")
@click.option("--rows", type=NAMES, help="Rows to measure  [default: startup,preprocess,loader,export,memory]")
@click.option("--runs", type=click.IntRange(min=1), default=5, show_default=True, help="Runs per row.")
@click.option("-o", "--out", type=PATH, help="Write rows and machine to this JSON file.")
@click.option("--markdown", type=PATH, help="Write the table to this Markdown file.")
@click.option("--alignment", is_flag=True, help="Measure instead how steady the crops are.")
@click.option("--scaling", is_flag=True, help="Predict instead how long datasets take on 1, 16 and 256 workers.")
@click.option(
    "--price",
    type=click.FloatRange(min=0),
    default=0.05,
    show_default=True,
    help="Price per core-hour for --scaling, in any currency.",
)
def command(
    source: Path | None,
    rows: list[str] | None,
    runs: int,
    out: Path | None,
    markdown: Path | None,
    alignment: bool,
    scaling: bool,
    price: float,
) -> dict[str, Any]:
    """Measure each stage against its bound, and print the ratios.

    A stage and its bound take turns within one run, so their ratio holds on any machine that is not too busy. Figures
    in seconds and MB are those of this machine.

    With --alignment, a portrait is moved in a known way; the table shows the crops' jitter, error and lag by width of
    smoothing. With --scaling, tasks and scheduler are measured on clips like those of BP4D, DISFA and VoxCeleb2, and
    larger clusters are simulated (docs/scaling.md).

    \b
    Example:
      tclr bench
      tclr bench --rows preprocess,loader --source videos/ -o bench.json
      tclr bench --alignment
      tclr bench --scaling --price 0.03
    """
    from rich.table import Table

    from tclr.cli.progress import show_progress

    with show_progress() as display, tempfile.TemporaryDirectory() as scratch:
        display.stage("Starting")
        from tclr.pipeline.system import markdown_table, write_text

        if alignment:
            measured = _measure_alignment(display.stage)
        elif scaling:
            measured = _measure_scaling(source, Path(scratch), runs, price, display.stage)
        else:
            measured = _measure_rows(source, Path(scratch), runs, rows, display.stage)
    for title, headers, cells in measured.tables:
        table = Table(*headers, title=title)
        for row in cells:
            table.add_row(*row)
        show(table, piped_width=140)
    in_markdown = "\n".join(markdown_table(headers, cells) for _, headers, cells in measured.tables)
    for path, text in ((out, json.dumps(measured.record, indent=1) + "\n"), (markdown, in_markdown)):
        if path:
            write_text(path, text)
            say(f"Written: {path}")
    return measured.record


class _Measured(NamedTuple):
    """Tables for people (title, headers, rows), and a record for programs."""

    tables: Sequence[tuple[str, Sequence[str], list[list[str]]]]
    record: dict[str, Any]


def _measure_rows(
    source: Path | None, scratch: Path, runs: int, rows: list[str] | None, tell: Callable[[str], None]
) -> _Measured:
    from tclr.pipeline.tools.bench import GROUPS, HEADERS, run_groups, to_record

    measured = [row for group in run_groups(rows or GROUPS, source, scratch, runs, tell=tell) for row in group]
    return _Measured([(f"{runs} runs", HEADERS, [row.cells() for row in measured])], to_record(measured, runs))


def _measure_alignment(tell: Callable[[str], None]) -> _Measured:
    from tclr.pipeline.tools.bench import check_alignment

    tell("Tracking a moving portrait")
    checked = check_alignment(SMOOTHINGS_S)
    headers = ("smooth_s", "jitter, still (crop px)", "error, moving (crop px)", "lag (ms)")
    cells = [[f"{x.smooth_s:g}", f"{x.jitter_px:.2f}", f"{x.error_px:.2f}", f"{x.lag_ms:.2f}"] for x in checked]
    return _Measured([("", headers, cells)], {"alignment": [asdict(figures) for figures in checked]})


def _measure_scaling(
    source: Path | None, scratch: Path, runs: int, price: float, tell: Callable[[str], None]
) -> _Measured:
    from tclr.pipeline.tools.bench import (
        COST_HEADERS,
        PREDICTION_HEADERS,
        REAL_RUN_HEADERS,
        bench_scaling,
        describe_machine,
    )

    scaled = bench_scaling(source, scratch, runs, tell)
    tables = [
        ("measured", COST_HEADERS, [costs.cells(name) for name, costs in scaled.costs.items()]),
        ("real runs", REAL_RUN_HEADERS, [check.cells() for check in scaled.checks]),
        ("predicted", PREDICTION_HEADERS, [prediction.cells(price) for prediction in scaled.predictions]),
    ]
    return _Measured(tables, {"machine": describe_machine(), "runs": runs, "price": price, **asdict(scaled)})
