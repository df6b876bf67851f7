"""What people look at after a run: one self-contained HTML page, readable without a network.

``faces`` chooses clips and frames, ``statistics`` has the numbers, ``figures`` the drawings, ``page`` writes it all.
"""

from tclr.pipeline.report.page import write_report

__all__ = ["write_report"]
