"""``tclr sight``: build the bundled judge of visibility."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tclr.cli.options import PATH, settings_options
from tclr.cli.output import Command, say
from tclr.schemas.config import SightConfig

if TYPE_CHECKING:
    from tclr.pipeline.tools.sight import SightResult


@click.command("sight", cls=Command)
@click.argument("people", type=PATH)
@click.argument("out", type=PATH)
@click.option("--workers", type=click.IntRange(min=1), help="Processes of preprocessing  [default: one per core]")
@settings_options(sight=SightConfig)
def command(people: Path, out: Path, workers: int | None, sight: SightConfig) -> SightResult:
    """Build the judge that says which regions of a face can be seen, from PEOPLE, and judge it.

    PEOPLE is a folder of videos of faces with nothing in front of them. Hands, masks, microphones, hair, sunglasses and
    other things are drawn in front of the faces of some people, and the judge learns how much of brows, eyes, nose,
    mouth and chin they leave visible. It is judged on videos of the other people, also with things that it did not
    learn. The folder OUT gets sight.safetensors and evidence.csv.

    \b
    Example:
      tclr sight people/ sight-out/
      tclr sight people/ sight-out/ --samples 40000 --epochs 12
    """
    from tclr.cli.progress import show_progress

    with show_progress() as display:
        display.stage("Starting")
        from tclr.pipeline.tools.sight import run_sight

        result = run_sight(people, out, sight, workers=workers, tell=display.turns("steps"))
    for row in result.rows:
        hidden, clean = (_share(row, kind) for kind in ("hidden", "clean"))
        say(f"{row['pictures']}, {row['region']}: flagged {hidden}, {clean}")
    say(f"Judge: {result.judge}    Evidence: {result.evidence}")
    return result


def _share(row: dict[str, Any], kind: str) -> str:
    share, count = row[f"flagged_{kind}"], row[f"n_{kind}"]
    return f"{share:.1%} of {count} {kind}" if count else f"of no {kind}"
