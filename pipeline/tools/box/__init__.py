"""The recipe of the bundled model: people with AU intensities in, a head with its card out.

Preprocess, pretrain, fine-tune, select, fuse, and judge on people whom nothing has seen.
"""

from tclr.pipeline.tools.box.recipe import BoxResult, run_box

__all__ = ["BoxResult", "run_box"]
