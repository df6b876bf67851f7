"""``tclr inspect``: show what a store holds, or verify it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tclr.cli.options import PATH
from tclr.cli.output import Command, fail, say, show, warn


def _show(summary: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from tclr.pipeline.system import printable

    table = Table(title=escape(summary["store"]))
    for name in ("subject", "clip"):
        table.add_column(name, overflow="fold")
    starts_late = any(row["start_s"] for row in summary["clips"])
    starts = ["start"] if starts_late else []  # seconds after the sound
    for name in ("frames", "seconds", *starts, "fps", "with face", "low", "unreadable", "AU labels"):
        table.add_column(name, justify="right")
    table.add_column("warning", overflow="fold")
    for row in summary["clips"]:
        table.add_row(
            escape(row["subject"]),
            escape(row["clip"]),
            str(row["n_frames"]),
            f"{row['duration_s']:.2f}",
            *[f"{row['start_s']:.3f}"] * starts_late,
            f"{row['fps']:.4g}",
            f"{row['share_face']:.1%}",
            str(row["n_low_confidence"]),
            str(row["n_unreadable"]),
            str(len(row["labelled_aus"])),
            escape(printable(row["warning"])),
        )
    show(table, piped_width=140)
    crops = f"crops of {summary['crop_size_px']} px" if summary["has_crops"] else "no crops"
    say(
        f"{', '.join(summary['dataset'])}: {summary['n_subjects']} subjects, {summary['n_clips']} clips, "
        f"{summary['n_frames']:,} frames, {summary['share_face']:.1%} with a face; {crops}; "
        f"{summary['size_bytes'] / 1e6:,.1f} MB; last run: {summary['run_state']}"
    )
    for stage in ("detect", "align"):
        say(f"{stage}: " + ", ".join(f"{name}={value}" for name, value in summary[stage].items()))


def _show_sight(features: Path) -> list[dict[str, Any]]:
    """Show the share of frames with a hidden region or poor light, by clip; return the same as rows."""
    from rich.markup import escape
    from rich.table import Table

    from tclr.pipeline.features import FeatureClips, measure_sight, sight_warnings
    from tclr.pipeline.system import natural_key

    sight = measure_sight(FeatureClips(features))
    names = (sight["subject"] + "/" + sight["clip"]).tolist()
    sight = sight.iloc[sorted(range(len(sight)), key=lambda row: natural_key(names[row]))]
    if not len(sight):
        say(f"{features} has no columns of hidden regions: 'tclr embed' judges crops of the default alignment only.")
        return []
    table = Table(title="Share of frames in which a region is hidden, or light too poor")
    for name in sight:
        table.add_column(name, overflow="fold", justify="left" if name in ("subject", "clip") else "right")
    for subject, clip, n_faces, *shares in sight.itertuples(index=False):
        table.add_row(escape(subject), escape(clip), str(n_faces), *(f"{share:.0%}" for share in shares))
    show(table, piped_width=140)
    for warning in sight_warnings(sight):
        warn(warning)
    return sight.to_dict("records")


def _verify(store: Path) -> dict[str, Any]:
    """Report damage, and record it for preprocessing."""
    from tclr.cli.progress import show_progress
    from tclr.pipeline.store import DamageRecord, find_damage
    from tclr.schemas.errors import OutputError

    reports = []
    with show_progress() as display:
        bar = display.bar("Verifying", "subjects")
        for report in find_damage(store, bar):
            reports.append(report)
            bar.note(failed=sum(bool(report.damage) for report in reports))
    for report in reports:
        for clip, reason in report.damage.items():
            fail(reason, f"{report.path.stem}/{clip}" if clip else report.path.stem, what="damaged")
        note = f" ({report.n_unsealed} clips of an older tclr, without checksums)" if report.n_unsealed else ""
        if not report.damage:
            say(f"ok: {report.path}{note}")
    try:
        DamageRecord(store).write({report.path.stem: list(report.damage) for report in reports if report.damage})
    except OutputError as error:
        warn(f"the damage is not recorded for preprocess: {error}")
    return {"files": reports}


@click.command("inspect", cls=Command)
@click.argument("store", type=PATH)
@click.option(
    "--verify",
    is_flag=True,
    help="Read and check every byte. Damage sets exit status 1; preprocess then repairs it.",
)
@click.option(
    "--features", type=PATH, help="Features of STORE: also show in how many frames regions of the face are hidden."
)
def command(store: Path, verify: bool, features: Path | None) -> dict[str, Any]:
    """Show clips, share of frames with a face, crop size and settings of STORE.

    \b
    Example:
      tclr inspect store/
      tclr inspect store/ --json | jq .n_frames
      tclr inspect store/ --features features/
      tclr inspect store/ --verify
    """
    if verify:
        return _verify(store)
    from tclr.cli.progress import progress_bar

    with progress_bar("Reading", "clips") as progress:
        from tclr.pipeline.store import describe_double, summarise_store
        from tclr.pipeline.system import natural_key

        summary = summarise_store(store, progress)
    summary["clips"].sort(key=lambda row: natural_key(f"{row['subject']}/{row['clip']}"))
    _show(summary)
    for names in summary["doubles"]:
        warn(describe_double(names), names[0])
    if features is not None:
        summary["sight"] = _show_sight(features)
    return summary
