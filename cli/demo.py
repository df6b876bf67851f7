"""``tclr demo``: every stage on demo clips, sized for a few minutes on two cores."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

import click

from tclr.cli.options import PATH
from tclr.cli.output import Command, Output, current, say


def demo_steps(out: Path) -> list[list[str]]:
    """Return the command lines of the demo, in order."""
    clips, store, run, head = (str(out / name) for name in ("clips", "store", "run", "au.safetensors"))
    features, report = str(out / "features"), str(out / "report.html")
    synth = [] if Path(clips).exists() else [["synth", clips]]
    return [
        *synth,
        ["preprocess", clips, store, "--dataset", "bp4d"],
        ["inspect", store],
        ["pretrain", store, run, "--epochs", "6", "--anchors-per-clip", "12", "--batch-size", "8",
         "--image-size", "64", "--spacing", "2", "--learning-rate", "0.01", "--val-share", "0.25"],
        ["fit-au", store, "--encoder", run, "-o", head],
        ["embed", store, features, "--encoder", run, "--au-model", head],
        ["report", store, "-o", report, "--features", features, "--run", run],
    ]  # fmt: skip


@click.command("demo", cls=Command)
@click.argument("out", type=PATH)
def command(out: Path) -> dict[str, Any]:
    """Run every stage on demo clips and show the first rows of the features.

    Clips and results are written to the folder OUT. The clips are animated portraits: enough to see how everything
    works, far too few to learn from.

    \b
    Example:
      tclr demo demo-out
    """
    from tclr.cli.main import cli

    started_s, output = time.monotonic(), current()
    steps = []
    for step in demo_steps(out):
        say(f"\n$ {shlex.join(['tclr', *step])}", bold=True)
        own = Output(output.prose, output.progress, output.verbose)
        cli.main(step, standalone_mode=False, obj=own)
        output.warnings += own.warnings
        output.failures += own.failures
        if own.failures:
            break
        steps.append({"command": step[0], "arguments": step[1:], "seconds": own.seconds})
    else:
        show_features(out / "features")
        say(f"\nParquet: {out / 'features'}    Report: {out / 'report.html'}")
    say(f"The demo took {time.monotonic() - started_s:.0f} s.")
    return {"features": out / "features", "report": out / "report.html", "steps": steps}


def show_features(features: Path) -> None:
    """Print a features folder as pandas shows it."""
    import pandas as pd

    say(f"\n>>> pandas.read_parquet({str(features)!r})", bold=True)
    with pd.option_context("display.width", 140, "display.max_columns", 14):
        say(str(pd.read_parquet(features)))
