"""A local page that plays a clip's crops in step with its AU curves, and where AU events are marked.

``clips`` reads what the page asks for, ``marks`` turns marks into CSV, ``server`` answers requests.
"""

from tclr.pipeline.views.viewer.browser import opened_in_browser
from tclr.pipeline.views.viewer.clips import ViewerClips
from tclr.pipeline.views.viewer.server import ViewerServer

__all__ = ["ViewerClips", "ViewerServer", "opened_in_browser"]
