"""Which device a network runs on; PyTorch is loaded only where it matters."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GPU_FILES = ("/dev/nvidiactl", "/dev/nvmap", "/dev/kfd", "/dev/dxg")
"""Linux has one of these where there is a driver of NVIDIA (also on its embedded boards) or AMD, or a GPU in WSL."""


def has_gpu() -> bool:
    """Return whether PyTorch can use a GPU of CUDA's kind; it is not asked where Linux shows no driver.

    >>> has_gpu() in (True, False)
    True
    """
    if "torch" not in sys.modules and sys.platform == "linux" and not any(map(os.path.exists, GPU_FILES)):
        return False
    import torch

    return torch.cuda.is_available()


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU.

    >>> default_device().type in ("cuda", "cpu")
    True
    """
    import torch

    return torch.device("cuda" if has_gpu() else "cpu")
