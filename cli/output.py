"""The output of all commands: prose for people or one JSON document, and the options that choose between them.

Commands call ``say``, ``show``, ``warn`` and ``fail`` and return their result. ``--json`` prints the result as a
document; ``--quiet`` prints errors only. Warnings and failures go to standard error, or into the document.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from tclr.pipeline.system import printable, printable_line

if TYPE_CHECKING:
    from rich.console import RenderableType


C = TypeVar("C", bound=click.Command)


def is_first_process() -> bool:
    """Return whether this is the only process, or the first one of ``torchrun``; only that one prints."""
    return os.environ.get("RANK", "0") == "0"


@dataclass
class Output:
    """What a command may print, and its warnings and failures."""

    prose: bool = field(default_factory=is_first_process)
    progress: bool = field(default_factory=is_first_process)
    verbose: bool = False
    json: bool = False
    command: str = ""
    warnings: list[dict[str, str]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the command began."""
        return round(time.monotonic() - self.started_s, 3)

    @contextmanager
    def clean(self) -> Iterator[TextIO]:
        """Yield standard output; with ``--json``, redirect what libraries write there to standard error."""
        stream = sys.stdout
        if not self.json:
            yield stream
            return
        stream.flush()
        kept = os.dup(1)
        os.dup2(2, 1)
        try:
            with redirect_stdout(sys.stderr):
                yield stream
        finally:
            os.dup2(kept, 1)
            os.close(kept)

    def warn(self, reason: str, name: str = "") -> None:
        """See the function ``warn``."""
        self.warnings.append({"name": name, "reason": reason})
        if self.prose:
            _write_line(f"warning: {name}: {reason}" if name else f"warning: {reason}")

    def document(self, content: Mapping[str, Any]) -> str:
        """Return the JSON document of a command's result, or of its ``error``.

        Dataclasses, paths, and NumPy's scalars and arrays are allowed; NaN and infinities become null.
        """
        from pydantic_core import to_json

        about = {"command": self.command, "seconds": self.seconds}
        problems = {"warnings": self.warnings, "failures": self.failures}
        whole = about | {name: value for name, value in content.items() if name not in problems} | problems
        return to_json(whole, indent=2, inf_nan_mode="null", fallback=_to_plain).decode()


def _write_line(text: str) -> None:
    """Write a line to ``sys.stderr``, which puts it above a progress display."""
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def _to_plain(value: Any) -> Any:
    """Return a NumPy scalar or array as plain Python; anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def current() -> Output:
    """Return the output of the running command."""
    ctx = click.get_current_context(silent=True)
    found = ctx.find_object(Output) if ctx else None
    return found or Output()


def can_ask() -> bool:
    """Return whether someone is there to answer a question: both input and standard error are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def say(text: str, **style: Any) -> None:
    """Print a line of prose, or several, on standard output; spaces that align columns stay."""
    if current().prose:
        click.secho("\n".join(map(printable_line, text.split("\n"))), **style)


def show(renderable: RenderableType, *, piped_width: int = 120) -> None:
    """Print a table on standard output, as wide as the terminal, or ``piped_width`` characters in a pipe."""
    if current().prose:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else piped_width, highlight=False).print(renderable)


def warn(reason: str, name: str = "") -> None:
    """Warn of a problem that leaves a result; ``name`` is the clip or other part that it concerns."""
    current().warn(reason, name)


def fail(reason: str, name: str, *, what: str = "failed") -> None:
    """Report a part that failed and set the exit status to 1; ``what`` is the first word of the line."""
    output = current()
    output.failures.append({"name": name, "reason": reason})
    if not output.json:
        _write_line(f"{what}: {name}: {reason}")


class _LogHandler(logging.Handler):
    """Turns logged warnings of tclr into warnings of the command; ``--verbose`` shows other records."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, or add it to the warnings."""
        if record.levelno >= logging.WARNING and record.name.startswith("tclr"):
            self.output.warn(record.getMessage())
        elif self.output.verbose:
            _write_line(f"{record.name}: {record.getMessage()}")


def _configure_logging(output: Output) -> None:
    """Show logged warnings of tclr; with ``--verbose``, also its details and warnings of other libraries."""
    for name, shown in (("tclr", True), ("py.warnings", output.verbose)):
        logger = logging.getLogger(name)
        logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, _LogHandler)]
        logger.addHandler(_LogHandler(output) if shown else logging.NullHandler())
    logging.getLogger("tclr").setLevel(logging.INFO if output.verbose else logging.WARNING)


def _choose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    output = ctx.ensure_object(Output)
    if value:
        output.verbose |= param.name == "verbose"
        output.json |= param.name == "json"
        output.prose &= param.name == "verbose"
        output.progress &= param.name != "quiet"


def _options() -> list[click.Option]:
    texts = {
        "quiet": (("-q", "--quiet"), "Print errors only."),
        "verbose": (("-v", "--verbose"), "Log each step to standard error."),
        "json": (("--json",), "Print the result as one JSON document only."),
    }
    return [
        click.Option([*flags, name], is_flag=True, expose_value=False, callback=_choose, help=text)
        for name, (flags, text) in texts.items()
    ]


def with_output_options(command: C) -> C:
    """Add ``--quiet``, ``--verbose`` and ``--json`` to a command or group."""
    command.params += _options()
    return command


class Command(click.Command):
    """A command whose callback returns its result, a dataclass or a mapping, or None if it has none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        with_output_options(self)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; with ``--json``, print its document."""
        output = ctx.ensure_object(Output)
        output.command = output.command or self.name or ""
        _configure_logging(output)
        with output.clean() as stream:
            result = super().invoke(ctx)
        if output.json and result is not None and is_first_process():
            content = {f.name: getattr(result, f.name) for f in fields(result)} if is_dataclass(result) else result
            stream.write(output.document(content) + "\n")
            stream.flush()
        if output.failures:
            ctx.exit(1)
        return result
