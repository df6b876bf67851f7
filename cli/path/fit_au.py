"""``tclr fit-au``: fit an AU head to labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclr.cli.options import PATH, PATH_OR_NAME, settings_options
from tclr.cli.output import Command, say, show, warn
from tclr.schemas.config import FitAuConfig

if TYPE_CHECKING:
    from tclr.pipeline.au import FitResult


def _show(result: FitResult) -> None:
    from rich.table import Table

    from tclr.schemas.action_units import AU_NAMES

    title = f"{result.n_subjects} subjects, {result.n_folds} subject-exclusive folds"
    if result.n_scaled_on is not None:
        title = f"{result.n_subjects} subjects, judged on the {result.n_scaled_on} that set scale and thresholds"
    if result.n_held_out is not None:
        title = f"{result.n_subjects} subjects, {result.n_held_out} of them held out"
    headers = ["AU", "name", "frames", "present", "F1", "F1 all positive", "ROC AUC", "threshold"]
    columns = ["base_rate", "f1", "f1_all_positive", "roc_auc", "threshold"]
    if any(score.mae is not None for score in result.scores):
        headers += ["ICC(3,1)", "MAE"]
        columns += ["icc", "mae"]
    table = Table(*headers, title=title)

    def text(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    for score in result.scores:
        name = AU_NAMES.get(int(score.name[2:]), "")
        table.add_row(score.name, name, str(score.n_frames), *(text(getattr(score, column)) for column in columns))
    means = []
    for column in columns:
        values = [getattr(score, column) for score in result.scores if getattr(score, column) is not None]
        means.append(sum(values) / len(values) if values and column != "threshold" else None)
    table.add_row("mean", "", "", *map(text, means), end_section=True)
    show(table)


@click.command("fit-au", cls=Command)
@click.argument("store", type=PATH)
@click.option(
    "--encoder",
    type=PATH_OR_NAME,
    default="box",
    show_default=True,
    help="Encoder file, run folder of 'tclr pretrain', 'box' (the bundled one), 'random' or 'random:ARCH'. --inputs "
    "blendshapes and shape need none.",
)
@click.option(
    "--labels",
    type=PATH,
    help="Your own labels: a CSV table with the columns subject, clip, frame (or timestamp) and AUs such as AU01_c, or "
    "a folder of such tables. They come before those of STORE.",
)
@click.option(
    "--neutral", type=PATH, help="Store of faces at rest, labelled or not: they, too, must be quiet (--neutral-share)."
)
@click.option("-o", "--out", type=PATH, required=True, help="The .safetensors file to write.")
@settings_options(fit_au=FitAuConfig)
def command(
    store: Path, encoder: str, labels: Path | None, neutral: Path | None, out: Path, fit_au: FitAuConfig
) -> FitResult:
    """Fit an AU head to labels, those of STORE or your own, and score it on unseen subjects.

    F1 and ROC AUC are out of fold: each subject is scored by classifiers and thresholds that never saw it. The written
    head is then fitted on all subjects. With --head finetune, the encoder learns, too: one fold of the subjects is held
    out for thresholds and scores, and the file also holds the encoder. Intensities are learnt where the labels have
    them.

    \b
    Example:
      tclr fit-au store/ -o au.safetensors
      tclr fit-au store/ --labels labels.csv -o au.safetensors
      tclr fit-au store/ --encoder run/ -o au.safetensors
      tclr fit-au store/ --inputs blendshapes -o au.safetensors
      tclr fit-au store/ --inputs face --head blend -o au.safetensors
      tclr fit-au store/ --encoder run/ -o au.safetensors --head mlp --smooth 0.1
    """
    from tclr.cli.progress import show_progress

    with show_progress() as display:
        display.stage("Starting")
        from tclr.pipeline.au import BUNDLED_ENCODERS, WITHOUT_ENCODER, find_encoder, own_head
        from tclr.pipeline.au import fit_au as fit
        from tclr.pipeline.encoder import load_encoder

        needs_one = fit_au.inputs not in WITHOUT_ENCODER
        loaded = load_encoder(find_encoder(encoder), seed=fit_au.seed) if needs_one else None
        network = own_head(find_encoder(encoder)) if needs_one and fit_au.head == "blend" else None
        reading, fitting = display.bar("Reading", "frames"), display.bar("Fitting", "steps")
        told = {"progress": reading, "fit_progress": fitting}
        result = fit(store, loaded, out, fit_au, network=network, labels=labels, neutral=neutral, **told)
    _show(result)
    if (match := result.labels) is not None:
        say(f"Labels: {match.n_matched:,} of {match.n_rows:,} rows of {labels} found their frame.")
        for note in match.notes:
            warn(note)
    for name, reason in result.left_out.items():
        warn(f"left out: {reason} in the labels", name)
    say(f"AU head: {out}")
    encoder = str(out) if fit_au.head == "finetune" else encoder
    brings_own = not needs_one or encoder in BUNDLED_ENCODERS
    given = "" if brings_own else f" --encoder {encoder}"
    if given and encoder.split(":")[0] == "random" and fit_au.seed:
        given += f" --seed {fit_au.seed}"
    say(f"Next: tclr embed {store} features/{given} --au-model {out}")
    return result
