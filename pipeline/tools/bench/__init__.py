"""The benchmark: what the stages cost beside the work that bounds them, as ratios within one run.

In: demo clips, made here. Out: rows of a table.
"""

from tclr.pipeline.tools.bench.alignment import check_alignment
from tclr.pipeline.tools.bench.groups import GROUPS, make_source, run_groups
from tclr.pipeline.tools.bench.rows import HEADERS, describe_machine, to_record
from tclr.pipeline.tools.bench.scaling import COST_HEADERS, PREDICTION_HEADERS
from tclr.pipeline.tools.bench.task_costs import CHECK_HEADERS, bench_scaling

__all__ = [
    "CHECK_HEADERS",
    "COST_HEADERS",
    "GROUPS",
    "HEADERS",
    "PREDICTION_HEADERS",
    "bench_scaling",
    "check_alignment",
    "describe_machine",
    "make_source",
    "run_groups",
    "to_record",
]
