"""Which encoder a name or a file means."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from tclr.pipeline.au import find_encoder
from tclr.pipeline.encoder import LoadedEncoder, load_encoder


def encoder_file(name_or_file: str | PathLike[str]) -> Path:
    """Return the path of an encoder; names are those of ``find_encoder``, whose errors are raised.

    >>> encoder_file("box").name
    'box.safetensors'
    """
    return Path(find_encoder(str(name_or_file)))


def open_own(encoder: str | PathLike[str] | None, seed: int = 0) -> LoadedEncoder | None:
    """Return an encoder of the user's; ``None`` for the bundled one, which the bundled models bring.

    >>> open_own("box") is None, open_own("random").embedding_dim
    (True, 256)
    """
    return None if encoder in (None, "box") else load_encoder(Path(encoder), seed=seed)
