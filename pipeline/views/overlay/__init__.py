"""Clips with what tclr found drawn on them: boxes, landmarks, head axes and AU bars.

In: videos, their store and features. Out: an MP4, or one picture of moments beside AU curves. ``draw_face`` and
``draw_panel`` draw one face on one picture.
"""

from tclr.pipeline.views.overlay.drawing import TRACK_COLOURS, FaceView, draw_face, draw_panel
from tclr.pipeline.views.overlay.moments import Moment, draw_moments
from tclr.pipeline.views.overlay.video import overlay

__all__ = ["FaceView", "Moment", "TRACK_COLOURS", "draw_face", "draw_moments", "draw_panel", "overlay"]
