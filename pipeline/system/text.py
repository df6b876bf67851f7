"""Text of unknown origin, made safe to show and to store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any


def printable(text: object) -> str:
    r"""Return a text in one line, with invisible characters as Python escapes such as ``\x1b``.

    Those are control characters, marks of writing direction, and bytes of a file name that are no UTF-8. Each run of
    white space becomes one space.

    >>> printable("a\x1b[1m\n b")
    'a\\x1b[1m b'
    """
    return printable_line(" ".join(str(text).split()))


def printable_line(line: str) -> str:
    r"""Return a line with invisible characters as escapes, as ``printable`` does, and its spaces as they are.

    >>> printable_line("  0  \x1b[1m 0.5")
    '  0  \\x1b[1m 0.5'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def natural_key(text: str) -> tuple[list[Any], str]:
    """Return a sort key by which numbers in names count as numbers, and case does not: clip2 comes before clip10.

    >>> sorted(["clip10", "clip2", "b", "clip2/x"], key=natural_key)
    ['b', 'clip2', 'clip2/x', 'clip10']
    """
    parts = re.split(r"([0-9]+)", text.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], text


def some_of(names: Sequence[str]) -> str:
    """Return the first three of some names, with dots if there are more.

    >>> some_of(["F001", "F002"]), some_of(["F001", "F002", "M001", "M002"])
    ('F001, F002', 'F001, F002, M001, ...')
    """
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def encodable(text: str) -> str:
    r"""Return a text that HDF5 and Parquet accept: bytes of a file name that are no UTF-8 become ``\xff``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """Return a table of texts, which may hold Markdown; ``numbers`` aligns all columns but the first to the right."""
    rules = ["---", *["---:" if numbers else "---"] * (len(headers) - 1)]
    lines = [headers, rules, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
