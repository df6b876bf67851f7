"""``tclr evidence``: judge the bundled models on pictures and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclr.cli.options import NAMES, PATH
from tclr.cli.output import Command, say, show

if TYPE_CHECKING:
    from tclr.pipeline.tools.evidence import EvidenceResult


@click.command("evidence", cls=Command)
@click.argument("out", type=PATH)
@click.option("--emotions", type=PATH, help="Folder of pictures by emotion: anger, disgust, fear, happy, neutral, ...")
@click.option("--portraits", type=PATH, help="Folder with neutral/ and smiling/, one picture per person in each.")
@click.option("--people", type=PATH, help="Folder of videos with AU intensities, as for 'tclr box'.")
@click.option(
    "--only", type=NAMES, help="People of --people to judge  [default: all whom the models have not learnt from]"
)
@click.option(
    "--models",
    type=NAMES,
    help="Some of the bundled models; goals are for the first  [default: face,shape,box,blendshapes]",
)
@click.option(
    "--qualities",
    type=NAMES,
    help="Poorer copies of the videos, such as half-resolution,compressed, or none  [default: all four]",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes of preprocessing  [default: one per core]")
def command(
    out: Path,
    emotions: Path | None,
    portraits: Path | None,
    people: Path | None,
    only: list[str] | None,
    models: list[str] | None,
    qualities: list[str] | None,
    workers: int | None,
) -> EvidenceResult:
    """Judge the bundled models on folders of pictures and videos.

    Each picture and video takes the whole path, as 'tclr preprocess' and 'tclr embed' run it. Give any of --emotions,
    --portraits and --people. The folder OUT gets evidence.md (goals and tables with 95% intervals), evidence.json and
    pictures. Parts that are finished are kept: run the same command again to resume.

    \b
    Example:
      tclr evidence out/ --portraits portraits/
      tclr evidence out/ --emotions faces/ --portraits portraits/
      tclr evidence out/ --people people/ --qualities none
    """
    from rich.markdown import Markdown

    from tclr.cli.progress import show_progress

    with show_progress() as display:
        display.stage("Starting")
        from tclr.pipeline.tools.evidence import MODELS, POORER, run_evidence

        poorer = [] if qualities == ["none"] else qualities
        result = run_evidence(
            out,
            emotions=emotions,
            portraits=portraits,
            people=people,
            only=only or (),
            models=MODELS if models is None else models,
            qualities=tuple(POORER) if poorer is None else poorer,
            workers=workers,
            tell=display.turns("steps"),
        )
    show(Markdown(result.page.read_text()), piped_width=200)
    say(f"Page: {result.page}    Figures: {result.figures}")
    for picture in result.pictures:
        say(f"Picture: {picture}")
    return result
