"""``tclr pseudonyms``: names with their pseudonyms, for the holder of the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tclr.cli.options import FILE, PATH, dataset_option
from tclr.cli.output import Command, say


@click.command("pseudonyms", cls=Command)
@click.argument("source", type=PATH)
@click.argument("keyfile", type=FILE)
@dataset_option
def command(source: Path, keyfile: Path, dataset: str) -> dict[str, Any]:
    """Print, as CSV, the subjects and clips of SOURCE with their pseudonyms.

    The pseudonyms are those under the key of KEYFILE. Join features with other data on the same people by this table.
    Keep it, like the key, apart from what you share. SOURCE and stores are not written to.

    \b
    Example:
      tclr pseudonyms videos/ ~/keys/study.key > ~/keys/who-is-who.csv
    """
    from tclr.pipeline.sources import find_clips, read_key
    from tclr.pipeline.system import real_path

    pseudonyms, names = read_key(keyfile), ("subject", "clip", "subject_pseudonym", "clip_pseudonym")
    rows = [
        (*clip.key, pseudonyms.subject(clip.subject), pseudonyms.clip(clip.clip))
        for clip in find_clips(real_path(source), dataset)
    ]
    for row in (names, *rows):  # names are safe as file names, so without commas and quotes
        say(",".join(row))
    return {"clips": [dict(zip(names, row, strict=True)) for row in rows]}
