"""Label-free training by temporal consistency: a store in, an encoder file out.

``pretrain`` trains or resumes a run; ``Trainer`` does the steps of a run.
Imports ``tuples``, ``encoder``, ``store``, ``system`` and ``schemas``, and torch. It never imports mediapipe or dask.
"""

from tclr.pipeline.pretraining.losses import aggregate_ranking_loss, anchor_distances, ranked_pairs
from tclr.pipeline.pretraining.processes import Processes
from tclr.pipeline.pretraining.run import pretrain
from tclr.pipeline.pretraining.trainer import Trainer

__all__ = [
    "aggregate_ranking_loss",
    "anchor_distances",
    "Processes",
    "Trainer",
    "pretrain",
    "ranked_pairs",
]
