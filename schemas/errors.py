"""Every error that tclr raises on purpose.

The library raises them; only ``cli/main.py`` turns them into one line and exit status 1. Each message says what was
expected, what was found, where, and what to do. Any other exception is a defect of tclr and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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


class ReplacementError(OutputError):
    """Results of other settings would be replaced, without the user's consent."""


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


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the most similar of the known names, to end an error with; "" if none is similar.

    >>> suggestion("bpd4", ["bp4d", "disfa"]), suggestion("videos", ["bp4d", "disfa"])
    (" Did you mean 'bp4d'?", '')
    """
    names = {one.lower(): one for one in known}
    close = get_close_matches(name.lower(), names, n=1)
    return f" Did you mean {names[close[0]]!r}?" if close else ""
