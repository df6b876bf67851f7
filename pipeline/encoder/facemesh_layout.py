"""Sizes of the architecture ``facemesh``: ``backbones.FaceMesh`` is built by them, and ``LiteEncoder`` runs it."""

from __future__ import annotations

WIDTHS = (16, 32, 64, 128, 128)
"""Channels of each stage; every stage halves the side of the picture. Google's network has one more, in which AUs are
read less well (docs/model-card.md)."""
MAX_MIDDLE = 64
"""Most channels of a block's depthwise convolution."""
N_BLOCKS = 4
"""Blocks of each stage that keep its size."""
GRID = 4
"""The last stage is averaged over this number of rows and columns: 128 px end in as many."""
N_FEATURES = GRID**2 * WIDTHS[-1]
