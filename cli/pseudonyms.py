"""``tclr pseudonyms``: who is who, for the person who holds the key."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import click


@click.command("pseudonyms")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("keyfile", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--dataset", default="auto", show_default=True, help="Layout of SOURCE; see 'tclr datasets'.")
def command(source: Path, keyfile: Path, dataset: str) -> None:
    """Print, as CSV, the names of the subjects and clips of SOURCE and their pseudonyms under the key of KEYFILE.

    To join features with what else is known of people. Neither SOURCE nor any store is written; keep the table, as the
    key, apart from what you share.

    \b
    Example:
      tclr pseudonyms videos/ ~/keys/study.key > ~/keys/who-is-who.csv
    """
    from tclr.pipeline.sources import find_clips
    from tclr.pipeline.sources.pseudonyms import read_key

    pseudonyms = read_key(keyfile)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["subject", "clip", "subject_pseudonym", "clip_pseudonym"])
    for clip in find_clips(source.resolve(), dataset):
        table.writerow([*clip.key, pseudonyms.subject(clip.subject), pseudonyms.clip(clip.clip)])
