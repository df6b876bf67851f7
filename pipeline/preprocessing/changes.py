"""What of a store its source does not have any more, under another name, or twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tclr.pipeline.preprocessing.withdrawal.listed import Withdrawn
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import ClipInfo, describe_double, find_doubles
from tclr.pipeline.system import Failure
from tclr.schemas.errors import InputError

MOST_NAMED = 5
"""Names in one message; the manifest has all."""

Recordings = Mapping[tuple[str, str], ClipInfo]
"""By subject and clip of the source, one of the clips of the store that come from it."""


def find_gone(clips: Iterable[Clip], infos: Iterable[ClipInfo], listed: Withdrawn) -> Recordings:
    """Return the recordings of a store that its source does not have; those that a person withdrew from stay."""
    there = {clip.key for clip in clips}
    keys = {(info.subject, info.attrs.source_clip): info for info in infos}
    return {key: info for key, info in keys.items() if key not in there and not listed.is_partly("/".join(key))}


def require_common(store: Path, clips: Iterable[Clip], infos: Sequence[ClipInfo], gone: Recordings) -> None:
    """Raise ``InputError`` if a source has nothing of a store: pruning would empty it."""
    if infos and len(gone) == len({(info.subject, info.attrs.source_clip) for info in infos}):
        one = next(iter(clips)).path
        raise InputError(
            f"Expected a source that has some of the clips of {store}, but it has none: it has {one} and the like. "
            "Give the source that the store was made from, or leave out --prune."
        )


def describe_gone(store: Path, gone: Recordings, infos: Iterable[ClipInfo]) -> list[Failure]:
    """Return a warning of the recordings that have gone, with those of equal content; none if none has gone."""
    if not gone:
        return []
    same = {info.attrs.source_sha256: info for info in infos if (info.subject, info.attrs.source_clip) not in gone}
    named = []
    for (subject, clip), info in [*gone.items()][:MOST_NAMED]:
        twin = same.get(info.attrs.source_sha256) if info.attrs.source_sha256 else None
        other = f" ({twin.subject}/{twin.attrs.source_clip} has the same content: renamed?)" if twin else ""
        named.append(f"{subject}/{clip}{other}")
    more = ["..."] if len(gone) > MOST_NAMED else []
    what = f"1 recording of {store} is" if len(gone) == 1 else f"{len(gone)} recordings of {store} are"
    reason = f"{what} not in this source: {', '.join(named + more)}. --prune removes them from the store."
    return [Failure("", reason)]


def describe_doubles(infos: Sequence[ClipInfo], gone: Recordings) -> list[Failure]:
    """Return a warning of each video that is there several times; where one has gone, it was renamed."""
    still = [info for info in infos if (info.subject, info.attrs.source_clip) not in gone]
    return [Failure(names[0], describe_double(names)) for names in find_doubles(still)]
