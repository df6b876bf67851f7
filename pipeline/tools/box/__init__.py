"""The recipe of the bundled model: people with AU intensities in, a head with its card out.

Preprocess, pretrain, fine-tune, select, fuse, and judge on people whom nothing has seen.
"""

from tclr.pipeline.tools.box.card import HEADINGS
from tclr.pipeline.tools.box.evidence import METRICS, Forecast, Judged, is_turned, read_people
from tclr.pipeline.tools.box.qualities import AS_GIVEN, QUALITIES, write_degraded
from tclr.pipeline.tools.box.recipe import BoxResult, run_box

__all__ = [
    "AS_GIVEN",
    "BoxResult",
    "Forecast",
    "HEADINGS",
    "Judged",
    "METRICS",
    "QUALITIES",
    "is_turned",
    "read_people",
    "run_box",
    "write_degraded",
]
