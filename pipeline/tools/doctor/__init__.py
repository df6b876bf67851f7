"""The check of a machine and an installation.

In: the folder for stores. Out: one finding per check, with advice on what to fix.
"""

from tclr.pipeline.tools.doctor.checks import CHECKS, run_checks

__all__ = ["CHECKS", "run_checks"]
