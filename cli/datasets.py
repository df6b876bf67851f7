"""``tclr datasets``: what preprocess can read."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command("datasets")
@click.argument("source", type=click.Path(path_type=Path), required=False)
def command(source: Path | None) -> None:
    """List the datasets that preprocess knows, with the layout that it expects.

    With SOURCE, also count what it would find there: a look before a long run.

    \b
    Example:
      tclr datasets
      tclr datasets /data/DISFA
    """
    from rich.console import Console
    from rich.table import Table

    from tclr.pipeline.sources import DATASETS, find_clips
    from tclr.pipeline.sources.folder_labels import unused_tables
    from tclr.pipeline.text import printable

    table = Table("dataset", "layout", "AU labels", show_lines=True)
    for dataset in DATASETS.values():
        table.add_row(dataset.name, dataset.layout.replace("[", "\\["), dataset.labels)
    Console(width=120).print(table)
    if source is not None:
        folder = Path(os.path.realpath(source))
        clips = find_clips(folder)
        unused = unused_tables(folder, clips) if clips[0].dataset == "folder" else []
        labelled = sum(bool(clip.label_paths) for clip in clips)
        subjects = len({clip.subject for clip in clips})
        click.echo(
            f"{source} looks like {clips[0].dataset}: {subjects} subjects, {len(clips)} clips, {labelled} labelled"
        )
        if unused:
            click.echo(
                f"{len(unused)} tables of labels fit no clip and are not used, among them {printable(unused[0].name)}: "
                f"expected names as {clips[0].subject}_{clips[0].clip}.csv"
            )
