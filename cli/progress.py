"""Progress of commands on standard error; silent in a pipe and with ``--quiet``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tclr.cli.output import current
from tclr.pipeline.views.progress import Bar, Display
from tclr.pipeline.views.progress import show_progress as show


def show_progress() -> AbstractContextManager[Display]:
    """Show a display on a terminal's standard error until the block ends."""
    return show(current().progress)


@contextmanager
def progress_bar(text: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show one bar that counts ``unit``, in the plural; yield ``update(done, total)``."""
    with show_progress() as display:
        display.stage("Starting")
        bars: list[Bar] = []

        def update(done: int, total: int) -> None:
            if not bars:
                bars.append(display.bar(text, unit))
            bars[0](done, total)

        yield update
