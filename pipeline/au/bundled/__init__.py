"""The bundled models: heads on shape and skin learnt from photo people; an encoder with a head learnt from renders.

No licence of a face database restricts their use. The files are package data. ``make face-heads`` makes the first two,
``tools.box`` makes and judges the others (docs/model-card.md).
"""

from __future__ import annotations

from pathlib import Path

FACE = Path(__file__).parent / "face.safetensors"
"""A blend of rules, shape and skin, see ``tclr.pipeline.au.blend``; it reads crops."""
SHAPE = Path(__file__).parent / "shape.safetensors"
"""The same without skin, for stores without crops or with crops of another alignment."""
BOX = Path(__file__).parent / "box.safetensors"
"""A fine-tuned head, with its encoder inside."""
FUSION = Path(__file__).parent / "fusion.safetensors"
"""A linear head on that encoder's embedding and mediapipe's blendshapes, side by side."""
TEMPLATE, MARGIN = "tclr", 1.0
"""The alignment of the crops that they learnt from, see ``AlignConfig``; those that read crops fit no others."""
