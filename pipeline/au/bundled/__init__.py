"""The model in the box: an encoder with an AU head that comes with tclr, and the recipe that made it.

Everything in it was learnt from rendered people: no licence of a face database stands between it and a user. The two
files are package data; ``recipe`` makes them, ``evidence`` says what they are worth.
"""

from __future__ import annotations

from pathlib import Path

BOX = Path(__file__).parent / "box.safetensors"
"""The head, with its encoder inside."""
FUSION = Path(__file__).parent / "fusion.safetensors"
"""A linear head on that encoder's embedding and mediapipe's blendshapes, side by side."""
TEMPLATE, MARGIN = "tclr", 1.0
"""How the crops that both learnt from are aligned, see ``AlignConfig``; they know no others."""
