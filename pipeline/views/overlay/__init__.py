"""A video with each track's box, landmarks, head axes and AU bars on it.

In: a video, its store and features. Out: an MP4. ``draw_face`` and ``draw_panel`` draw one face on one picture.
"""

from tclr.pipeline.views.overlay.drawing import TRACK_COLOURS, FaceView, draw_face, draw_panel
from tclr.pipeline.views.overlay.video import overlay

__all__ = ["FaceView", "TRACK_COLOURS", "draw_face", "draw_panel", "overlay"]
