"""The bundled models: an encoder with an AU head, learnt from rendered people, and a head that adds blendshapes.

No licence of a face database restricts their use. The two files are package data; ``tools.box`` makes and judges them.
"""

from __future__ import annotations

from pathlib import Path

BOX = Path(__file__).parent / "box.safetensors"
"""The head, with its encoder inside."""
FUSION = Path(__file__).parent / "fusion.safetensors"
"""A linear head on that encoder's embedding and mediapipe's blendshapes, side by side."""
TEMPLATE, MARGIN = "tclr", 1.0
"""The alignment of the crops that both learnt from, see ``AlignConfig``; they are valid for no others."""
