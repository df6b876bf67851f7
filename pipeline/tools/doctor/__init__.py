"""The check of a machine and an installation: nothing in, one line per check out, with what to fix."""

from tclr.pipeline.tools.doctor.checks import CHECKS, run_checks

__all__ = ["CHECKS", "run_checks"]
