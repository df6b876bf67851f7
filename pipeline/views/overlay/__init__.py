"""Clips with what tclr found drawn on them: boxes, landmarks, head axes and AU bars.

In: videos, their store and features. Out: an MP4, or one picture of moments beside AU curves. ``draw_face`` and
``draw_panel`` draw one face on one picture, ``draw_live`` a frame as it comes, and ``Window`` shows it.
"""

from tclr.pipeline.views.overlay.drawing import TRACK_COLOURS, FaceView, draw_face, draw_panel
from tclr.pipeline.views.overlay.live import Window, draw_live, view_row
from tclr.pipeline.views.overlay.moments import Moment, draw_moments
from tclr.pipeline.views.overlay.video import overlay

__all__ = [
    "FaceView",
    "Moment",
    "TRACK_COLOURS",
    "Window",
    "draw_face",
    "draw_live",
    "draw_moments",
    "draw_panel",
    "overlay",
    "view_row",
]
