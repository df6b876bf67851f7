"""A video with each track's box, landmarks, head axes and AU bars on it.

In: a video, its store and features. Out: an MP4.
"""

from tclr.pipeline.views.overlay.video import overlay

__all__ = ["overlay"]
