"""Processes that this one started."""

from __future__ import annotations

import os
import threading
from multiprocessing import parent_process


def leave_with_parent() -> None:
    """Make this process of ``multiprocessing`` end when the one that started it does, however that ends.

    A worker of a pool would otherwise wait for work for ever, with its memory, if a signal ends the main process. In
    the main process nothing happens.
    """
    parent = parent_process()
    if parent is None:
        return

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
