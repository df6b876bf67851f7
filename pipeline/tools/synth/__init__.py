"""Demo clips with true labels: two portraits animated along Action Units.

In: two portraits. Out: clips in BP4D's layout.
"""

from tclr.pipeline.tools.synth.clips import SynthResult, write_demo

__all__ = ["SynthResult", "write_demo"]
