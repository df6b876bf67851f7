import stat
import threading
import webbrowser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from click.testing import CliRunner

from tclr.cli.look.view import command
from tclr.pipeline.views import viewer


@pytest.fixture
def view(monkeypatch):
    """Return a function that runs the command and returns its result and what the browser opened."""
    served, opened = threading.Event(), []

    def open_browser(url):
        page = Path(unquote(urlsplit(url).path))
        opened.append((url, page, page.read_text(), stat.S_IMODE(page.stat().st_mode)))
        served.set()

    class Server:
        url = "http://127.0.0.1:1/a-secret-token/"

        def __init__(self, clips, port):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def serve_forever(self):
            served.wait(self.patience)
            raise KeyboardInterrupt

    monkeypatch.setattr(viewer, "ViewerClips", lambda *paths: None)
    monkeypatch.setattr(viewer, "ViewerServer", Server)
    monkeypatch.setattr(webbrowser, "open", open_browser)

    def run(*options, patience):
        Server.patience = patience
        return CliRunner().invoke(command, ["features", "--store", "store", *options]), opened

    return run


def test_browser_opens_a_private_page_instead_of_the_token(view):
    result, opened = view(patience=10)
    assert result.exit_code == 0 and result.output.endswith("Ended.\n")
    ((url, page, text, mode),) = opened
    assert url.startswith("file:///") and "a-secret-token" not in url
    assert 'content="0; url=http://127.0.0.1:1/a-secret-token/"' in text and mode == 0o600
    assert not page.parent.exists()


def test_no_browser_opens_with_no_browser(view):
    result, opened = view("--no-browser", patience=0.05)
    assert result.exit_code == 0 and "http://127.0.0.1:1/a-secret-token/" in result.output and opened == []


def test_temporary_folder_that_cannot_be_written_is_one_clear_error(view, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    result, opened = view(patience=0)
    assert type(result.exception).__name__ == "OutputError" and opened == []
    assert "Set TMPDIR, or use --no-browser." in str(result.exception)
