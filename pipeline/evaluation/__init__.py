"""How good Action Units are: stores and methods in, scores by protocol and tables out.

``Evaluation`` runs the methods on the folds of a protocol; ``run_ablation`` compares recipes of pretraining.
Imports ``au``, ``pretraining``, ``tuples``, ``encoder``, ``sources``, ``store``, ``system`` and ``schemas``, and torch.
It never imports mediapipe or dask.
"""

from tclr.pipeline.evaluation.ablation import VARIANTS, AblationResult, ablation_markdown, run_ablation, summarise
from tclr.pipeline.evaluation.evaluation import Evaluation, MethodResult
from tclr.pipeline.evaluation.label_curve import CurvePoint, plot_curves
from tclr.pipeline.evaluation.predictions_file import write_predictions
from tclr.pipeline.evaluation.scores_file import evaluation_content
from tclr.pipeline.evaluation.tables import Cell, Table, result_tables, to_latex, to_markdown

__all__ = [
    "AblationResult",
    "Cell",
    "CurvePoint",
    "Evaluation",
    "MethodResult",
    "Table",
    "VARIANTS",
    "ablation_markdown",
    "evaluation_content",
    "plot_curves",
    "result_tables",
    "run_ablation",
    "summarise",
    "to_latex",
    "to_markdown",
    "write_predictions",
]
