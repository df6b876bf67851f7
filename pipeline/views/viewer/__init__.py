"""A local page that plays crops beside their AU curves and marks AU events.

In: a store and its features. Out: a server for this machine's browser, and marked events as CSV.
"""

from tclr.pipeline.views.viewer.browser import opened_in_browser
from tclr.pipeline.views.viewer.clips import ViewerClips
from tclr.pipeline.views.viewer.server import ViewerServer

__all__ = ["ViewerClips", "ViewerServer", "opened_in_browser"]
