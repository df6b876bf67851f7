"""Serves the viewer to this machine's browser only.

The server is bound to the loopback address. Every request must carry the random token in its path and name this
server as its host, so that other users and other pages (by DNS rebinding) cannot read faces. No part of a request
becomes a path of the file system, nothing is written, and answers forbid caching.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import sys
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tclr.pipeline.views.pages import read_asset
from tclr.pipeline.views.viewer.clips import ViewerClips
from tclr.pipeline.views.viewer.marks import events_csv, parse_events
from tclr.schemas.errors import InputError, OutputError, TclrError

LOOPBACK = "127.0.0.1"
MAX_BODY_BYTES = 4 * 2**20
"""Largest list of events: some 30,000."""
IDLE_S = 30
"""Seconds after which an idle connection is closed."""
ASSETS = {
    "": ("viewer.html", "text/html; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
    **{name: (name, "text/css; charset=utf-8") for name in ("theme.css", "viewer.css")},
    **{
        f"{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("clip_list", "curves", "lanes", "marks", "player", "theme", "viewer")
    },
}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Answer:
    """The answer to a request."""

    body: bytes
    content_type: str
    status: HTTPStatus = HTTPStatus.OK


def _text(message: str, status: HTTPStatus) -> Answer:
    return Answer(f"{message}\n".encode(), "text/plain; charset=utf-8", status)


def _json(content: Any) -> Answer:
    return Answer(json.dumps(content, separators=(",", ":"), allow_nan=False).encode(), "application/json")


NOT_FOUND = _text("Not found.", HTTPStatus.NOT_FOUND)


class ViewerServer(ThreadingHTTPServer):
    """The viewer's server; ``serve_forever`` runs it, ``shutdown`` ends it.

    The server closes its clips. ``port`` 0 takes a free port. ``url`` is the address to open, with the token.

    Raises
    ------
    OutputError
        If the port is taken.

    Examples
    --------
    >>> with ViewerServer(ViewerClips(Path("features"), Path("store"))) as server:
    ...     server.url, server.get("api/clips/0").content_type
    ('http://127.0.0.1:...', 'application/json')
    """

    daemon_threads = True

    def __init__(self, clips: ViewerClips, port: int = 0) -> None:
        self.clips = clips
        self.token = secrets.token_urlsafe(32)
        self.assets = {path: Answer(read_asset(name).encode(), kind) for path, (name, kind) in ASSETS.items()}
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise OutputError(
                f"Expected a free port of {LOOPBACK}, but cannot use {port}: {error}. Give another --port, or 0."
            ) from error
        self.url = f"http://{LOOPBACK}:{self.server_port}/{self.token}/"
        self.hosts = {f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost")}

    def server_close(self) -> None:
        """Close the socket and the store."""
        super().server_close()
        self.clips.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors, except that a browser dropped its request."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def get(self, path: str) -> Answer:
        """Answer a GET request for a path below the token."""
        if path in self.assets:
            return self.assets[path]
        if path == "api/clips":
            return _json(self.clips.summary())
        match = re.fullmatch(r"api/clips/(\d{1,9})(?:/sprites/(\d{1,9}))?", path)
        if match is None or int(match[1]) >= len(self.clips.infos):
            return NOT_FOUND
        if match[2] is None:
            return _json(self.clips.curves(int(match[1])))
        try:
            return Answer(self.clips.sprite(int(match[1]), int(match[2])), "image/jpeg")
        except IndexError:
            return NOT_FOUND

    def post(self, path: str, body: bytes) -> Answer:
        """Answer a POST request for a path below the token: events in JSON return as CSV."""
        if path != "api/events.csv":
            return NOT_FOUND
        return Answer(events_csv(parse_events(body, self.clips), self.clips).encode(), "text/csv; charset=utf-8")


class _Handler(BaseHTTPRequestHandler):
    server: ViewerServer
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S

    def version_string(self) -> str:
        return "tclr"

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no log: requests contain the token."""

    def _path(self) -> str | None:
        """Return the path below the token, ``None`` if host, origin or token is wrong."""
        origin = self.headers.get("Origin")
        known_origins = {f"http://{host}" for host in self.server.hosts}
        if self.headers.get("Host") not in self.server.hosts or (origin is not None and origin not in known_origins):
            return None
        token, _, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        return path if hmac.compare_digest(token.encode(), self.server.token.encode()) else None

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.status >= HTTPStatus.BAD_REQUEST:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer requests that the library refuses with the same headers as all others."""
        self._send(_text(message or HTTPStatus(code).phrase, HTTPStatus(code)))

    def _answer(self, body: bytes | None = None) -> Answer:
        path = self._path()
        if path is None:
            return _text("Forbidden: open the address that 'tclr view' printed.", HTTPStatus.FORBIDDEN)
        try:
            return self.server.get(path) if body is None else self.server.post(path, body)
        except InputError as error:
            return _text(str(error), HTTPStatus.BAD_REQUEST)
        except TclrError as error:
            return _text(str(error), HTTPStatus.INTERNAL_SERVER_ERROR)

    def do_GET(self) -> None:
        self._send(self._answer())

    do_HEAD = do_GET

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            message = f"Expected a body of at most {MAX_BODY_BYTES} bytes."
            self._send(_text(message, HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
        else:
            self._send(self._answer(None if self._path() is None else self.rfile.read(int(length))))
