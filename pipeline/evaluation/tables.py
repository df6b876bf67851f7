"""Tables of an evaluation as papers print them: one row per method, one column per AU, F1 in percent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tclr.pipeline.au import Estimate
from tclr.pipeline.evaluation.evaluation import Evaluation, MethodResult
from tclr.pipeline.system import markdown_table

EMPTY = "-"
BY_HAND = "all-positive"
"""Shown for comparison; it never counts as the best."""


@dataclass(frozen=True)
class Cell:
    """A figure as text, and whether it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """``rows`` are (name, cells), ``published`` rows of other papers; ``notes`` go below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    published: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()


def _text(estimate: Estimate, scale: float, digits: int, interval: bool) -> str:
    value, low, high = (
        EMPTY if math.isnan(number) else f"{scale * number:.{digits}f}"
        for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]" if interval and low != EMPTY else value


def _column(
    estimates: Sequence[Estimate], competes: Sequence[bool], scale: float, digits: int, sign: int, interval: bool
) -> list[Cell]:
    """Return the cells of a column; ``sign`` is 1 where more is better, -1 where less is."""
    rivals = [e.value for e, rival in zip(estimates, competes, strict=True) if rival and not math.isnan(e.value)]
    best = max(rivals, key=lambda value: sign * value) if len(rivals) > 1 else math.nan
    return [
        Cell(_text(e, scale, digits, interval), rival and e.value == best)
        for e, rival in zip(estimates, competes, strict=True)
    ]


def _rows(
    results: Sequence[MethodResult], columns: Sequence[Sequence[Cell]]
) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    return tuple(zip([result.label for result in results], zip(*columns, strict=True), strict=True))


def _notes(results: Sequence[MethodResult], n_aus: int) -> tuple[str, ...]:
    """Return what a reader must know of each row."""
    notes = []
    for result in results:
        if result.n_aus < n_aus:
            notes.append(f"{result.label}: {result.n_aus} of the {n_aus} AUs; its means are over these")
        notes += [f"{result.label}: {note}" for note in result.notes]
    return tuple(notes)


def f1_table(
    results: Sequence[MethodResult],
    au_names: Sequence[str],
    *,
    title: str,
    average: str,
    interval: bool = False,
    published: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """Return F1 in percent, of each AU and the mean; the best of each column is marked where several methods compete.

    ``average`` is ``folds`` or ``pooled``, see ``au.score``; ``interval`` adds 95% intervals; ``published`` has mean F1
    in percent by method of the literature; ``notes`` are put below the table, before those of the rows.
    """
    competes = [result.method != BY_HAND for result in results]
    # a mean over fewer AUs is another figure: it does not compete
    whole = [ok and result.n_aus == len(au_names) for ok, result in zip(competes, results, strict=True)]
    scores = [result.scores["f1"][average] for result in results]
    columns = [([s.aus[i] for s in scores], competes) for i in range(len(au_names))] + [
        ([s.mean for s in scores], whole)
    ]
    cells = [_column(estimates, rivals, 100, 1, 1, interval) for estimates, rivals in columns]
    given = tuple(
        (f"{name} (published)", (*[EMPTY] * len(au_names), f"{f1:.1f}")) for name, f1 in (published or {}).items()
    )
    header = ("AU", *(str(int(name[2:])) for name in au_names), "Avg.")
    return Table(title, header, _rows(results, cells), given, (*notes, *_notes(results, len(au_names))))


def summary_table(results: Sequence[MethodResult], n_aus: int, *, title: str, average: str) -> Table:
    """Return the means over AUs of all metrics, with intervals; intensity only where it was measured."""
    columns = {"F1 (%)": ("f1", 100, 1, 1), "accuracy (%)": ("accuracy", 100, 1, 1), "ROC-AUC": ("roc_auc", 1, 3, 1)}
    if any(not math.isnan(result.scores["mae"][average].mean.value) for result in results):
        columns |= {"ICC(3,1)": ("icc_3_1", 1, 3, 1), "MAE": ("mae", 1, 3, -1)}
    competes = [result.method != BY_HAND and result.n_aus == n_aus for result in results]
    cells = [
        _column([result.scores[name][average].mean for result in results], competes, scale, digits, sign, True)
        for name, scale, digits, sign in columns.values()
    ]
    return Table(title, ("method", *columns), _rows(results, cells))


def result_tables(evaluation: Evaluation, results: Sequence[MethodResult]) -> tuple[Table, Table]:
    r"""Return the table of F1 by AU, and that of all metrics' means.

    Examples
    --------
    >>> from tclr.schemas.config import EvaluateConfig, FitAuConfig
    >>> _ = Path("folds.csv").write_text("subject,fold\nF001,a\nF003,b\n")
    >>> stores, methods = [Path("store")], ["all-positive"]
    >>> evaluation = Evaluation(stores, "folds.csv", "random", EvaluateConfig(), FitAuConfig(), methods=methods)
    >>> result_tables(evaluation, list(evaluation.run()))[0].title
    'folds.csv: F1 (%), mean over folds; 32 frames of 2 subjects'
    """
    plan, data, config = evaluation.plan, evaluation.data, evaluation.config
    way = {"folds": "mean over folds", "pooled": "all folds' frames together"}[config.average]
    way = "one split" if len(plan.splits) == 1 else way
    notes = list(plan.notes)
    if data.n_tested < data.n_labelled:
        notes.append(
            f"{data.n_labelled - data.n_tested:,} of {data.n_labelled:,} labelled frames have no face, no score"
        )
    frames = f"{data.n_tested:,} frames of {len({u for s in plan.splits for u in s.test})} {plan.unit}s"
    f1 = f1_table(
        results,
        plan.au_names,
        title=f"{plan.protocol}: F1 (%), {way}; {frames}",
        average=config.average,
        interval=config.intervals,
        published=plan.published,
        notes=notes,
    )
    title = f"{plan.protocol}: means over AUs, [95% over resampled {plan.unit}s]"
    return f1, summary_table(results, len(plan.au_names), title=title, average=config.average)


def to_markdown(table: Table) -> str:
    """Return a table in Markdown: best in bold, published figures in italics, notes as a list.

    Examples
    --------
    >>> table = Table("F1 (%)", ("AU", "1"), (("encoder", (Cell("65.0", best=True),)),))
    >>> print(to_markdown(table).splitlines()[-1])
    | encoder | **65.0** |
    """
    rows = [[name, *(f"**{c.text}**" if c.best else c.text for c in cells)] for name, cells in table.rows]
    rows += [[f"*{name}*", *texts] for name, texts in table.published]
    notes = "".join(f"- {note}\n" for note in table.notes)
    return f"**{table.title}**\n\n{markdown_table(table.columns, rows, numbers=True)}" + (notes and f"\n{notes}")


_LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"}
)


def _latex_row(texts: Sequence[str], best: Sequence[bool] = ()) -> str:
    cells = [text.translate(_LATEX) for text in texts]
    marked = [rf"\textbf{{{cell}}}" if mark else cell for cell, mark in zip(cells[1:], best, strict=False)]
    return " & ".join([cells[0], *(marked or cells[1:])]) + r" \\"


def to_latex(table: Table) -> str:
    r"""Return a table in LaTeX for ``\usepackage{booktabs}``: best in bold, notes as comments.

    Examples
    --------
    >>> table = Table("F1 (%)", ("AU", "1"), (("encoder", (Cell("65.0", best=True),)),))
    >>> print(to_latex(table).splitlines()[5])
    encoder & \textbf{65.0} \\
    """
    lines = [f"% {table.title}", *(f"% {note}" for note in table.notes)]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"\toprule"]
    lines += [_latex_row(table.columns), r"\midrule"]
    lines += [_latex_row([name, *(c.text for c in cells)], [c.best for c in cells]) for name, cells in table.rows]
    if table.published:
        lines += [r"\midrule", *(_latex_row([name, *texts]) for name, texts in table.published)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
