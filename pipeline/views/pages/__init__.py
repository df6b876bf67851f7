"""Files of the report's and the viewer's pages.

In: a file's name. Out: its text. The pages load nothing from a network.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["read_asset"]


def read_asset(name: str) -> str:
    """Return the text of a file of this package, such as ``theme.css``."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
