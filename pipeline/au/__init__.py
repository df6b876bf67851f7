"""Action Units: labelled frames in, heads with thresholds and scores out.

``collect_frames`` reads labels, ``fit_au`` fits and writes a head, ``load_head`` loads one,
``predict_from_blendshapes`` needs none, ``score`` says how good predictions are. ``bundled/`` holds the models that
come with tclr.
Imports ``encoder``, ``store``, ``sources``, ``geometry``, ``system`` and ``schemas``, torch and scikit-learn. It never
imports mediapipe or dask.
"""

from tclr.pipeline.au.blinks import BLINK, CLOSED, BlinkFollower, add_blinks
from tclr.pipeline.au.bundled import (
    BOX,
    BUNDLED_ENCODERS,
    FACE,
    MARGIN,
    SHAPE,
    SIGHT,
    SIGHT_VERSION,
    TEMPLATE,
    find_encoder,
)
from tclr.pipeline.au.fitting import FitResult, cross_score, find_learnable, fit_au, fit_head, transfer_score
from tclr.pipeline.au.head import AuHead, load_head, save_head
from tclr.pipeline.au.inputs.degrade import SPOILS
from tclr.pipeline.au.inputs.rows import (
    WITHOUT_ENCODER,
    Describe,
    blendshape_rows,
    describe_at,
    describe_by,
    embed_rows,
    landmark_rows,
    no_rows,
    shape_rows,
)
from tclr.pipeline.au.labelled import LabelledFrames, collect_frames, embed_crops
from tclr.pipeline.au.mapping import MAPPED_AUS, MAPPING_VERSION, THRESHOLD, predict_from_blendshapes
from tclr.pipeline.au.metrics import Estimate, MetricScores, Outcomes, score
from tclr.pipeline.au.own_labels import LabelMatch, OwnLabels
from tclr.pipeline.au.postprocess import RestingLevel, centre, resting_level, smooth
from tclr.pipeline.au.readout import Prediction
from tclr.pipeline.au.sight.judge import Judge, load_judge, save_judge, shrink, to_input

__all__ = [
    "AuHead",
    "BLINK",
    "BlinkFollower",
    "BOX",
    "BUNDLED_ENCODERS",
    "CLOSED",
    "Describe",
    "Estimate",
    "FACE",
    "FitResult",
    "Judge",
    "LabelMatch",
    "LabelledFrames",
    "MAPPED_AUS",
    "MAPPING_VERSION",
    "MARGIN",
    "MetricScores",
    "Outcomes",
    "OwnLabels",
    "Prediction",
    "RestingLevel",
    "SHAPE",
    "TEMPLATE",
    "SIGHT",
    "SIGHT_VERSION",
    "SPOILS",
    "THRESHOLD",
    "WITHOUT_ENCODER",
    "add_blinks",
    "blendshape_rows",
    "centre",
    "collect_frames",
    "cross_score",
    "describe_at",
    "describe_by",
    "embed_crops",
    "embed_rows",
    "find_encoder",
    "find_learnable",
    "fit_au",
    "fit_head",
    "landmark_rows",
    "load_head",
    "load_judge",
    "no_rows",
    "predict_from_blendshapes",
    "resting_level",
    "save_head",
    "save_judge",
    "score",
    "shrink",
    "shape_rows",
    "smooth",
    "to_input",
    "transfer_score",
]
