"""``tclr demo``: every stage on demo clips, at a size that two cores do in minutes."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click


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


@click.command("demo")
@click.argument("out", type=click.Path(path_type=Path))
def command(out: Path) -> None:
    """Run every stage on demo clips made in the folder OUT, and show the first rows of the features.

    The clips are two animated portraits: enough to see how everything works, far too little to learn from.

    \b
    Example:
      tclr demo demo-out
    """
    from tclr.cli.main import cli

    started_s = time.monotonic()
    for step in demo_steps(out):
        click.secho(f"\n$ {shlex.join(['tclr', *step])}", bold=True)
        cli.main(step, standalone_mode=False)
    show_features(out / "features")
    click.echo(f"\nParquet: {out / 'features'}    Report: {out / 'report.html'}")
    click.echo(f"The demo took {time.monotonic() - started_s:.0f} s.")


def show_features(features: Path) -> None:
    """Print the first rows of a features folder as pandas shows them."""
    import pandas as pd

    click.secho(f"\n>>> pandas.read_parquet({str(features)!r})", bold=True)
    with pd.option_context("display.width", 140, "display.max_columns", 14):
        click.echo(str(pd.read_parquet(features)))
