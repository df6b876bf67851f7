"""Pieces of Markdown pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; bars and line ends in cells are kept from breaking it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(' '.join(cell.replace('|', '&#124;').split()) for cell in row)} |" for row in lines
    )


def code(text: object) -> str:
    """Return text as code; nothing stays nothing."""
    return f"`{text}`" if str(text) else ""


def prose(text: str) -> str:
    """Return text with what Markdown would take for HTML kept as it is."""
    return text.replace("<", "&lt;")


def page(title: str, *parts: str) -> str:
    """Join a heading and the parts that there are."""
    return "\n\n".join([f"# {title}", *(part for part in parts if part)]) + "\n"
