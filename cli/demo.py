"""``tclr demo``: the bundled models on moving faces, and in part 2, training of your own."""

from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tclr.cli.options import PATH
from tclr.cli.output import Command, Output, current, say

if TYPE_CHECKING:
    import pandas as pd

SHOWN_AUS = ("AU01", "AU02", "AU12", "AU15", "AU25", "AU26", "AU45")
"""The AUs of the expressions that are shown. AU06, the cheeks of a smile, is animated, too, but painted cheeks move too
little to separate it from wrinkles and closed eyes (docs/tutorial.md)."""
SHOWN_ROWS = 12
"""Every so many frames of the first face are printed."""
WON = "Training taught it something. All subjects are variants of two faces, so this says nothing about other people."
ONLY_ITS_START = (
    "It beats an untrained encoder but owes that to its start: mediapipe's landmark network already separates the "
    "movements of these two faces, and minutes on them add nothing to AUs. docs/pretraining.md has runs on many "
    "people in which they do."
)
LOST = (
    "Training did not beat an untrained encoder here: all subjects are variants of two faces, and a few minutes "
    "are too short. docs/pretraining.md has runs on many people in which it does."
)


def demo_steps(out: Path) -> list[list[str]]:
    """Return the command lines of part 1, in order: what the bundled models see."""
    clips, store, features, report = (str(out / name) for name in ("clips", "store", "features", "report.html"))
    return [
        ["synth", clips, "--subjects", "2", "--tasks", "1", "--frames", "150", "--expressions"],
        ["preprocess", clips, store, "--dataset", "bp4d"],
        ["embed", store, features],
        ["report", store, "-o", report, "--features", features],
    ]


def training_steps(out: Path) -> list[list[str]]:
    """Return the command lines of part 2, in order: training, and what it is worth."""
    folder = out / "training"
    clips, store, run, head, scores = (
        str(folder / name) for name in ("clips", "store", "run", "au.safetensors", "scores.json")
    )
    return [
        ["synth", clips, "--subjects", "12", "--size", "320"],
        ["preprocess", clips, store, "--dataset", "bp4d", "--size", "128"],
        ["inspect", store],
        ["pretrain", store, run, "--arch", "facemesh", "--init", "facemesh", "--learning-rate", "0.0001",
         "--image-size", "128", "--crop-ratio", "0.7", "--epochs", "2", "--anchors-per-clip", "12",
         "--batch-size", "16", "--val-share", "0.34"],
        ["fit-au", store, "--encoder", run, "-o", head],
        ["evaluate", store, "--protocol", "bp4d-3fold", "--encoder", run, "--scores", scores,
         "--methods", "all-positive,landmarks,random,encoder"],
        ["report", store, "-o", str(folder / "report.html"), "--run", run],
    ]  # fmt: skip


@click.command("demo", cls=Command)
@click.argument("out", type=PATH)
@click.option("--train", is_flag=True, help="Part 2: train an encoder and a head, and judge them.")
def command(out: Path, train: bool) -> dict[str, Any]:
    """Show what the bundled models see in moving faces, in under a minute.

    Two portraits smile, raise their brows, open their mouths, blink and lower the corners of their mouths. OUT gets
    clips, store, features, report.html and demo.png, which draws AU curves next to true labels. With --train, the
    folder OUT/training gets an encoder and a head that are trained on more such clips, in a few minutes. If you run the
    same command again, finished work is not repeated.

    \b
    Example:
      tclr demo demo-out
      tclr demo demo-out --train
    """
    started = _Clock.now()
    steps, results, failed = run_steps(training_steps(out) if train else demo_steps(out))
    document: dict[str, Any] = {"features": None, "picture": None, "report": out / "report.html", "steps": steps}
    if train:
        document["report"] = out / "training" / "report.html"
    if not failed and train:
        _tell_what_training_is_worth(results)
    elif not failed:
        document |= {"features": out / "features", "picture": out / "demo.png"}
        show_features(out / "features")
        draw_expressions(out)
    say(f"\nThe demo took {started.since()}.")
    if not failed:
        _say_how_to_go_on(out, train)
    return document


def run_steps(commands: list[list[str]]) -> tuple[list[dict[str, Any]], dict[str, Any], bool]:
    """Run command lines until one fails; return what was done, the result of each command, and whether one failed."""
    from tclr.cli.main import cli

    output = current()
    steps: list[dict[str, Any]] = []
    results: dict[str, Any] = {}
    for step in commands:
        say(f"\n$ {shlex.join(['tclr', *step])}", bold=True)
        own = Output(output.prose, output.progress, output.verbose)
        results[step[0]] = cli.main(step, standalone_mode=False, obj=own)
        output.warnings += own.warnings
        output.failures += own.failures
        if own.failures:
            return steps, results, True
        steps.append({"command": step[0], "arguments": step[1:], "seconds": own.seconds})
    return steps, results, False


@dataclass(frozen=True)
class _Clock:
    """A moment: seconds on the wall, and of the processor, in this process and those that it waited for."""

    wall_s: float
    processor_s: float

    @classmethod
    def now(cls) -> _Clock:
        return cls(time.monotonic(), sum(os.times()[:4]))

    def since(self) -> str:
        now = self.now()
        return f"{now.wall_s - self.wall_s:.0f} s, {now.processor_s - self.processor_s:.0f} s of processor time"


def show_features(features: Path) -> None:
    """Print AU columns as pandas shows them, and how often each AU is called present by its true label."""
    import pandas as pd

    df = pd.read_parquet(features)
    first = df["subject"].iloc[0]
    columns = ["frame", "timestamp", *SHOWN_AUS]
    say(f"\n>>> df = pandas.read_parquet({str(features)!r})", bold=True)
    say(f">>> df.loc[df.subject == {str(first)!r}, {columns}].round(2)[::{SHOWN_ROWS}]", bold=True)
    _say_table(df.loc[df["subject"] == first, columns].round(2)[::SHOWN_ROWS])
    say("\nShare of frames in which each AU is called present, by its true label:")
    say(f">>> aus = {[*SHOWN_AUS]}", bold=True)
    say('>>> pandas.DataFrame({au: df.groupby(f"{au}_true")[f"{au}_c"].mean() for au in aus}).round(2)', bold=True)
    shares = pd.DataFrame({au: df.groupby(f"{au}_true")[f"{au}_c"].mean() for au in SHOWN_AUS}).round(2)
    _say_table(shares.rename_axis("label"))


def _say_table(table: pd.DataFrame) -> None:
    import pandas as pd

    with pd.option_context("display.width", 140, "display.max_columns", 14):
        say(str(table))


def draw_expressions(out: Path) -> None:
    """Draw the picture of all expressions."""
    from tclr.pipeline.tools.synth import EXPRESSIONS
    from tclr.pipeline.views.overlay import Moment, draw_moments

    named = {title: [f"AU{number:02d}" for number in numbers] for title, numbers in EXPRESSIONS.items()}
    moments = [Moment(title, tuple(au for au in aus if au in SHOWN_AUS)) for title, aus in named.items()]
    videos = sorted((out / "clips" / "2D+3D").glob("*/*"))
    draw_moments(videos, moments, out / "demo.png", store=out / "store", features=out / "features")
    say(f"\nPicture: {out / 'demo.png'}    Report: {out / 'report.html'}    Parquet: {out / 'features'}")


def _tell_what_training_is_worth(results: dict[str, Any]) -> None:
    """Compare the trained encoder with an untrained one, in words."""
    say(worth_of_training(results["pretrain"]["quality"], results["evaluate"]))


def worth_of_training(quality: list[Any], evaluated: dict[str, Any]) -> str:
    """Return the sentences on a run's worth, from the measures of ``pretrain`` and the document of ``evaluate``."""
    by_name = {method["method"]: _mean_scores(method, evaluated["average"]) for method in evaluated["methods"]}
    (f1, auc), (random_f1, random_auc) = by_name["encoder"], by_name["random"]
    lines = [
        "",
        f"Trained encoder: mean F1 {f1:.3f}, ROC AUC {auc:.3f}; untrained: {random_f1:.3f}, {random_auc:.3f}; "
        f"landmarks alone: ROC AUC {by_name['landmarks'][1]:.3f}.",
    ]
    held_out = [measure for measure in quality if "probe" in measure.name]
    lines += [
        f"On subjects that it has never seen, {m.name} {m.trained:.3f}, of its start {m.start:.3f}: {m.verdict}."
        for m in held_out
    ]
    if not (f1 > random_f1 and auc > random_auc):
        verdict = LOST
    else:
        verdict = WON if all(measure.trained > measure.start for measure in held_out) else ONLY_ITS_START
    return "\n".join([*lines, verdict])


def _mean_scores(method: dict[str, Any], average: str) -> tuple[float, float]:
    """Return the mean F1 and ROC AUC of a method of an evaluation's document, as its table shows them."""
    f1, roc_auc = (method["scores"][metric][average]["mean"][0] for metric in ("f1", "roc_auc"))
    return f1, roc_auc


def _say_how_to_go_on(out: Path, train: bool) -> None:
    lines = ["", "What next:"]
    if activation := activation_line():
        lines.append(f"  {activation:<52}# then 'tclr' is a command of this shell")
    shown = shlex.quote(str(out))
    lines += [
        f"  {f'tclr view {shown}/features --store {shown}/store':<52}# play the clips with their curves",
        f"  {'tclr preprocess videos/ store/':<52}# your own videos ...",
        f"  {'tclr embed store/ features/':<52}# ... and their features",
    ]
    if not train:
        lines.append(f"  {f'tclr demo {shown} --train':<52}# part 2: train an encoder and a head")
    lines.append("  docs/tutorial.md explains the demo step by step; docs/own-videos.md is about videos of your own.")
    say("\n".join(lines))


def activation_line() -> str:
    """Return the line that activates the environment this process runs in, empty if the shell has it already."""
    prefix = Path(sys.prefix)
    activate = prefix / "bin" / "activate"
    if sys.prefix == sys.base_prefix or os.environ.get("VIRTUAL_ENV") or not activate.is_file():
        return ""
    inside = prefix.is_relative_to(Path.cwd())
    return f". {shlex.quote(str(activate.relative_to(Path.cwd()) if inside else activate))}"
