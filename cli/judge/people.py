"""``tclr people``: make photo people, videos of portraits with true labels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tclr.cli.options import PATH
from tclr.cli.output import Command, say

if TYPE_CHECKING:
    from tclr.pipeline.tools.people import PeopleResult


class _Size(click.ParamType):
    """Width and height, such as 240x300."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return width and height in pixels."""
        if isinstance(value, tuple):
            return value
        if not (found := re.fullmatch(r"(\d+)x(\d+)", value)):
            self.fail(f"Expected a width and a height such as 240x300, but got {value!r}.", param, ctx)
        return int(found[1]), int(found[2])


@click.command("people", cls=Command)
@click.argument("out", type=PATH)
@click.option("--faces", type=PATH, required=True, metavar="FOLDER", help="Folder of ICT-FaceKit (github.com/ICT-VGL).")
@click.option(
    "--portraits", type=PATH, required=True, metavar="FOLDER", help="Folder of webmorphR.stim (github.com/debruine)."
)
@click.option("--people", default=202, show_default=True, help="Number of people; the first 202 have a portrait each.")
@click.option("--clips", default=2, show_default=True, help="Clips per person, 1 to 26.")
@click.option("--frames", default=75, show_default=True, help="Frames per clip, at 25 frames/s.")
@click.option(
    "--size", type=_Size(), default="240x300", show_default=True, help="Width and height of a frame in pixels."
)
@click.option("--seed", default=0, show_default=True, help="Seed of actions, motion, light, and who wears what.")
@click.option("--occluded", default=0.25, show_default=True, help="Share of clips with a thing in front of the face.")
@click.option("--all-portraits", is_flag=True, help="Also use the 40 portraits that are kept for judging models.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
def command(
    out: Path, faces: Path, portraits: Path, size: tuple[int, int], workers: int, **settings: Any
) -> PeopleResult:
    """Make videos of photo people, with true labels, in the folder OUT.

    Portraits of consenting adults (CC-BY) become the skin of a morphable head (MIT), which FACS actions move: this is
    what the bundled AU heads learn from. OUT has videos, intensities of 21 AUs by side, head pose, gaze, and which
    regions of the face are visible. Run the same command again to resume. Drawing needs the extra 'people' and EGL.

    \b
    Example:
      tclr people people/ --faces ICT-FaceKit --portraits webmorphR.stim
      tclr people more/ --faces ICT-FaceKit --portraits webmorphR.stim --seed 1
    """
    from tclr.cli.progress import progress_bar

    with progress_bar("Making people", "clips") as update:
        from tclr.pipeline.tools.people import PeopleSettings, write_people

        chosen = PeopleSettings(width=size[0], height=size[1], **settings)
        result = write_people(out, faces, portraits, chosen, workers=workers, progress=update)
    say(
        f"{result.out}: {result.n_people} people, {result.n_clips} clips, {result.n_new} of them new, "
        f"{result.n_frames} frames. Next: tclr preprocess {result.out} STORE --dataset folder"
    )
    return result
