"""The ``tclr`` command group: finds commands when they are needed, and turns errors into one line."""

from __future__ import annotations

import importlib
import logging
import sys
from importlib.metadata import version

import click

from tclr.pipeline.text import printable
from tclr.schemas.errors import TclrError

COMMANDS = {
    "demo": "Run every stage on demo clips and show the features.",
    "synth": "Write labelled demo clips: two animated portraits in BP4D's layout.",
    "datasets": "List the datasets that preprocess knows, with their layout.",
    "pseudonyms": "Tell who is who in a store that was made with --pseudonymise.",
    "preprocess": "Detect, align and store the faces of a folder of videos or a dataset.",
    "inspect": "Show or verify what a store holds.",
    "pretrain": "Train an encoder without labels by temporal consistency.",
    "ablate": "Train variants of the pretraining recipe and judge each on people it has not seen.",
    "fit-au": "Fit an Action Unit head on a frozen encoder from a store with labels.",
    "evaluate": "Score Action Units by a protocol of the literature, beside baselines.",
    "embed": "Export per-frame embeddings and Action Units to Parquet.",
    "report": "Write one HTML page that shows a run.",
    "view": "Play clips beside their AU curves in a local page, and mark AU events.",
    "overlay": "Write a video with faces and Action Units drawn on it.",
    "bench": "Measure what the stages cost, as ratios within one run.",
}
"""Commands in the order of the work. Each lives in ``cli/<name>.py`` as ``command`` and is imported on use."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the command names in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"tclr.cli.{cmd_name.replace('-', '_')}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the known commands when one is unknown."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"Unknown command {args[0]!r}. Known commands: {', '.join(sorted(COMMANDS))}.")
        return super().resolve_command(ctx, args)


class OneLine(logging.Formatter):
    """Shows a message in one line, whatever the names in it hold."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback, if there is one, follows it as it is."""
        return printable(super().formatMessage(record))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version("tclr-face"), prog_name="tclr")
@click.option("-v", "--verbose", is_flag=True, help="Log what is done, to standard error.")
def cli(verbose: bool) -> None:
    """Raw face video in, trustworthy per-frame features out.

    \b
    Example, on demo clips:
      tclr synth demo/clips
      tclr preprocess demo/clips demo/store --dataset bp4d
      tclr pretrain demo/store demo/run --epochs 5 --image-size 64
      tclr fit-au demo/store --encoder demo/run -o demo/au.safetensors
      tclr embed demo/store demo/features --encoder demo/run --au-model demo/au.safetensors
    """
    logger = logging.getLogger("tclr")
    logger.setLevel(logging.INFO if verbose else logging.ERROR)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(OneLine("%(name)s: %(message)s"))
        logger.addHandler(handler)


def main() -> None:
    """Run ``tclr``; an expected error becomes one line and exit status 1."""
    try:
        cli(standalone_mode=True)
    except TclrError as error:
        click.echo(f"tclr: {printable(error)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
