"""The evidence for the bundled models: folders of pictures and videos in, tables with intervals and goals out.

``run_evidence`` takes every picture and video through the whole path, as users do, and judges what comes out.
"""

from tclr.pipeline.tools.evidence.path import MODELS
from tclr.pipeline.tools.evidence.run import POORER, EvidenceResult, run_evidence

__all__ = ["MODELS", "POORER", "EvidenceResult", "run_evidence"]
