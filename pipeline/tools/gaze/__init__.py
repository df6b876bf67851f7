"""The recipe of the gaze: people of known gaze in, the numbers of ``geometry`` and their errors out.

``truth`` is where photo people look and where their heads are, ``calibrate`` fits on some of them and judges on others.
Drawing them needs ``tclr people``; this room only reads what that wrote, and a store of it.
"""

from tclr.pipeline.tools.gaze.calibrate import Calibration, calibrate, judge_place, read_people
from tclr.pipeline.tools.gaze.truth import ClipTruth, read_clip_truth

__all__ = ["Calibration", "ClipTruth", "calibrate", "judge_place", "read_clip_truth", "read_people"]
