"""What comes of a task that may fail: errors as words, so that one failure ends neither its worker nor the run."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from tclr.schemas.errors import TclrError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A clip or subject that could not be done, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class TaskOutcome:
    """What a task says when it ends."""

    reason: str = ""
    """Why it failed; empty if all went well."""
    fatal: bool = False
    """Whether the output cannot be written, so that every other task would fail, too."""


def explain(error: Exception, spare_memory: str) -> str:
    """Return why a task failed: our own errors speak for themselves, others name their kind.

    ``spare_memory`` is a sentence that says what to do if memory was out.
    """
    if isinstance(error, TclrError):
        return str(error)
    # PyTorch has an error of its own for a GPU, and only a message for the CPU
    of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    if isinstance(error, MemoryError) or of_torch:
        return f"out of memory. {spare_memory}"
    logger.exception("unexpected error", exc_info=error)
    return f"unexpected {type(error).__name__}: {error}"
