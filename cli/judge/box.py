"""``tclr box``: build the bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclr.cli.options import PATH, settings_options
from tclr.cli.output import Command, say, show
from tclr.schemas.config import BoxConfig

if TYPE_CHECKING:
    from tclr.pipeline.tools.box import BoxResult


@click.command("box", cls=Command)
@click.argument("people", type=PATH)
@click.argument("out", type=PATH)
@click.option("--neutral", type=PATH, help="Store of other faces at rest, on which AUs must be quiet, too.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes of preprocessing  [default: one per core]")
@settings_options(box=BoxConfig)
def command(people: Path, out: Path, neutral: Path | None, workers: int | None, box: BoxConfig) -> BoxResult:
    """Build an encoder with AU heads from PEOPLE, and judge it on unseen people.

    PEOPLE is a folder of videos with AU intensities. The steps: preprocess, fine-tune, select, fit heads that also read
    the shape of the face, and judge on people that no step has seen. The folder OUT gets box.safetensors,
    face.safetensors, shape.safetensors, model-card.md and evidence.json. Run the same command again to resume.

    \b
    Example:
      tclr box people/ box-out/
      tclr box people/ box-out/ --image-size 64 --starts tclr,paper,random
    """
    from rich.markdown import Markdown

    from tclr.cli.progress import show_progress

    with show_progress() as display:
        display.stage("Starting")
        from tclr.pipeline.tools.box import run_box

        result = run_box(people, out, box, neutral=neutral, workers=workers, tell=display.turns("steps"))
    show(Markdown(result.card.read_text()))
    say(f"Models: {result.box}, {result.face}, {result.shape}    Card: {result.card}")
    say(f"Next: tclr embed store/ features/ --encoder {result.box} --au-model {result.face}")
    return result
