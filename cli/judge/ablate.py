"""``tclr ablate``: the worth of each part of a pretraining recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tclr.cli.options import NAMES, PATH, given_options, init_option
from tclr.cli.output import Command, say, show
from tclr.schemas.config import PretrainConfig


@click.command("ablate", cls=Command)
@click.argument("store", type=PATH)
@click.argument("probe", type=PATH)
@click.argument("out", type=PATH)
@click.option("--variants", type=NAMES, default="paper,tclr", show_default=True, help="Names of variants, or all.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Seeds per variant: 0, 1, ...")
@click.option("--classes", type=PATH, help="Store with one subject per class, such as an emotion, to judge on, too.")
@init_option
@given_options(PretrainConfig, without=("seed", "recipe"))
def command(
    store: Path,
    probe: Path,
    out: Path,
    variants: list[str],
    seeds: int,
    classes: Path | None,
    init: str | None,
    common: dict[str, Any],
) -> dict[str, Any]:
    """Train variants of the recipe on STORE and judge each on PROBE.

    PROBE is a store with AU labels of other people. A linear probe per AU is fitted to the frozen embeddings, on the
    same subject-exclusive folds for all variants. The table also has an untrained encoder, landmarks with and without
    head pose (shape) and blendshapes. Settings given here apply to all variants. Results are kept in OUT, the table as
    OUT/table.md; run the same command again to resume.

    With --classes the table shows how often a linear probe names the class of a picture or video that it was not
    fitted on. The class is the subject: preprocess a folder with one folder per class.

    \b
    Example:
      tclr ablate people/ bp4d/ ablation/ --image-size 64 --epochs 4
      tclr ablate people/ bp4d/ ablation/ --variants all --seeds 5
      tclr ablate people/ bp4d/ ablation/ --classes emotions/ --init facemesh
    """
    from rich.markdown import Markdown

    from tclr.cli.progress import show_progress

    with show_progress() as display:
        display.stage("Starting")
        from tclr.pipeline.evaluation import VARIANTS, AblationResult, ablation_markdown, run_ablation, summarise
        from tclr.pipeline.system import write_text

        names = list(VARIANTS) if variants == ["all"] else variants
        results: list[AblationResult] = []
        display.stage("Judging landmarks, blendshapes and untrained encoders")
        progress = display.turns("tuples")
        for result in run_ablation(
            store, probe, out, names, range(seeds), common, init=init, classes=classes, progress=progress
        ):
            results.append(result)
            line = f"{result.variant}, seed {result.seed}: F1 {result.f1:.3f}, ROC-AUC {result.roc_auc:.3f}"
            others = {"accuracy of classes": result.accuracy, "ranking accuracy": result.ranking}
            display.line(
                ", ".join([line, *(f"{name} {value:.3f}" for name, value in others.items() if value is not None)])
            )
            write_text(out / "table.md", ablation_markdown(summarise(results)))
    rows = summarise(results)
    show(Markdown(ablation_markdown(rows)))
    say(f"Table: {out / 'table.md'}")
    return {"table": out / "table.md", "variants": rows, "results": results}
