"""``tclr view``: a local page that plays clips with their AU curves."""

from __future__ import annotations

from pathlib import Path

import click

from tclr.cli.options import PATH
from tclr.cli.output import Command, current, say


@click.command("view", cls=Command)
@click.argument("features", type=PATH)
@click.option("--store", type=PATH, required=True, help="The store of FEATURES.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="Port; 0 takes a free one.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
def command(features: Path, store: Path, port: int, no_browser: bool) -> dict[str, str]:
    """Play clips in step with their AU curves of FEATURES, and mark AU events.

    The page is for this machine and this user only: the server listens on 127.0.0.1, and the address holds a random
    token. Nothing is written; the browser saves marked events as a CSV file. Ctrl-C ends the server.

    \b
    Example:
      tclr view features/ --store store/
    """
    from contextlib import nullcontext

    from tclr.cli.progress import show_progress
    from tclr.pipeline.views.viewer import ViewerClips, ViewerServer, opened_in_browser

    with show_progress() as display:
        display.stage("Reading")
        clips = ViewerClips(features, store)
    with ViewerServer(clips, port) as server:
        click.echo(f"Viewer: {server.url}  (Ctrl-C ends it)", err=not current().prose)  # even with --quiet
        try:
            with nullcontext() if no_browser else opened_in_browser(server.url):
                server.serve_forever()
        except KeyboardInterrupt:
            say("Ended.")
        return {"url": server.url}
