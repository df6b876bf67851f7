"""A terminal to look at, and a pipe, in place of standard error."""

import os
import pty
import re
import struct
import sys
import termios
from fcntl import ioctl

import pytest


@pytest.fixture
def watch(monkeypatch):
    """Return a function that calls something with a terminal, or a pipe, as standard error, and returns what came."""

    def run(work, *, columns=100):
        if columns:
            reader, writer = pty.openpty()
            ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        else:
            reader, writer = os.pipe()
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("COLUMNS", raising=False)
        with open(writer, "w") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            work()
        os.set_blocking(reader, False)
        data = b""
        while chunk := _read(reader):
            data += chunk
        os.close(reader)
        return data.decode()

    return run


def _read(reader):
    try:
        return os.read(reader, 65536)
    except OSError:  # a terminal that nobody holds any more, or nothing left
        return b""


@pytest.fixture(scope="session")
def plain():
    """Return a function that takes the control characters out of what a terminal got."""
    return lambda text: re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")
