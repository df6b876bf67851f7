"""Label-free training by temporal consistency: a store in, an encoder file out.

``pretrain`` trains or resumes a run and says whether it is any good; ``Trainer`` does the steps of a run;
``start_encoder`` gives the initial weights.
Imports ``tuples``, ``au``, ``encoder``, ``store``, ``faces``, ``system`` and ``schemas``, and torch; mediapipe only
if weights start from its landmark network. It never imports dask.
"""

from tclr.pipeline.pretraining.judging.quality import Measure
from tclr.pipeline.pretraining.losses import aggregate_ranking_loss, anchor_distances, ranked_pairs
from tclr.pipeline.pretraining.model import facemesh_weights, start_encoder
from tclr.pipeline.pretraining.processes import Processes
from tclr.pipeline.pretraining.run import pretrain
from tclr.pipeline.pretraining.trainer import Trainer

__all__ = [
    "aggregate_ranking_loss",
    "anchor_distances",
    "facemesh_weights",
    "Measure",
    "Processes",
    "Trainer",
    "pretrain",
    "ranked_pairs",
    "start_encoder",
]
