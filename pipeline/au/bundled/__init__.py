"""The bundled models, learnt from photo people: an encoder with its own AUs, and two heads that read shape, too.

No licence of a face database restricts their use. The files are package data. ``tools.box`` makes and judges them
(docs/model-card.md).
"""

from __future__ import annotations

from pathlib import Path

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
