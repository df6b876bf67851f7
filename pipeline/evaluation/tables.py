"""Tables of an evaluation as papers print them: a row a method, a column an AU, F1 in percent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tclr.pipeline.au import Estimate
from tclr.pipeline.evaluation.evaluation import MethodResult

EMPTY = "-"
BY_HAND = "all-positive"
"""Is shown for comparison, and never the best."""


@dataclass(frozen=True)
class Cell:
    """A figure as text, and whether it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """``rows`` are (name, cells); ``published`` the figures of other papers in the same columns; ``notes`` below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    published: tuple[tuple[str, tuple[str, ...]], ...] = ()
    notes: tuple[str, ...] = ()


def _number(value: float, scale: float, digits: int) -> str:
    return EMPTY if math.isnan(value) else f"{scale * value:.{digits}f}"


def _text(estimate: Estimate, scale: float, digits: int, interval: bool) -> str:
    text = _number(estimate.value, scale, digits)
    if interval and not math.isnan(estimate.low):
        text += f" [{_number(estimate.low, scale, digits)}, {_number(estimate.high, scale, digits)}]"
    return text


def _column(
    estimates: Sequence[Estimate], competes: Sequence[bool], *, scale: float, digits: int, best: int, interval: bool
) -> list[Cell]:
    """Return the cells of a column; ``best`` is 1 where more is better, -1 where less is."""
    rivals = [e.value for e, rival in zip(estimates, competes, strict=True) if rival and not math.isnan(e.value)]
    winner = max(rivals, key=lambda value: best * value) if len(rivals) > 1 else math.nan
    return [
        Cell(_text(e, scale, digits, interval), rival and e.value == winner)
        for e, rival in zip(estimates, competes, strict=True)
    ]


def _join(labels: Sequence[str], columns: Sequence[Sequence[Cell]]) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    return tuple(zip(labels, zip(*columns, strict=True), strict=True))


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
    """Return F1 in percent, of each AU and the mean.

    Parameters
    ----------
    results : sequence of MethodResult
        The rows.
    au_names : sequence of str
        The columns, as ``AU01``.
    title : str
        Above the table.
    average : str
        ``folds`` or ``pooled``, see ``metrics.score``.
    interval : bool
        Add 95% intervals.
    published : mapping, optional
        Mean F1 in percent by the name of a method of the literature.
    notes : sequence of str
        Below the table, before those of the rows.

    Returns
    -------
    Table
        The best of each column is marked where several methods compete.
    """
    competes = [result.method != BY_HAND for result in results]
    # a mean over fewer AUs is another figure: it does not compete
    whole = [ok and result.n_aus == len(au_names) for ok, result in zip(competes, results, strict=True)]
    scores = [result.scores["f1"][average] for result in results]
    percent = partial(_column, scale=100, digits=1, best=1, interval=interval)
    columns = [percent([s.aus[i] for s in scores], competes) for i in range(len(au_names))]
    columns.append(percent([s.mean for s in scores], whole))
    given = tuple(
        (f"{name} (published)", (*[EMPTY] * len(au_names), f"{f1:.1f}")) for name, f1 in (published or {}).items()
    )
    header = (*(str(int(name[2:])) for name in au_names), "Avg.")
    rows = _join([result.label for result in results], columns)
    return Table(title, ("AU", *header), rows, given, (*notes, *_notes(results, len(au_names))))


def summary_table(results: Sequence[MethodResult], n_aus: int, *, title: str, average: str) -> Table:
    """Return the means over AUs of all metrics, with intervals; intensity only where it was measured."""
    columns = {"F1 (%)": ("f1", 100, 1, 1), "accuracy (%)": ("accuracy", 100, 1, 1), "ROC-AUC": ("roc_auc", 1, 3, 1)}
    intensity = {"ICC(3,1)": ("icc_3_1", 1, 3, 1), "MAE": ("mae", 1, 3, -1)}
    if any(not math.isnan(result.scores["mae"][average].mean.value) for result in results):
        columns |= intensity
    competes = [result.method != BY_HAND and result.n_aus == n_aus for result in results]
    cells = [
        _column(
            [r.scores[name][average].mean for r in results],
            competes,
            scale=scale,
            digits=digits,
            best=best,
            interval=True,
        )
        for name, scale, digits, best in columns.values()
    ]
    return Table(title, ("method", *columns), _join([result.label for result in results], cells))


def to_markdown(table: Table) -> str:
    """Return a table in Markdown: best in bold, published figures in italics, notes as a list."""
    lines = [f"**{table.title}**", "", "| " + " | ".join(table.columns) + " |"]
    lines.append("|---" + "|---:" * (len(table.columns) - 1) + "|")
    for name, cells in table.rows:
        lines.append("| " + " | ".join([name, *(f"**{c.text}**" if c.best else c.text for c in cells)]) + " |")
    for name, texts in table.published:
        lines.append("| " + " | ".join([f"*{name}*", *texts]) + " |")
    if table.notes:
        lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


_LATEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"}
)


def _latex(text: str) -> str:
    return text.translate(_LATEX)


def to_latex(table: Table) -> str:
    r"""Return a table in LaTeX for ``\usepackage{booktabs}``: best in bold, notes as comments."""
    lines = [f"% {table.title}", *(f"% {note}" for note in table.notes)]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"\toprule"]
    lines += [" & ".join(map(_latex, table.columns)) + r" \\", r"\midrule"]
    for name, cells in table.rows:
        texts = (rf"\textbf{{{_latex(c.text)}}}" if c.best else _latex(c.text) for c in cells)
        lines.append(" & ".join([_latex(name), *texts]) + r" \\")
    if table.published:
        lines.append(r"\midrule")
        lines += [" & ".join(map(_latex, (name, *texts))) + r" \\" for name, texts in table.published]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
