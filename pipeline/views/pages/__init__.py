"""Files of the HTML pages that tclr writes (the report) or serves (the viewer); they ask for nothing from a network."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["read_asset"]


def read_asset(name: str) -> str:
    """Return the text of a file of this package, as ``theme.css``."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
