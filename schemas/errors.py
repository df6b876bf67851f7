"""Every error that tclr raises on purpose.

The library raises these; ``cli/main.py`` alone turns them into one line and exit status 1. Each message says
what was expected, what came, where, and what to do. Anything that is not a ``TclrError`` is a defect of ours
and keeps its traceback.
"""

from __future__ import annotations


class TclrError(Exception):
    """Base of all expected errors."""


class InputError(TclrError):
    """A source folder, video, image or label file that cannot be used."""


class TruncatedError(InputError):
    """A video that ends before its container says it should."""


class TimelineError(InputError):
    """A video that does not decode to the frames that its packets announce."""


class OutputError(TclrError):
    """An output that cannot be written, is full, or holds something else."""


class ClusterError(TclrError):
    """A Dask cluster that does not answer, or no longer."""


class SettingError(TclrError):
    """An unknown setting, or a value outside its range."""


class ModelError(TclrError):
    """A model file that is missing, damaged, or does not fit."""


class StoreError(TclrError):
    """A store or features folder that is missing, damaged, or of another format."""


class DamagedClipsError(StoreError):
    """Clips that cannot be copied, since their files are damaged: ``clips`` has the reasons by name."""

    def __init__(self, clips: dict[str, str]) -> None:
        super().__init__(clips)
        self.clips = clips

    def __str__(self) -> str:
        return " ".join(self.clips.values())


class NewerFormatError(StoreError):
    """A store or features folder that a newer tclr wrote."""
