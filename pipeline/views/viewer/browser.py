"""Opens the viewer in this user's browser, hiding its address from other users."""

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
    """Open ``url`` in the browser through a page that only this user can read.

    Command lines are visible to every user of the machine. The browser is therefore given the path of a page with mode
    0600 that leads to ``url``, as Jupyter does; the context's end removes it. A thread starts the browser, since some
    browsers do not return at once.

    Raises
    ------
    OutputError
        If the page cannot be written.

    Examples
    --------
    >>> clips = ViewerClips(Path("features"), Path("store"))
    >>> with ViewerServer(clips) as server, opened_in_browser(server.url):  # doctest: +SKIP
    ...     server.serve_forever()
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tclr-view-", ignore_cleanup_errors=True))
            page = Path(folder) / "open.html"
            page.touch(mode=0o600)
            page.write_text(PAGE.format(url=html.escape(url)), encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"Expected to write a temporary page that opens the viewer, but got: {error}. "
                "Set TMPDIR, or use --no-browser."
            ) from error
        threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()
        yield
