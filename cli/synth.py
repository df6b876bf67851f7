"""``tclr synth``: labelled demo clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclr.cli.options import PATH
from tclr.cli.output import Command, say

if TYPE_CHECKING:
    from tclr.pipeline.tools.synth import SynthResult


@click.command("synth", cls=Command)
@click.argument("out", type=PATH)
@click.option("--subjects", default=4, show_default=True, help="Number of subjects, 1 to 41.")
@click.option("--tasks", default=2, show_default=True, help="Clips per subject, 1 to 8.")
@click.option("--frames", default=75, show_default=True, help="Frames per clip, at 25 frames/s.")
@click.option("--size", "size_px", default=480, show_default=True, help="Side of each frame in pixels.")
@click.option("--seed", default=0, show_default=True, help="Seed of events, motion and light.")
@click.option("--expressions", is_flag=True, help="Show five expressions one after the other, and nothing else.")
def command(
    out: Path, subjects: int, tasks: int, frames: int, size_px: int, seed: int, expressions: bool
) -> SynthResult:
    """Write labelled demo clips in BP4D's layout to the folder OUT.

    Portraits of Eileen Collins and Grace Hopper are animated by Action Units, with head motion and changing light;
    the labels are true by construction. Further subjects are variants of these two people. The clips are for trying
    the tools, not for judging a method. Nothing is downloaded. A folder that has these clips already is left as it is.

    \b
    Example:
      tclr synth demo/clips
      tclr synth demo/clips --subjects 6 --frames 150 --seed 1
      tclr synth demo/faces --subjects 2 --tasks 1 --frames 150 --expressions
    """
    from tclr.cli.progress import progress_bar

    with progress_bar("Writing demo clips", "frames") as update:
        from tclr.pipeline.tools.synth import write_demo

        result = write_demo(
            out,
            subjects=subjects,
            tasks=tasks,
            frames=frames,
            size_px=size_px,
            seed=seed,
            expressions=expressions,
            progress=update,
        )
    there = "" if result.n_new else " They were there already."
    say(
        f"{result.out}: {result.n_subjects} subjects, {result.n_clips} clips, {result.n_frames} frames.{there} "
        f"Next: tclr preprocess {result.out} STORE --dataset bp4d"
    )
    return result
