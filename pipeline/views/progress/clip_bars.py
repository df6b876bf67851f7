"""The two bars of a run of preprocessing."""

from __future__ import annotations

import time
from collections.abc import Sized
from typing import Protocol

from tclr.pipeline.views.progress.display import Bar, Display


class ClipProgress(Protocol):
    """What the bars show: ``Progress`` of preprocessing has it."""

    n_clips: int
    clips_done: float
    n_frames: int
    n_subjects: int
    subjects_done: int
    started_s: float

    @property
    def failures(self) -> Sized:
        """What failed so far."""
        ...


class ClipBars:
    """Shows clips and subjects as two bars, from the first message on.

    >>> with show_progress(wanted=False) as display:
    ...     bars = ClipBars(display)  # pass it as ``notify`` to ``preprocess``
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._bars: tuple[Bar, Bar] | None = None

    def __call__(self, progress: ClipProgress) -> None:
        """Show how far the run is."""
        if self._bars is None:
            clips = self._display.bar("Detecting", "clips", rate_unit="frames")
            self._bars = clips, self._display.bar("Assembling", "subjects")
        clips, subjects = self._bars
        clips(progress.clips_done, progress.n_clips)
        rate = progress.n_frames / max(time.monotonic() - progress.started_s, 1e-9)
        clips.note(failed=len(progress.failures), per_s=rate)
        subjects(progress.subjects_done, progress.n_subjects)
