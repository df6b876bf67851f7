"""``tclr fit-au``: fit an AU head on a frozen encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclr.cli.options import settings_options
from tclr.schemas.config import FitAuConfig

if TYPE_CHECKING:
    from tclr.pipeline.fit_au import FitResult


def _show(result: FitResult) -> None:
    from rich.console import Console
    from rich.table import Table

    from tclr.schemas.action_units import AU_NAMES

    title = f"{result.n_subjects} subjects, {result.n_folds} subject-exclusive folds"
    table = Table("AU", "name", "frames", "present", "F1", "F1 all positive", "ROC AUC", "threshold", title=title)

    def text(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    for score in result.scores:
        name = AU_NAMES.get(int(score.name[2:]), "")
        numbers = (score.base_rate, score.f1, score.f1_all_positive, score.roc_auc, score.threshold)
        table.add_row(score.name, name, str(score.n_frames), *map(text, numbers))
    measured = [score for score in result.scores if score.f1 is not None and score.roc_auc is not None]
    if measured:
        columns = ("base_rate", "f1", "f1_all_positive", "roc_auc")
        means = [sum(getattr(score, column) for score in measured) / len(measured) for column in columns]
        table.add_row("mean", "", "", *map(text, means), end_section=True)
    Console(width=120).print(table)


@click.command("fit-au")
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--encoder", required=True, help="Encoder file, run folder of 'tclr pretrain', 'random', or 'random:ARCH'."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@settings_options(fit_au=FitAuConfig)
def command(store: Path, encoder: str, out: Path, fit_au: FitAuConfig) -> None:
    """Fit an AU head on the labelled frames of STORE and print how well it does on subjects it has not seen.

    F1 and ROC AUC are out of fold: each subject is scored by classifiers and thresholds that never saw it. The
    head that is written is then fitted on all subjects.

    \b
    Example:
      tclr fit-au store/ --encoder run/ -o au.safetensors
    """
    from tclr.cli.progress import progress_bar
    from tclr.pipeline.encoder import load_encoder
    from tclr.pipeline.fit_au import fit_au as fit

    with progress_bar("Embedding", "frames") as progress:
        result = fit(store, load_encoder(encoder, seed=fit_au.seed), out, fit_au, progress=progress)
    _show(result)
    for name, reason in result.left_out.items():
        click.echo(f"warning: {name} is left out: {reason} in the labels", err=True)
    click.echo(f"AU head: {out}")
    seed = f" --seed {fit_au.seed}" if encoder.split(":")[0] == "random" and fit_au.seed else ""
    click.echo(f"Next: tclr embed {store} features/ --encoder {encoder}{seed} --au-model {out}")
