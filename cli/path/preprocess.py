"""``tclr preprocess``: detect, align and store faces."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclr.cli.options import FILE, PATH, dataset_option, scheduler_option, settings_options, stills_option
from tclr.cli.output import Command, fail, say, warn
from tclr.schemas.config import AlignConfig, DetectConfig, LimitsConfig

if TYPE_CHECKING:
    from tclr.pipeline.preprocessing import PreprocessResult


@click.command("preprocess", cls=Command)
@click.argument("source", type=PATH)
@click.argument("store", type=PATH)
@dataset_option
@stills_option
@click.option(
    "--pseudonymise",
    metavar="KEYFILE",
    type=FILE,
    help="Replace names of people, clips and files by keyed hashes; a missing KEYFILE is created.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Local worker processes; 0 uses this process  [default: 0 for a few short clips, else one per core]",
)
@scheduler_option
@click.option("--allow-truncated", is_flag=True, help="Keep the decodable part of truncated videos, with a warning.")
@click.option("--prune", is_flag=True, help="Remove recordings from STORE that SOURCE does not have.")
@settings_options(detect=DetectConfig, align=AlignConfig, limits=LimitsConfig)
def command(
    source: Path,
    store: Path,
    dataset: str,
    stills: bool,
    pseudonymise: Path | None,
    workers: int | None,
    scheduler: str | None,
    allow_truncated: bool,
    prune: bool,
    detect: DetectConfig,
    align: AlignConfig,
    limits: LimitsConfig,
) -> PreprocessResult:
    """Detect, align and store the faces of SOURCE in the folder STORE.

    SOURCE is a folder of videos and image sequences, a single video, or a dataset (see 'tclr datasets'). In a folder,
    SOURCE/<subject>/<clip>.mp4 names subjects; each file at the top is a subject of its own. The subject's face is
    followed, or everyone's with --faces all. Numbered images of one size are a sequence, unless --stills is given.
    Files that are passed over are counted; -v lists them.

    Run the same command again to resume after an interruption or to add new clips; finished clips are skipped. The
    exit status is 1 if a clip failed; all other clips are stored. People who have withdrawn ('tclr remove') are
    skipped.

    \b
    Example:
      tclr preprocess videos/ store/ --workers 4
      tclr preprocess BP4D/ store/ --dataset bp4d --size 224
      tclr preprocess interviews/ store/ --faces all --fps 10
      tclr preprocess patients/ store/ --pseudonymise ~/keys/study.key --no-frames
    """
    from tclr.cli.progress import show_progress

    started_s = time.monotonic()
    with show_progress() as display:
        display.stage("Starting")
        from tclr.pipeline.preprocessing import preprocess
        from tclr.pipeline.views.progress import ClipBars
        from tclr.schemas.config import PreprocessConfig

        result = preprocess(
            source,
            store,
            PreprocessConfig(detect, align, allow_truncated, limits, stills),
            dataset=dataset,
            key_file=pseudonymise,
            workers=workers,
            scheduler=scheduler,
            prune=prune,
            notify=ClipBars(display),
            tell=display.stage,
            inform=say,
        )
    if result.new_key:
        warn(
            f"new key: {pseudonymise}. Keep a copy, apart from {store}: only with it can recordings be added and "
            "pseudonyms be resolved."
        )
    for warning in result.warnings:
        warn(warning.reason, warning.name)
    for failure in result.failures:
        fail(failure.reason, failure.name)
    if result.withdrawn:
        say(f"Skipped, since they have withdrawn: {', '.join(result.withdrawn)}")
    if result.pruned:
        say(f"Removed from {store}, since {source} does not have them: {', '.join(result.pruned)}")
    if dataset == "auto":
        say(f"{source} was read as: {result.dataset}")
    say(
        f"{store}: {result.n_subjects} subjects, {result.n_clips} clips; this run {result.n_frames} frames in "
        f"{time.monotonic() - started_s:.1f} s, {result.n_skipped} clips were done before, "
        f"{len(result.failures)} failed."
    )
    if not result.failures:
        say(f"Next: tclr inspect {store}")
    return result
