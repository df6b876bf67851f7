"""One HTML page about a run, which opens without a network.

In: a store, and optionally features and a pretraining run. Out: the page.
"""

from tclr.pipeline.views.report.page import write_report

__all__ = ["write_report"]
