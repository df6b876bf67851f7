"""``tclr completion``: the shell script for completion with Tab."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from tclr.cli.output import Command, current

SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(shell: str) -> dict[str, str]:
    """Print the script that completes commands, options and choices of tclr with Tab.

    Write it to a file once, and again after an update of click. Have the shell read that file when it starts:

    \b
    Example:
      tclr completion bash > ~/.tclr-complete.bash
      echo '. ~/.tclr-complete.bash' >> ~/.bashrc
      tclr completion zsh > ~/.tclr-complete.zsh
      echo '. ~/.tclr-complete.zsh' >> ~/.zshrc
      tclr completion fish > ~/.config/fish/completions/tclr.fish
    """
    from tclr.cli.main import cli

    script = SHELLS[shell](cli, {}, "tclr", "_TCLR_COMPLETE").source()
    if not current().json:
        click.echo(script)  # even with --quiet: the script is all that this command is for
    return {"shell": shell, "script": script}
