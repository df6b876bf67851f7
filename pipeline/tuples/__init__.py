"""A store in, training tuples out: anchor, sibling and following frames.

``TupleDataset`` reads tuples, ``load_batches`` reads batches of them ahead, ``index_clips`` lists the usable clips.
Imports ``encoder``, ``store``, ``system`` and ``schemas``, and torch. It never imports mediapipe or dask.
"""

from tclr.pipeline.tuples.clips import TargetReader, index_clips
from tclr.pipeline.tuples.dataset import TupleBatch, TupleDataset
from tclr.pipeline.tuples.loader import load_batches
from tclr.pipeline.tuples.rows import Spacing

__all__ = [
    "Spacing",
    "TargetReader",
    "TupleBatch",
    "TupleDataset",
    "index_clips",
    "load_batches",
]
