"""Every error that tclr raises on purpose.

The library raises them; only ``cli/main.py`` turns them into one line and exit status 1. Each message says what was
expected, what was found, where, and what to do. Any other exception is a defect of tclr and keeps its traceback.
"""

from __future__ import annotations


class TclrError(Exception):
    """Base of all expected errors."""


class InputError(TclrError):
    """A source folder, video, image, or label file cannot be used."""


class TruncatedError(InputError):
    """A video ends before the end that its container announces."""


class TimelineError(InputError):
    """A video decodes to other frames than its packets announce."""


class OutputError(TclrError):
    """An output cannot be written, for example because the disk is full or another run holds it."""


class ClusterError(TclrError):
    """A Dask cluster cannot be started or reached, or was lost."""


class SettingError(TclrError):
    """A setting is unknown, or its value is out of range."""


class ModelError(TclrError):
    """A model file is missing, damaged, or does not match."""


class StoreError(TclrError):
    """A store or features folder is missing, damaged, or of another format."""


class DamagedClipsError(StoreError):
    """Clips that cannot be copied, since their files are damaged: ``clips`` has the reasons by name."""

    def __init__(self, clips: dict[str, str]) -> None:
        super().__init__(clips)
        self.clips = clips

    def __str__(self) -> str:
        return " ".join(self.clips.values())


class NewerFormatError(StoreError):
    """A store or features folder was written by a newer tclr."""
