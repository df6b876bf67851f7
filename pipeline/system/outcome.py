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
    """What a task says when it ends.

    Attributes
    ----------
    reason : str
        Why it failed; empty if all went well.
    fatal : bool
        The output cannot be written, so that every other task would fail, too.
    """

    reason: str = ""
    fatal: bool = False


def explain(error: Exception, spare_memory: str) -> str:
    """Return why a task failed: our own errors speak for themselves, others name their kind.

    Parameters
    ----------
    error : Exception
        What the task raised.
    spare_memory : str
        What to do if memory was out, as a sentence.
    """
    if isinstance(error, TclrError):
        return str(error)
    if _is_out_of_memory(error):
        return f"out of memory. {spare_memory}"
    logger.exception("unexpected error", exc_info=error)
    return f"unexpected {type(error).__name__}: {error}"


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether it is Python's error or PyTorch's, of a GPU or of the CPU."""
    torchs = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or torchs
