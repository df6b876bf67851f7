"""Turns AU events that were marked in the viewer into CSV."""

from __future__ import annotations

import csv
import io

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tclr.pipeline.views.viewer.clips import ViewerClips
from tclr.schemas.errors import InputError

COLUMNS = ("subject", "clip", "AU", "start_s", "end_s", "start_frame", "end_frame", "note")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Starts of a cell that spreadsheets read as a formula; source: OWASP, CSV injection."""


class Event(BaseModel):
    """One marked event: rows ``start`` to ``end`` of a clip, both included."""

    model_config = ConfigDict(extra="forbid", strict=True)

    clip: int = Field(ge=0)
    au: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    note: str = Field("", max_length=1000)


_EVENTS = TypeAdapter(list[Event])


def parse_events(text: bytes, clips: ViewerClips) -> list[Event]:
    """Return the events of a JSON list; raise ``InputError`` if it names an unknown clip, AU or row."""
    try:
        events = _EVENTS.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the list"
        raise InputError(f"Expected a JSON list of events, but got an error at {place}: {first['msg']}.") from error
    for number, event in enumerate(events):
        if event.clip >= len(clips.infos):
            raise InputError(f"Expected a clip below {len(clips.infos)}, but got {event.clip} in event {number}.")
        if event.au not in clips.au_names:
            raise InputError(f"Unknown AU {event.au!r} in event {number}. Known AUs: {', '.join(clips.au_names)}.")
        n_frames = clips.infos[event.clip].n_frames
        if not event.start <= event.end < n_frames:
            raise InputError(
                f"Expected a start and an end of 0 to {n_frames - 1} in this order, but got {event.start} and "
                f"{event.end} in event {number}."
            )
    return events


def events_csv(events: list[Event], clips: ViewerClips) -> str:
    """Return CSV with one line per event and the columns ``COLUMNS``, sorted by clip and start.

    Times are those of the first and the last frame, in seconds from the clip's start; frames are numbers of the
    source. Both ends belong to the event. A note that a spreadsheet would read as a formula is prefixed with ``'``.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    times = {index: clips.times(index) for index in {event.clip for event in events}}
    for event in sorted(events, key=lambda event: (event.clip, event.start, event.au)):
        seconds, frames = times[event.clip]
        info = clips.infos[event.clip]
        span = (f"{seconds[event.start]:.4f}", f"{seconds[event.end]:.4f}", frames[event.start], frames[event.end])
        note = f"'{event.note}" if event.note.startswith(FORMULA_STARTS) else event.note
        writer.writerow((info.subject, info.clip, event.au, *span, note))
    return out.getvalue()
