"""The recipe of the judge of visibility: videos of people in, its weights and the evidence out.

``things`` draws what hides a face, ``samples`` makes pictures to learn from, ``covered`` makes videos to judge on.
"""

from tclr.pipeline.tools.sight.run import SightResult, run_sight

__all__ = ["SightResult", "run_sight"]
