"""Outcomes of tasks, with errors as text, so that one failure ends neither its worker nor the run."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from tclr.schemas.errors import TclrError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A clip or subject that failed, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class TaskOutcome:
    """The end of a task."""

    reason: str = ""
    """Reason of a failure; empty after success."""
    fatal: bool = False
    """Whether the output cannot be written, so that all other tasks would fail, too."""


def explain(error: Exception, spare_memory: str) -> str:
    """Return the reason of a failed task: the message of a ``TclrError``, or the kind and message of another error.

    ``spare_memory`` is the sentence of advice after a lack of memory.

    >>> explain(MemoryError(), "Use fewer --workers.")
    'out of memory. Use fewer --workers.'
    """
    if isinstance(error, TclrError):
        return str(error)
    # PyTorch has its own class of error on a GPU, but only a message on a CPU
    of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    if isinstance(error, MemoryError) or of_torch:
        return f"out of memory. {spare_memory}"
    logger.exception("unexpected error", exc_info=error)
    return f"unexpected {type(error).__name__}: {error}"
