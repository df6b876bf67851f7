"""Progress of long work on a terminal: a display with stages and bars in, lines on standard error out.

``show_progress`` opens a display, ``ClipBars`` shows a run of preprocessing on it. The command line and the Python
interface share both. Imports nothing of tclr, but rich.
"""

from tclr.pipeline.views.progress.clip_bars import ClipBars
from tclr.pipeline.views.progress.display import Bar, Display, format_rate, show_progress

__all__ = ["Bar", "ClipBars", "Display", "format_rate", "show_progress"]
