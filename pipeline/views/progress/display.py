"""Progress on a terminal's standard error: stages, n of N, rate, time left, failures; silent in a pipe."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

WIDE_COLUMNS = 100
"""Terminals of this width or more show the bar at its full length."""
REFRESH_PER_S = 5


def format_rate(per_s: float | None, unit: str) -> str:
    """Return a rate with two digits below 10, or an empty text while it is unknown.

    >>> format_rate(152.3, "frames"), format_rate(2.345, "clips"), format_rate(None, "clips")
    ('152 frames/s', '2.3 clips/s', '')
    """
    if not per_s:
        return ""
    return f"{per_s:,.0f} {unit}/s" if per_s >= 10 else f"{per_s:.2g} {unit}/s"


class _BarColumn(BarColumn):
    """Shows a bar for tasks with a count."""

    def render(self, task: Task) -> ProgressBar | Text:  # type: ignore[override]
        """Return the bar, or nothing for a stage."""
        return super().render(task) if task.fields["unit"] else Text("")


class _LineColumn(ProgressColumn):
    """Shows a function's text for a task, in one line."""

    def __init__(self, describe: Callable[[Task], str], style: str) -> None:
        super().__init__(Column(no_wrap=True))
        self._describe, self._style = describe, style

    def render(self, task: Task) -> Text:
        """Return the text of the column."""
        return Text(self._describe(task), style=self._style)


def _count(task: Task) -> str:
    """Return ``12/600``, or ``12`` if the total is unknown."""
    total = "" if task.total is None else f"/{task.total:,.0f}"
    return f"{task.completed:,.0f}{total}" if task.fields["unit"] else ""


def _rate(task: Task) -> str:
    return format_rate(task.fields["rate"] or task.finished_speed or task.speed, task.fields["rate_unit"])


def _failed(task: Task) -> str:
    return f"{task.fields['failed']} failed" if task.fields["failed"] else ""


class _TimeColumn(TimeRemainingColumn):
    """Shows the time left, ``00:12 left``; without an estimate, or when finished, the elapsed time, ``00:12``."""

    def render(self, task: Task) -> Text:
        """Return the text of the column."""
        if task.time_remaining is not None and not task.finished:
            return super().render(task).append(" left")
        minutes, seconds = divmod(int(task.finished_time or task.elapsed or 0), 60)
        return Text(f"{minutes:02d}:{seconds:02d}", style="progress.elapsed")


class Bar:
    """One line with a count; call it with the number done and the total.

    >>> with show_progress(wanted=False) as display:
    ...     bar = display.bar("Detecting", "clips")
    ...     bar(3, 7)
    """

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def __call__(self, done: float, total: float | None) -> None:
        """Show the number done and the total; ``None`` for an unknown total."""
        self._progress.update(self._task, completed=done, total=total)

    def remove(self) -> None:
        """Remove the line."""
        self._progress.remove_task(self._task)

    def note(self, *, failed: int = 0, per_s: float | None = None) -> None:
        """Show how many failed so far, and a rate in a unit other than that of the count."""
        self._progress.update(self._task, failed=failed, rate=per_s)


class Display:
    """The lines of a command: its current stage, and bars.

    >>> with show_progress(wanted=False) as display:
    ...     display.stage("Looking for clips")
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage: TaskID | None = None

    def _add(self, text: str, total: float | None, unit: str, rate_unit: str = "") -> TaskID:
        return self._progress.add_task(text, total=total, unit=unit, rate_unit=rate_unit or unit, rate=None, failed=0)

    def stage(self, text: str) -> None:
        """Show work that has no count, until the next stage, the next bar, or the end of the command."""
        self.end_stage()
        self._stage = self._add(text, None, "")

    def end_stage(self) -> None:
        """Remove the line of the stage."""
        if self._stage is not None:
            self._progress.remove_task(self._stage)
            self._stage = None

    def bar(self, text: str, unit: str, *, rate_unit: str = "") -> Bar:
        """Add a bar that counts ``unit``, in the plural; its rate may be in another unit."""
        self.end_stage()
        return Bar(self._progress, self._add(text, None, unit, rate_unit))

    def turns(self, unit: str) -> Callable[[str, float, float], None]:
        """Return ``update(name, done, total)`` for named pieces of work; each new name's bar replaces the last."""
        shown: dict[str, Bar] = {}

        def update(name: str, done: float, total: float) -> None:
            if name not in shown:
                for old in list(shown):
                    shown.pop(old).remove()
                shown[name] = self.bar(name, unit)
            shown[name](done, total)

        return update

    def line(self, text: str) -> None:
        """Print a line above the display, if there is one."""
        if not self._progress.disable:
            self._progress.console.print(text, highlight=False, markup=False)


class _DownloadHandler(logging.Handler):
    """Shows log records about the download of a model as a stage."""

    def __init__(self, display: Display) -> None:
        super().__init__()
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        if record.levelno == logging.INFO:
            self._display.stage(record.getMessage())


@contextmanager
def _showing_downloads(display: Display) -> Iterator[None]:
    logger, handler = logging.getLogger("tclr.pipeline.faces.models"), _DownloadHandler(display)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _is_terminal() -> bool:
    """Return whether standard error is a terminal; FORCE_COLOR makes no terminal of a pipe."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def show_progress(wanted: bool = True) -> Iterator[Display]:
    """Show a display on a terminal's standard error until the block ends; without a terminal, or unwanted, nothing.

    >>> with show_progress(wanted=False) as display:
    ...     display.stage("Looking")
    """
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [
        SpinnerColumn(finished_text=" ", table_column=Column(no_wrap=True)),
        TextColumn("{task.description}", style="progress.description", markup=False),
        _BarColumn(bar_width=30 if console.width >= WIDE_COLUMNS else 8),
        _LineColumn(_count, "progress.download"),
        _LineColumn(_rate, "progress.data.speed"),
        _TimeColumn(compact=True, table_column=Column(no_wrap=True)),
        _LineColumn(_failed, "red"),
    ]
    disabled = not (wanted and _is_terminal())
    with Progress(
        *columns, console=console, disable=disabled, redirect_stdout=False, refresh_per_second=REFRESH_PER_S
    ) as progress:
        display = Display(progress)
        try:
            with _showing_downloads(display):
                yield display
        finally:
            display.end_stage()
