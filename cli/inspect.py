"""``tclr inspect``: show or verify what a store holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click


def _show(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tclr.pipeline.text import printable

    table = Table(title=escape(summary["store"]))
    for name in ("subject", "clip"):
        table.add_column(name, overflow="fold")
    for name in ("frames", "seconds", "fps", "with face", "low", "unreadable", "AUs"):
        table.add_column(name, justify="right")
    table.add_column("warning", overflow="fold")
    for row in summary["clips"]:
        table.add_row(
            escape(row["subject"]),
            escape(row["clip"]),
            str(row["n_frames"]),
            f"{row['duration_s']:.2f}",
            f"{row['fps']:.4g}",
            f"{row['share_face']:.1%}",
            str(row["n_low_confidence"]),
            str(row["n_unreadable"]),
            str(len(row["labelled_aus"])),
            escape(printable(row["warning"])),
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    crops = f"crops of {summary['crop_size_px']} px" if summary["has_crops"] else "no crops"
    click.echo(
        f"{printable(', '.join(summary['dataset']))}: {summary['n_subjects']} subjects, {summary['n_clips']} clips, "
        f"{summary['n_frames']:,} frames, {summary['share_face']:.1%} with a face; {crops}; "
        f"{summary['size_bytes'] / 1e6:,.1f} MB; last run: {summary['run_state']}"
    )
    for stage in ("detect", "align"):
        click.echo(f"{stage}: " + printable(", ".join(f"{name}={value}" for name, value in summary[stage].items())))


def _verify(store: Path, as_json: bool) -> bool:
    """Print what is damaged, and note it for preprocessing; return whether all is sound."""
    from tclr.pipeline.store import DamageRecord, find_damage
    from tclr.pipeline.text import printable
    from tclr.schemas.errors import OutputError

    reports = list(find_damage(store))
    if as_json:
        files = [
            {"path": str(report.path), "damage": report.damage, "n_unsealed": report.n_unsealed} for report in reports
        ]
        click.echo(json.dumps({"files": files}, indent=2))
    else:
        for report in reports:
            for reason in report.damage.values():
                click.echo(f"damaged: {printable(reason)}")
            note = f" ({report.n_unsealed} clips without checksums, of an older tclr)" if report.n_unsealed else ""
            if not report.damage:
                click.echo(f"ok: {report.path}{note}")
    damaged = {report.path.stem: list(report.damage) for report in reports if report.damage}
    try:
        DamageRecord(store).write(damaged)
    except OutputError as error:
        click.echo(f"warning: preprocess will not know of the damage: {error}", err=True)
    return not damaged


@click.command("inspect")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@click.option(
    "--verify",
    is_flag=True,
    help="Read every byte and check it; exit status 1 if one is damaged, which preprocess then repairs.",
)
def command(store: Path, as_json: bool, verify: bool) -> None:
    """Show subjects, clips, frames, share with a face, crop size and settings of STORE.

    \b
    Example:
      tclr inspect store/
      tclr inspect store/ --json | jq .n_frames
      tclr inspect store/ --verify
    """
    from tclr.pipeline.inspection import summarise_store

    if verify:
        if not _verify(store, as_json):
            sys.exit(1)
        return
    summary = summarise_store(store)
    if as_json:
        click.echo(json.dumps(summary, indent=2))
    else:
        _show(summary)
