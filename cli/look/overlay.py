"""``tclr overlay``: a video with faces and Action Units drawn on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tclr.cli.options import PATH, settings_options
from tclr.cli.output import Command, say, warn
from tclr.schemas.config import OverlayConfig


@click.command("overlay", cls=Command)
@click.argument("video", type=PATH)
@click.option("-o", "--out", type=PATH, required=True, help="The MP4 file to write.")
@click.option("--store", type=PATH, help="Draw box, landmarks and head axes from this store.")
@click.option("--features", type=PATH, help="Draw AUs from this folder of 'tclr embed'.")
@click.option("--clip", help="Draw this clip only: SUBJECT/CLIP.  [default: all clips of VIDEO]")
@settings_options(overlay=OverlayConfig)
def command(
    video: Path, out: Path, store: Path | None, features: Path | None, clip: str | None, overlay: OverlayConfig
) -> dict[str, Any]:
    """Write VIDEO with its faces and Action Units drawn on top.

    VIDEO is a video or a folder of numbered images. Each track has its own colour. Axes show the head's pose: red to
    the right of the picture, green up, blue out of the face. A bar is an AU's probability, coloured above the threshold
    (the line); a square is its label.

    \b
    Example:
      tclr overlay videos/anna/smile.mp4 --store store/ -o smile.mp4
      tclr overlay talk.mp4 --store store/ --features features/ -o out.mp4
    """
    from tclr.cli.progress import progress_bar

    with progress_bar("Overlay", "frames") as progress:
        from tclr.pipeline.views.overlay import overlay as write_overlay

        result = write_overlay(video, out, overlay, store=store, features=features, clip=clip, progress=progress)
    if result.without_bars:
        warn(f"no room for the AUs of {', '.join(result.without_bars)}: choose one with --clip")
    say(f"Overlay: {out} ({result.n_frames} frames of {', '.join(result.clips)})")
    return {"out": out, **vars(result)}
