"""``tclr evaluate``: score AU predictions by a published protocol, with baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tclr.cli.options import FILE, NAMES, PATH, PATH_OR_NAME, settings_options
from tclr.cli.output import Command, say, show
from tclr.schemas.config import EvaluateConfig, FitAuConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tclr.pipeline.evaluation import Evaluation, MethodResult, Table


def _show(tables: Sequence[Table]) -> None:
    from rich.markup import escape
    from rich.table import Table as RichTable

    for table in tables:
        shown = RichTable(title=table.title)
        for i, column in enumerate(table.columns):
            shown.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0)
        for name, cells in table.rows:
            shown.add_row(
                escape(name), *(f"[bold]{escape(c.text)}[/bold]" if c.best else escape(c.text) for c in cells)
            )
        if table.published:
            shown.add_section()
        for name, texts in table.published:
            shown.add_row(escape(name), *map(escape, texts), style="italic")
        show(shown, piped_width=160)
        for note in table.notes:
            say(f"note: {note}")


@click.command("evaluate", cls=Command)
@click.argument("stores", metavar="STORE...", nargs=-1, required=True, type=PATH)
@click.option(
    "--protocol",
    type=PATH_OR_NAME,
    required=True,
    help="bp4d-3fold, disfa-3fold, emotionet, cross:TRAIN:TEST, or a CSV file (subject,fold).",
)
@click.option(
    "--encoder",
    type=PATH_OR_NAME,
    required=True,
    help="Encoder file, run folder of 'tclr pretrain', 'box' (the bundled one), 'random' or 'random:ARCH'.",
)
@click.option("--scores", "json_file", type=PATH, help="Write every figure to this JSON file.")
@click.option("--predictions", type=PATH, help="Write out-of-fold predictions as Parquet.")
@click.option("--latex", type=PATH, help="Write the tables in LaTeX (booktabs).")
@click.option("--markdown", type=PATH, help="Write the tables in Markdown.")
@click.option("--plot", type=PATH, help="Draw the label-efficiency curve as PNG.")
@click.option("--imagenet", type=PATH, help="Add a row for ImageNet weights (torchvision's names).")
@click.option("--methods", type=NAMES, help="Rows, for example encoder,random  [default: all possible]")
@click.option(
    "--pseudonyms",
    metavar="KEYFILE",
    type=FILE,
    help="Key of a store made with --pseudonymise; bp4d-3fold and disfa-3fold list people by name.",
)
@settings_options(evaluate=EvaluateConfig, fit_au=FitAuConfig)
def command(
    stores: tuple[Path, ...],
    protocol: str,
    encoder: str,
    json_file: Path | None,
    predictions: Path | None,
    latex: Path | None,
    markdown: Path | None,
    plot: Path | None,
    imagenet: Path | None,
    methods: list[str] | None,
    pseudonyms: Path | None,
    evaluate: EvaluateConfig,
    fit_au: FitAuConfig,
) -> dict[str, Any]:
    """Score AU predictions of an encoder on unseen subjects, with baselines.

    Rows: all positive, blendshapes mapped by rules, the bundled model, landmarks and blendshapes with a linear head, an
    untrained encoder, ImageNet's features if given, and the encoder. All share folds and settings; neither heads nor
    thresholds see the test subjects. Files are rewritten after each row. Protocol cross:TRAIN:TEST takes two STOREs,
    the one to train on first.

    \b
    Example:
      tclr evaluate bp4d/ --protocol bp4d-3fold --encoder run/ --scores bp4d.json
      tclr evaluate bp4d/ disfa/ --protocol cross:bp4d:disfa --encoder run/
      tclr evaluate mine/ --protocol folds.csv --encoder run/ --latex f1.tex
    """
    from tclr.cli.progress import show_progress
    from tclr.schemas.errors import SettingError

    if plot and not evaluate.shares:
        raise SettingError(
            "Expected --label-shares for --plot, but got none. Add, for example, --label-shares 10,50,100."
        )
    files = {"Scores": json_file, "Predictions": predictions, "Markdown": markdown, "LaTeX": latex, "Curve": plot}
    wanted = {kind: path for kind, path in files.items() if path}
    results: list[MethodResult] = []
    with show_progress() as display:
        display.stage("Starting")
        from tclr.pipeline.evaluation import Evaluation, evaluation_content, result_tables

        prepared = Evaluation(
            stores, protocol, encoder, evaluate, fit_au, methods=methods, imagenet=imagenet, key_file=pseudonyms
        )
        rows = display.bar("Evaluating", "rows")
        rows(0, len(prepared.methods))
        for result in prepared.run(display.turns("steps")):
            results.append(result)
            rows(len(results), len(prepared.methods))
            tables = result_tables(prepared, results)
            for kind, path in wanted.items():
                _write(kind, path, prepared, results, tables)
    _show(tables)
    for kind, path in wanted.items():
        say(f"{kind}: {path}")
    return evaluation_content(prepared, results)


def _write(
    kind: str, path: Path, prepared: Evaluation, results: Sequence[MethodResult], tables: Sequence[Table]
) -> None:
    """Write one of the requested files."""
    from tclr.pipeline.evaluation import evaluation_content, plot_curves, to_latex, to_markdown, write_predictions
    from tclr.pipeline.system import write_json, write_text

    if kind == "Scores":
        write_json(path, evaluation_content(prepared, results))
    elif kind == "Predictions":
        write_predictions(path, prepared.data, results)
    elif kind == "Curve":
        average = prepared.config.average
        level = {r.label: r.scores["f1"][average].mean.value for r in results if not r.curve}
        curves = {r.label: r.curve for r in results if r.curve}
        plot_curves(path, curves, level, f"{prepared.plan.protocol}: labels of few people")
    else:
        write_text(path, "\n".join(map(to_markdown if kind == "Markdown" else to_latex, tables)))
