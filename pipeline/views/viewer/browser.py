"""Opens the viewer in this user's browser without telling other users its address."""

from __future__ import annotations

import html
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tclr.schemas.errors import OutputError

PAGE = (
    '<!DOCTYPE html><meta charset="utf-8"><title>tclr viewer</title><meta http-equiv="refresh" content="0; url={url}">'
)


@contextmanager
def opened_in_browser(url: str) -> Iterator[None]:
    """Open ``url`` while the context lasts, by a page that only this user can read.

    Command lines are visible to every user of the machine, so the browser is given the path of a page with mode 0600
    that leads to ``url``, as Jupyter does. The page is removed at the context's end. The browser is started by a
    thread: one that does not return at once keeps nobody waiting.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tclr-view-", ignore_cleanup_errors=True))
            page = Path(folder) / "open.html"
            page.touch(mode=0o600)
            page.write_text(PAGE.format(url=html.escape(url)), encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"Expected a temporary folder for the page that opens the viewer, but cannot write it: {error}. "
                "Set TMPDIR, or use --no-browser."
            ) from error
        threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
        yield
