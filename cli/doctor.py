"""``tclr doctor``: checks of this machine and installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tclr.cli.options import PATH
from tclr.cli.output import Command, fail, say, show, warn

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


@click.command("doctor", cls=Command)
@click.argument("folder", type=PATH, default=Path())
def command(folder: Path) -> dict[str, Any]:
    """Check this machine and installation, and say what to fix.

    The checks cover packages, models, PyTorch's device, codecs, Dask, memory, and the disk of FOLDER. Each part is put
    to use: a portrait's face is detected, two frames per codec are decoded, a chunk is written and read, a worker is
    started. FOLDER is where you want to write stores, by default the current folder. The exit status is 1 if there is
    a problem, and 0 if there are only warnings.

    \b
    Example:
      tclr doctor
      tclr doctor /data/stores
      tclr doctor --json | jq -r '.checks[] | select(.state != "ok") | .advice'
    """
    from rich.markup import escape
    from rich.table import Table

    from tclr.cli.progress import show_progress
    from tclr.pipeline.tools.doctor import CHECKS, run_checks

    with show_progress() as display:
        bar = display.bar("Checking", "checks")
        total = len(CHECKS) + 1
        begun: list[str] = []

        def show_check(name: str) -> None:
            bar(len(begun), total)
            begun.append(name)
            display.stage(name)

        checks = list(run_checks(folder, show_check))
        bar(total, total)
    table = Table("check", "state", "found")
    for check in checks:
        table.add_row(check.name, f"[{STYLES[check.state]}]{check.state}[/]", escape(check.found))
    show(table)
    for check in checks:
        if check.state == "warning":
            warn(check.advice, check.name)
        elif check.state == "problem":
            fail(f"{check.found.rstrip('.')}. {check.advice}".rstrip(), check.name, what="problem")
    if all(check.state == "ok" for check in checks):
        say("All is well.")
    return {"checks": checks}
