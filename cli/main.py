"""The ``tclr`` command group: imports commands when they run, and turns errors into one line."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
import traceback
from importlib.metadata import version

import click
from click.shell_completion import CompletionItem

from tclr.cli.output import Output, with_output_options
from tclr.pipeline.system import printable
from tclr.schemas.errors import TclrError, suggestion

STAGES = {
    "Getting started": {
        "demo": "Show what the bundled models see in moving faces.",
        "doctor": "Check this machine and installation, and say what to fix.",
        "synth": "Write labelled demo clips: animated portraits in BP4D's layout.",
    },
    "From videos to a store": {
        "datasets": "List the datasets that preprocess reads, with their layouts.",
        "pseudonyms": "List who is who in a store made with --pseudonymise.",
        "preprocess": "Detect, align and store the faces of videos or a dataset.",
        "inspect": "Show what a store holds, or verify it.",
        "remove": "Remove a person or a recording from a store and features.",
    },
    "From a store to features": {
        "pretrain": "Train an encoder without labels by temporal consistency.",
        "fit-au": "Fit an Action Unit head to the labels of a store.",
        "embed": "Export per-frame embeddings and Action Units to Parquet.",
        "export": "Write features as CSV, as OpenFace's or as Py-Feat's table.",
    },
    "Judging methods and models": {
        "evaluate": "Score Action Units by a published protocol, with baselines.",
        "ablate": "Train variants of the pretraining recipe and compare them.",
        "box": "Build and judge the bundled models: an encoder with AU heads.",
        "evidence": "Judge the bundled models on pictures and videos of your own.",
        "sight": "Build and judge the bundled judge of hidden regions.",
        "people": "Make photo people: videos of portraits with true labels.",
        "bench": "Measure what each stage costs, as ratios within one run.",
    },
    "Looking at results": {
        "report": "Write one HTML page that shows a run.",
        "view": "Play clips with their AU curves and mark AU events.",
        "overlay": "Write a video with faces and Action Units drawn on it.",
        "live": "Analyse a camera or stream as it comes: overlay and CSV.",
    },
    "Shell": {
        "completion": "Print the script for completion with Tab.",
    },
}
"""Commands and their summaries by purpose. A command is the object ``command`` of the module of its name."""
FOLDERS = {
    "From videos to a store": "path.",
    "From a store to features": "path.",
    "Judging methods and models": "judge.",
    "Looking at results": "look.",
}
"""Folder below ``cli/`` of the modules of a group of commands; other modules are in ``cli/`` itself."""
COMMANDS = {name: text for commands in STAGES.values() for name, text in commands.items()}
MODULES = {
    name: f"tclr.cli.{FOLDERS.get(stage, '')}{name.replace('-', '_')}" for stage, its in STAGES.items() for name in its
}

INTERRUPTED = 130
"""Exit status after Ctrl-C, as in shells: 128 + SIGINT."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(MODULES[cmd_name]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        widest = max(map(len, COMMANDS))
        for stage, commands in STAGES.items():
            with formatter.section(stage):
                formatter.write_dl([(name.ljust(widest), text) for name, text in commands.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name without importing any command; complete options as click does."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """List the known commands in the error for an unknown one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            known = ", ".join(sorted(COMMANDS))
            ctx.fail(f"Unknown command {args[0]!r}. Known commands: {known}.{suggestion(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@with_output_options
@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("tclr-face"), prog_name="tclr")
def cli() -> None:
    """Raw face video in, trustworthy per-frame features out.

    \b
    Example, on demo clips:
      tclr synth clips/
      tclr preprocess clips/ store/ --dataset bp4d
      tclr pretrain store/ run/ --epochs 5 --image-size 64
      tclr fit-au store/ --encoder run/ -o au.safetensors
      tclr embed store/ features/ --encoder run/ --au-model au.safetensors

    The options below may also follow the command's name.
    """


def run(args: list[str]) -> int:
    """Run ``tclr`` and show an expected error as one line, or as a JSON document.

    Returns
    -------
    int
        Exit status: 0, 1 for an error or a part that failed, 2 for a wrong command line, 130 after Ctrl-C.
    """
    output = Output()
    try:
        status = cli.main(args, prog_name="tclr", standalone_mode=False, obj=output)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        output.json = output.json or "--json" in args  # the error may come before this option is parsed
        if not output.json:
            error.show()
            return error.exit_code
        return _show_error(output, "UsageError", error.format_message(), error.exit_code)
    except click.Abort:
        return _show_error(output, "Interrupted", "Interrupted.", INTERRUPTED)
    except TclrError as error:
        return _show_error(output, type(error).__name__, printable(error), 1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader of our output is gone: flush to nowhere
            return 1
        traceback.print_exception(error)  # a defect of tclr
        return _show_error(output, type(error).__name__, str(error), 1) if output.json else 1


def _show_error(output: Output, kind: str, text: str, status: int) -> int:
    """Print one line, or the JSON document of a command without a result; return the exit status."""
    if output.json:
        click.echo(output.document({"error": {"type": kind, "message": text}}))
    else:
        click.echo(f"tclr: {text}", err=True)
    return status


def main() -> None:
    """Run ``tclr`` as this process."""
    if not sys.warnoptions:
        logging.captureWarnings(True)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
