"""Demo clips with true labels: portraits animated along Action Units.

In: portraits that installed packages include. Out: clips in BP4D's layout.
"""

from tclr.pipeline.tools.synth.clips import EXPRESSIONS, SynthResult, write_demo
from tclr.pipeline.tools.synth.portraits import load_portraits

__all__ = ["EXPRESSIONS", "SynthResult", "load_portraits", "write_demo"]
