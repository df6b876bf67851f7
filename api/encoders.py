"""Which encoder a name or a file means."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from tclr.pipeline.au import BOX
from tclr.pipeline.encoder import LoadedEncoder, load_encoder


def encoder_file(name_or_file: str | PathLike[str]) -> Path:
    """Return the path of an encoder; ``box`` names the bundled one.

    >>> encoder_file("box") == BOX
    True
    """
    return BOX if str(name_or_file) == "box" else Path(name_or_file)


def open_own(encoder: str | PathLike[str] | None, seed: int = 0) -> LoadedEncoder | None:
    """Return an encoder of the user's; ``None`` for the bundled one, which the bundled models bring.

    >>> open_own("box") is None, open_own("random").embedding_dim
    (True, 256)
    """
    return None if encoder in (None, "box") else load_encoder(Path(encoder), seed=seed)
