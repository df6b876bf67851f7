"""``tclr export``: features as CSV tables, also in the columns of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tclr.cli.options import PATH, form_option
from tclr.cli.output import Command, say


@click.command("export", cls=Command)
@click.argument("features", type=PATH)
@click.argument("out", type=PATH)
@form_option
def command(features: Path, out: Path, form: str) -> dict[str, Any]:
    """Write FEATURES as CSV files, one per clip: OUT/SUBJECT/CLIP.csv.

    With --as openface or --as pyfeat, names, order, units and signs are those of that tool. Columns for which tclr has
    no values are left out. Landmarks are written if FEATURES has them ('tclr embed --landmarks'). Files of an earlier
    export are replaced.

    \b
    Example:
      tclr export features/ csv/
      tclr export features/ csv/ --as openface
      tclr export features/ csv/ --as pyfeat
    """
    return {"out": out, "as": form, "files": write_csv(features, out, form)}


def write_csv(features: Path, out: Path, form: str) -> list[Path]:
    """Write the CSV files with a progress bar, and say where they are."""
    from tclr.cli.progress import progress_bar

    with progress_bar("Export", "clips") as progress:
        from tclr.pipeline.features import write_tables

        files = write_tables(features, out, form, progress)
    say(f"{out}: {len(files)} CSV files, one per clip, in the columns of {form}")
    return files
