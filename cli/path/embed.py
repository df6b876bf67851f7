"""``tclr embed``: export embeddings and AUs to Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tclr.cli.options import PATH, PATH_OR_NAME, scheduler_option, settings_options
from tclr.cli.output import Command, can_ask, fail, say, warn
from tclr.pipeline.system import printable
from tclr.schemas.config import EmbedConfig

if TYPE_CHECKING:
    from tclr.pipeline.export import EmbedResult

WITH_REASON = {
    "head": "the given head",
    "shape": "the bundled model of shape alone: --au-model shape, an encoder of your own, or no crops that fit",
    "none": "nowhere, so there are no AU columns: --columns excludes them, or no head was given and the store has no "
    "blendshapes, which only the detectors landmarker and mediapipe give. Leave --encoder out, or pass a head as "
    "--au-model",
}
"""Sources of AUs that are the user's choice or need a reason; ``describe_au_source`` has the others."""


@click.command("embed", cls=Command)
@click.argument("store", type=PATH)
@click.argument("features", type=PATH)
@click.option(
    "--encoder",
    type=PATH_OR_NAME,
    help="Encoder file, run folder of 'tclr pretrain', file of a fine-tuned head, 'box' (the bundled one), 'random' or "
    "'random:ARCH'  [default: box]",
)
@click.option(
    "--au-model",
    type=PATH_OR_NAME,
    default="auto",
    help="Bundled: 'face', 'shape' or 'box'; 'blendshapes' for fixed rules; or a head of 'tclr fit-au'  "
    "[default: face; shape with --encoder, or where crops do not fit]",
)
@click.option(
    "--neutral",
    type=PATH,
    help="CSV table of frames in which people are at rest: subject, clip, first, last. AUs are measured from there.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Processes of a local Dask cluster; 0 uses this process, best with a GPU or few clips.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv"]),
    default="parquet",
    show_default=True,
    help="csv also writes one CSV per clip, into the folder FEATURES-csv.",
)
@scheduler_option
@click.option(
    "--replace",
    "--yes",
    is_flag=True,
    help="Replace features of another model, other columns or other settings without asking.",
)
@settings_options(embed=EmbedConfig)
def command(
    store: Path,
    features: Path,
    encoder: str | None,
    au_model: str,
    neutral: Path | None,
    workers: int,
    form: str,
    scheduler: str | None,
    replace: bool,
    embed: EmbedConfig,
) -> EmbedResult:
    """Export per-frame embeddings and Action Units of STORE to Parquet.

    The folder FEATURES gets one file per clip. Without options, embeddings and AUs come from the bundled models, which
    need no training and no download. Each file's metadata record the models and settings. Run the same command
    again to resume after an interruption. If FEATURES was made with another model, other columns or other settings, it
    is replaced only with your consent (--replace). The exit status is 1 if a clip failed; all other clips are exported.

    \b
    Example:
      tclr embed store/ features/
      tclr embed store/ features/ --encoder run/ --au-model au.safetensors
      tclr embed store/ features/ --precision auto --workers 4
      tclr embed store/ features/ --centre subject
      tclr embed store/ features/ --embedding none --format csv
      tclr embed store/ features/ --embedding none --columns "AU*,pitch,yaw,roll"
    """
    from tclr.schemas.errors import OutputError, ReplacementError

    options: dict[str, Any] = {"neutral": neutral, "workers": workers, "scheduler": scheduler}
    try:
        result = _export(store, features, encoder, embed, au_model, replace=replace, **options)
    except ReplacementError as error:
        if not can_ask():
            raise
        if not click.confirm(f"{printable(error)}\nReplace them?", err=True):
            raise OutputError(f"Nothing was replaced in {features}.") from error
        result = _export(store, features, encoder, embed, au_model, replace=True, **options)
    _show(result, features)
    if form == "csv":
        from tclr.cli.path.export import write_csv

        write_csv(features, features.with_name(features.name + "-csv"), "tclr")
    return result


def _export(
    store: Path, features: Path, encoder: str | None, config: EmbedConfig, au_model: str, **options: Any
) -> EmbedResult:
    """Run ``export.embed`` with a progress display; options are passed on."""
    from tclr.cli.progress import show_progress

    with show_progress() as display:
        display.stage("Starting")
        from tclr.pipeline.au import BUNDLED_ENCODERS, find_encoder
        from tclr.pipeline.encoder import load_encoder
        from tclr.pipeline.export import NAMES, EmbedProgress
        from tclr.pipeline.export import embed as run

        bar = display.bar("Embedding", "frames")

        def notify(progress: EmbedProgress) -> None:
            bar(progress.n_frames, progress.n_frames_total)
            bar.note(failed=len(progress.failures))

        is_own = encoder not in BUNDLED_ENCODERS or au_model not in NAMES  # the bundled AU models bring theirs
        loaded = load_encoder(find_encoder(encoder), seed=config.seed) if encoder is not None and is_own else None
        return run(store, features, loaded, config, au_model=au_model, notify=notify, **options)


def _show(result: EmbedResult, features: Path) -> None:
    from tclr.schemas.features import describe_au_source

    for failure in result.failures:
        fail(failure.reason, failure.name)
    failed = f", {len(result.failures)} failed" if result.failures else ""
    say(
        f"{features}: {result.n_rows:,} rows, {result.n_clips} clips ({result.n_skipped} were done before), "
        f"{result.n_columns} columns{failed}"
    )
    source = result.au_source.partition(":")[0]
    say(f"AUs come from {WITH_REASON.get(source) or describe_au_source(source)}.")
    if (choice := result.precision) is not None:
        say(
            f"Encoder in {choice.precision}: bf16 {choice.comparison} fp32 and changed embeddings by at most "
            f"{choice.largest_difference:.1g}."
        )
    for warning in result.warnings:
        warn(warning)
    say(f"Load: pandas.read_parquet({str(features)!r})")
