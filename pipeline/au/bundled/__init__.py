"""The bundled models, learnt from photo people: an encoder with its own AUs, and two heads that read shape, too.

No licence of a face database restricts their use. The files are package data. ``tools.box`` makes and judges them
(docs/model-card.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tclr.schemas.errors import ModelError, suggestion

BOX = Path(__file__).parent / "box.safetensors"
"""A fine-tuned head, with its encoder inside."""
FACE = Path(__file__).parent / "face.safetensors"
"""A blend of rules, shape and that encoder's embedding, see ``tclr.pipeline.au.learning.blend``: the default."""
SHAPE = Path(__file__).parent / "shape.safetensors"
"""The same without the embedding, for stores without crops or with crops of another alignment."""
SIGHT = Path(__file__).parent / "sight.safetensors"
"""The judge of visibility, see ``tclr.pipeline.au.sight``; ``tools.sight`` makes and judges it."""
SIGHT_VERSION = "v2"
"""Name of that judge in the metadata of features; another file has another."""
TEMPLATE, MARGIN = "tclr", 1.0
"""The alignment of the crops that they learnt from, see ``AlignConfig``; those that read crops fit no others."""
BUNDLED_ENCODERS = ("box", "face")
"""Names of the bundled encoder: that of the AU models ``box`` and ``face``."""
RANDOM = "random"
WITHOUT_PICTURES = ("shape", "blendshapes")
"""Sources of AUs that have no encoder."""


def find_encoder(source: str | Path, others: Iterable[str] = ()) -> str | Path:
    """Return the file that the name of a bundled encoder means; anything else as it is.

    Parameters
    ----------
    source : str or Path
        ``box`` or ``face``, ``random``, ``random:ARCH``, or the path of a file or run folder.
    others : iterable of str
        More names that the caller understands, such as ``facemesh``.

    Raises
    ------
    ModelError
        If it is none of these; the message lists the names.

    Examples
    --------
    >>> find_encoder("box") == BOX, find_encoder("random:resnet50")
    (True, 'random:resnet50')
    >>> find_encoder("bxo")
    Traceback (most recent call last):
    tclr.schemas.errors.ModelError: Expected an encoder, but 'bxo' is no name of one, and no file or run folder is ...
    """
    name = str(source)
    if name in BUNDLED_ENCODERS:
        return BOX
    names = [*BUNDLED_ENCODERS, *others, RANDOM]
    if name in others or name.partition(":")[0] == RANDOM or Path(source).exists():
        return source
    known = f"Known names: {', '.join(names)}, {RANDOM}:ARCH."
    if name in WITHOUT_PICTURES:
        raise ModelError(f"Expected an encoder, but {name!r} reads no pictures and has none. {known}")
    raise ModelError(
        f"Expected an encoder, but {name!r} is no name of one, and no file or run folder is there. {known}"
        f"{suggestion(name, names)}"
    )
