"""The ``tclr`` command group: finds commands when they are needed, and turns errors into one line."""

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
from tclr.schemas.errors import TclrError

STAGES = {
    "To begin with": {
        "demo": "Run every stage on demo clips and show the features.",
        "doctor": "Check this machine and installation, and say what to fix.",
        "synth": "Write labelled demo clips: animated portraits in BP4D's layout.",
    },
    "From videos to a store": {
        "datasets": "List the datasets that preprocess knows, with their layout.",
        "pseudonyms": "Tell who is who in a store that was made with --pseudonymise.",
        "preprocess": "Detect, align and store the faces of a folder of videos or a dataset.",
        "inspect": "Show or verify what a store holds.",
    },
    "From a store to features": {
        "pretrain": "Train an encoder without labels by temporal consistency.",
        "fit-au": "Fit an Action Unit head on a frozen encoder from a store with labels.",
        "embed": "Export per-frame embeddings and Action Units to Parquet.",
    },
    "To judge": {
        "evaluate": "Score Action Units by a protocol of the literature, beside baselines.",
        "ablate": "Train variants of the pretraining recipe and judge each on people it has not seen.",
        "box": "Make the model in the box: an encoder with an AU head, judged on people it has not seen.",
        "bench": "Measure what the stages cost, as ratios within one run.",
    },
    "To look at": {
        "report": "Write one HTML page that shows a run.",
        "view": "Play clips beside their AU curves in a local page, and mark AU events.",
        "overlay": "Write a video with faces and Action Units drawn on it.",
    },
    "For the shell": {
        "completion": "Print the script that completes commands and options with Tab.",
    },
}
"""Commands by what they are for. Each is called ``command`` in a module of its name, which is imported on use."""
FOLDERS = {
    "From videos to a store": "path.",
    "From a store to features": "path.",
    "To judge": "judge.",
    "To look at": "look.",
}
"""Folder of ``cli`` that has the modules of a stage's commands; the others lie in ``cli`` itself."""
COMMANDS = {name: text for commands in STAGES.values() for name, text in commands.items()}
MODULES = {
    name: f"tclr.cli.{FOLDERS.get(stage, '')}{name.replace('-', '_')}" for stage, its in STAGES.items() for name in its
}

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of the help."""
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
        """Complete a command's name without importing any; options as click does."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [CompletionItem(name, help=text) for name, text in COMMANDS.items() if name.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the known commands when one is unknown."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"Unknown command {args[0]!r}. Known commands: {', '.join(sorted(COMMANDS))}.")
        return super().resolve_command(ctx, args)


@with_output_options
@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("tclr-face"), prog_name="tclr")
def cli() -> None:
    """Raw face video in, trustworthy per-frame features out.

    \b
    Example, on demo clips:
      tclr synth demo/clips
      tclr preprocess demo/clips demo/store --dataset bp4d
      tclr pretrain demo/store demo/run --epochs 5 --image-size 64
      tclr fit-au demo/store --encoder demo/run -o demo/au.safetensors
      tclr embed demo/store demo/features --encoder demo/run --au-model demo/au.safetensors

    The options below may also stand behind the command's name.
    """


def run(args: list[str]) -> int:
    """Run ``tclr``; an expected error becomes one line, or a JSON document.

    Returns
    -------
    int
        Exit status: 0, or 1 for an expected error or if a part failed, 2 for a wrong command line, 130 after Ctrl-C.
    """
    output = Output()
    try:
        status = cli.main(args, prog_name="tclr", standalone_mode=False, obj=output)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        output.json = output.json or "--json" in args  # it was not read that far
        if not output.json:
            error.show()
            return error.exit_code
        return _tell_error(output, "UsageError", error.format_message(), error.exit_code)
    except click.Abort:
        return _tell_error(output, "Interrupted", "Interrupted.", INTERRUPTED)
    except TclrError as error:
        return _tell_error(output, type(error).__name__, printable(error), 1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # who read our output has gone: nothing is left to flush
            return 1
        traceback.print_exception(error)  # a defect of ours
        return _tell_error(output, type(error).__name__, str(error), 1) if output.json else 1


def _tell_error(output: Output, kind: str, text: str, status: int) -> int:
    """Print one line, or the JSON document of a command that did not come to a result; return the exit status."""
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
