"""``tclr datasets``: the datasets that preprocess reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tclr.cli.options import PATH, stills_option
from tclr.cli.output import Command, say, show, warn
from tclr.schemas.config import DetectConfig


@click.command("datasets", cls=Command)
@click.argument("source", type=PATH, required=False)
@stills_option
def command(source: Path | None, stills: bool) -> dict[str, Any]:
    """List the datasets that preprocess reads, with the expected layouts.

    With SOURCE, also count the subjects and clips there, and the files that are passed over, as a check before a long
    run.

    \b
    Example:
      tclr datasets
      tclr datasets /data/DISFA
    """
    from rich.table import Table

    from tclr.pipeline.sources import (
        DATASETS,
        count_passed_over,
        describe_passed_over,
        describe_sequences,
        find_clips,
        unused_tables,
    )
    from tclr.pipeline.system import real_path

    table = Table("dataset", "layout", "AU labels", show_lines=True)
    for dataset in DATASETS.values():
        table.add_row(dataset.name, dataset.layout.replace("[", "\\["), dataset.labels)
    show(table)
    known = [{"dataset": one.name, "layout": one.layout, "labels": one.labels} for one in DATASETS.values()]
    found: dict[str, Any] = {}
    if source is not None:
        folder = real_path(source)
        clips = find_clips(folder, stills=stills)
        passed_over = count_passed_over(folder, clips)
        unused = unused_tables(folder, clips) if clips[0].dataset == "folder" else []
        labelled = sum(bool(clip.label_paths) for clip in clips)
        subjects = len({clip.subject for clip in clips})
        found = {"source": source, "dataset": clips[0].dataset}
        found |= {"n_subjects": subjects, "n_clips": len(clips), "n_labelled": labelled}
        found["passed_over"] = {name: group.n_files for name, group in passed_over.items()}
        say(f"{source} looks like {clips[0].dataset}: {subjects} subjects, {len(clips)} clips, {labelled} labelled")
        for line in (describe_sequences(clips, DetectConfig().image_fps), describe_passed_over(passed_over)):
            if line:
                say(line)
        if unused:
            warn(
                f"{len(unused)} label tables match no clip and are not used, among them {unused[0].name}: "
                f"expected names as {clips[0].subject}_{clips[0].clip}.csv"
            )
    return {"datasets": known, **found}
