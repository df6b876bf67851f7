"""Settings as keywords: the names of the command line's options, with ``_`` for ``-``, sorted into settings classes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from tclr.schemas.config import AlignConfig, DetectConfig, EmbedConfig, LimitsConfig, Settings, parse_settings
from tclr.schemas.errors import SettingError

ANALYSE: dict[str, type[Settings]] = {
    "detect": DetectConfig,
    "align": AlignConfig,
    "limits": LimitsConfig,
    "embed": EmbedConfig,
}
"""Classes of the settings of ``analyse``, in the order of the work."""


def keywords_of(kind: type[Settings]) -> dict[str, str]:
    """Return the field of each keyword; a field with a flag of its own, as ``--smooth`` of ``smooth_s``, goes by that.

    >>> keywords_of(EmbedConfig)["smooth"]
    'smooth_s'
    """
    names = {}
    for field, about in kind.model_fields.items():
        extra = about.json_schema_extra
        names[str(extra["flag"]) if isinstance(extra, dict) else field] = field
    return names


def sort_settings(settings: Mapping[str, Any], kinds: Mapping[str, type[Settings]], where: str) -> dict[str, Any]:
    """Return one settings object per class; ``where`` the keywords come from is for messages.

    Raises
    ------
    SettingError
        If no class has a keyword, or a value is out of range.

    Examples
    --------
    >>> sort_settings({"size": 112, "smooth": 0.1}, ANALYSE, "analyse")["embed"].smooth_s
    0.1
    """
    known = {name: (table, field) for table, kind in kinds.items() for name, field in keywords_of(kind).items()}
    values: dict[str, dict[str, Any]] = {table: {} for table in kinds}
    for name, value in settings.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3) or sorted(known)
            raise SettingError(f"Unknown setting {name!r} in {where}(). Known settings: {', '.join(near)}, ...")
        table, field = known[name]
        values[table][field] = value
    return {table: parse_settings(kind, values[table], f"{where}()") for table, kind in kinds.items()}
