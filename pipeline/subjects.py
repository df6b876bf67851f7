"""Chooses subjects by names and patterns."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from tclr.schemas.errors import SettingError


def leave_out(subjects: Sequence[str], patterns: str, where: object) -> list[str]:
    """Return the subjects that no pattern fits.

    Parameters
    ----------
    subjects : sequence of str
        Names.
    patterns : str
        Names or patterns with commas between, as ``P0*,F001``; "" leaves nobody out.
    where : object
        Where the subjects are, for messages.

    Raises
    ------
    SettingError
        If a pattern fits nobody, or nobody is left.
    """
    wanted = [pattern.strip() for pattern in patterns.split(",") if pattern.strip()]
    for pattern in wanted:
        if not fnmatch.filter(subjects, pattern):
            raise SettingError(
                f"Expected subjects to leave out, but {pattern!r} fits none of {where}: {', '.join(subjects[:3])}, ... "
                "Correct --leave-out."
            )
    kept = [name for name in subjects if not any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]
    if not kept:
        raise SettingError(f"Expected a subject that {patterns!r} leaves, but it fits all of {where}.")
    return kept
