"""``tclr remove``: take a person or a recording out of a store, and of what was made from it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tclr.cli.options import FILE, PATH
from tclr.cli.output import Command, fail, say, warn

if TYPE_CHECKING:
    from tclr.pipeline.preprocessing import Removal, Withdrawal


@click.command("remove", cls=Command)
@click.argument("store", type=PATH)
@click.argument("name", metavar="SUBJECT[/CLIP]")
@click.option("--features", type=PATH, multiple=True, help="Remove them from this folder of 'tclr embed', too.")
@click.option(
    "--check",
    type=PATH,
    multiple=True,
    help="List the files below this path that learnt from them or name them; nothing there is changed.",
)
@click.option(
    "--pseudonyms", metavar="KEYFILE", type=FILE, help="Key of a store made with --pseudonymise, for a real name."
)
@click.option("--readmit", is_flag=True, help="Only let 'tclr preprocess' store them again.")
@click.option("--dry-run", is_flag=True, help="Only list what would be deleted and rewritten.")
@click.option("--yes", is_flag=True, help="Remove without confirmation.")
def command(
    store: Path,
    name: str,
    features: tuple[Path, ...],
    check: tuple[Path, ...],
    pseudonyms: Path | None,
    readmit: bool,
    dry_run: bool,
    yes: bool,
) -> dict[str, Any]:
    """Remove a person, or one recording, from STORE and keep them out.

    SUBJECT removes all clips of a person, SUBJECT/CLIP everyone in that recording, SUBJECT/CLIP#2 that person alone.
    Arrays, copies in old/, unfinished parts and rows of the manifest are deleted. The list STORE/withdrawn.json makes
    'tclr preprocess' skip them. The source is not touched. If the command is interrupted, run it again to finish.

    \b
    Example:
      tclr remove store/ F001 --features features/ --dry-run
      tclr remove store/ F001 --features features/ --check run/
      tclr remove store/ anna/rest --yes
      tclr remove store/ anna --pseudonyms ~/keys/study.key
      tclr remove store/ anna/rest --readmit
    """
    from tclr.pipeline.preprocessing import find_mentions, withdraw
    from tclr.pipeline.preprocessing import readmit as let_back

    if readmit:
        known = let_back(store, name, key_file=pseudonyms)
        say(f"{known} may return: the next 'tclr preprocess' stores them again, if the source has them.")
        return {"store": store, "name": known, "readmitted": True}

    def confirm(removal: Removal) -> bool:
        _show(removal)
        if dry_run or removal.is_empty:
            return not dry_run
        return yes or click.confirm("Delete this for good?", err=True)

    result = withdraw(store, name, features=features, key_file=pseudonyms, confirm=confirm)
    mentions = find_mentions(check, result.name.partition("/")[0])
    for mention in mentions:
        warn(mention.what, str(mention.path))
    _report(result, is_checked=bool(check))
    return {**asdict(result), "mentions": mentions}


def _show(removal: Removal) -> None:
    for file in removal.files:
        again = (
            " (a clip that stays, measured from what goes: run 'tclr embed' again)" if file in removal.rebuilt else ""
        )
        say(f"delete   {file}{again}")
    if removal.rewritten:
        say(f"rewrite  {removal.rewritten} with {', '.join(removal.stay)} only")


def _report(result: Withdrawal, *, is_checked: bool) -> None:
    for clip, reason in result.lost.items():
        fail(reason, f"{result.name.partition('/')[0]}/{clip}", what="lost")
    if not result.is_done:
        say("Nothing was removed.")
        return
    n_files = len(result.files)
    say(
        f"{result.name} has left {result.store}: {len(result.clips)} clips, {n_files} files deleted. 'tclr preprocess' "
        "passes over them from now on; --readmit ends that."
    )
    if not is_checked:
        say("Models, reports and tables elsewhere were not checked: --check PATH finds those made from them.")
