"""``tclr completion``: the script that completes commands and options with Tab."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from tclr.cli.output import Command, current

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(shell: str) -> dict[str, str]:
    """Print the script that completes commands, options and choices of tclr with Tab in SHELL.

    Write it to a file once, and again after an update of click, and have the shell read it:

    \b
    Example:
      tclr completion bash > ~/.tclr-complete.bash && echo '. ~/.tclr-complete.bash' >> ~/.bashrc
      tclr completion zsh > ~/.tclr-complete.zsh && echo '. ~/.tclr-complete.zsh' >> ~/.zshrc
      tclr completion fish > ~/.config/fish/completions/tclr.fish
    """
    from tclr.cli.main import cli

    script = SHELLS[shell](cli, {}, "tclr", "_TCLR_COMPLETE").source()
    if not current().json:
        click.echo(script)  # with --quiet, too: there is nothing else to this command
    return {"shell": shell, "script": script}
