"""The skin of a face: histograms of oriented gradients, which show furrows, folds and teeth.

Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005. Blocks are normalised, so that
light and contrast matter little, and colour is not used. Each side of the face is described by itself, as in ``shape``.
"""

from __future__ import annotations

import cv2
import numpy as np

from tclr.pipeline.au.inputs.shape import one_sided

SIDE = 112
"""Crops are resized to this side in pixels: furrows are a few of them wide."""
BLOCK, CELL, N_BINS = 16, 8, 9
"""Sides of blocks, which overlap by half, and of cells, in pixels; orientations in half a turn."""
_N_BLOCKS = (SIDE - BLOCK) // CELL + 1
_LAYOUT = (-1, _N_BLOCKS, _N_BLOCKS, BLOCK // CELL, BLOCK // CELL, N_BINS)
"""OpenCV's order: columns and rows of blocks, columns and rows of cells, orientations."""
SKIN_DIM = _N_BLOCKS**2 * (BLOCK // CELL) ** 2 * N_BINS


def describe_skin(crops: np.ndarray) -> np.ndarray:
    """Describe the skin of n faces, side by side.

    Parameters
    ----------
    crops : ndarray
        (n, S, S, 3) uint8 RGB crops of template ``tclr`` and margin 1.

    Returns
    -------
    ndarray
        (n, 2, 6084) float32, 0..1: the person's left and right side, see ``one_sided``.
    """
    hog = cv2.HOGDescriptor((SIDE, SIDE), (BLOCK, BLOCK), (CELL, CELL), (CELL, CELL), N_BINS)
    out = np.empty((len(crops), SKIN_DIM), np.float32)
    for crop, row in zip(crops, out, strict=True):
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        row[:] = np.ravel(hog.compute(cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)))
    blocks = out.reshape(_LAYOUT)
    side = np.sign(np.arange(_N_BLOCKS) - _N_BLOCKS // 2).astype(np.float32)  # the person's left is to the right
    mirrored = blocks[:, ::-1, :, ::-1, :, ::-1]
    return one_sided(blocks, mirrored, side[:, None, None, None, None]).reshape(len(out), 2, SKIN_DIM)
