"""The recipe of the bundled model: people with AU intensities in, a head with its card out.

Preprocess, pretrain, fine-tune, select, fuse, and judge on people whom nothing has seen.
"""

from tclr.pipeline.tools.box.card import HEADINGS
from tclr.pipeline.tools.box.evidence import METRICS, TURNED_RAD, Forecast, Judged, read_people
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
    "TURNED_RAD",
    "read_people",
    "run_box",
    "write_degraded",
]
