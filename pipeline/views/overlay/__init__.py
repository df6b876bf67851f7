"""Clips with what tclr found drawn on them: boxes, landmarks, head axes and AU bars.

In: videos, their store and features. Out: an MP4, or one picture of moments beside AU curves.
"""

from tclr.pipeline.views.overlay.moments import Moment, draw_moments
from tclr.pipeline.views.overlay.video import overlay

__all__ = ["Moment", "draw_moments", "overlay"]
