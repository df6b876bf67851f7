"""Labels of the user's own tables, matched to the frames of a store by frame number or time, never by position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tclr.pipeline.sources import NO_FRAME, LabelRows, read_label_rows
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import printable
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

HALF = 0.501
"""Share of the time between two frames within which a time belongs to a frame; a half, with room for rounding."""


@dataclass(frozen=True)
class LabelMatch:
    """What became of the rows of the user's tables.

    ``n_rows`` were read and ``n_matched`` found a frame. ``notes`` say what was not used: how many rows, why, and an
    example.
    """

    n_rows: int
    n_matched: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _ClipLabels:
    """Labels of some rows of a clip: ``rows`` (n,) int64 rising, ``given`` (n, A) bool: cells that a table has."""

    rows: np.ndarray
    given: np.ndarray
    occurrence: np.ndarray
    intensity: np.ndarray


class OwnLabels:
    """Labels of tables for the clips of an open store; they come before the store's own, cell by cell.

    Raises
    ------
    InputError
        If a table cannot be read, labels a frame twice or contradicts its own times, or no row finds a frame.

    Examples
    --------
    >>> import pandas as pd
    >>> from tclr.pipeline.store import Store
    >>> table = pd.DataFrame({"subject": "F001", "clip": "T1", "frame": [966, 967, 7], "AU12_c": [1, 0, 1]})
    >>> with Store(Path("store")) as store:
    ...     own = OwnLabels(store, table)
    >>> own.match.n_matched, own.match.notes
    (2, ('1 row names a frame that its clip does not have, such as F001/T1 frame 7 in the table of labels.',))
    """

    def __init__(self, store: Store, source: Path | pd.DataFrame) -> None:
        tables = read_label_rows(source)
        self.names = sorted({name for table in tables for name in table.names})
        self._parts: dict[tuple[str, str], list[_ClipLabels]] = {}
        self._lost: dict[str, list[str]] = {}
        for table in tables:
            self._add(store, table)
        self._clips = {key: self._join(key, parts) for key, parts in self._parts.items()}
        n_rows, n_matched = sum(map(len, tables)), sum(len(labels.rows) for labels in self._clips.values())
        notes = [_note(reason, lost) for reason, lost in self._lost.items()]
        if not n_matched:
            raise InputError(
                f"Expected labels of frames of {store.root}, which has for example {_example(store)}, but no row fits: "
                f"{' '.join(notes)} Correct the columns subject, clip and frame."
            )
        self.match = LabelMatch(n_rows, n_matched, (*notes, *_note_ignored(tables)))

    def has(self, info: ClipInfo) -> bool:
        """Return whether any frame of a clip has a label here."""
        return (info.subject, info.clip) in self._clips

    def put(
        self, info: ClipInfo, names: Sequence[str], start: int, occurrence: np.ndarray, intensity: np.ndarray
    ) -> None:
        """Write the labels of a clip over those of the store, in place.

        ``occurrence`` and ``intensity`` (n, A) are those of rows from ``start`` on and of the AUs ``names``, among them
        all of ``self.names``. A cell of a table replaces both, also if it says unknown.
        """
        if not self.has(info):
            return
        labels = self._clips[info.subject, info.clip]
        inside = (labels.rows >= start) & (labels.rows < start + len(occurrence))
        columns = np.array([list(names).index(name) for name in self.names])
        places = np.ix_(labels.rows[inside] - start, columns)
        given = labels.given[inside]
        occurrence[places] = np.where(given, labels.occurrence[inside], occurrence[places])
        intensity[places] = np.where(given, labels.intensity[inside], intensity[places])

    def _add(self, store: Store, table: LabelRows) -> None:
        """Match the rows of a table."""
        groups: dict[tuple[str, str], list[int]] = {}
        for row, key in enumerate(zip(table.subjects.tolist(), table.clips.tolist(), strict=True)):
            groups.setdefault(key, []).append(row)
        for key, members in groups.items():
            rows = np.array(members)
            info = find_clip(store, *key, table.stem)
            if info is None:
                self._lose(_no_clip(key), rows, f"{_name_of(key, table)} in {table.where}")
                continue
            found, places = _match(store, info, table, rows)
            lost = np.setdiff1d(rows, found)
            if len(lost):
                example = f"{info.name} {_frame_of(table, lost[0])} in {table.where}"
                self._lose("a frame that its clip does not have", lost, example)
            if len(found):
                self._parts.setdefault((info.subject, info.clip), []).append(self._take(table, found, places))

    def _lose(self, reason: str, rows: np.ndarray, example: str) -> None:
        self._lost.setdefault(reason, []).extend([example] * len(rows))

    def _take(self, table: LabelRows, found: np.ndarray, places: np.ndarray) -> _ClipLabels:
        """Return the found rows of a table under all of our names; ``places`` are rows of the clip."""
        columns = [self.names.index(name) for name in table.names]
        given = np.zeros((len(found), len(self.names)), bool)
        occurrence = np.full(given.shape, UNKNOWN, np.int8)
        intensity = np.full(given.shape, np.nan, np.float32)
        given[:, columns] = True
        occurrence[:, columns], intensity[:, columns] = table.occurrence[found], table.intensity[found]
        return _ClipLabels(places, given, occurrence, intensity)

    def _join(self, key: tuple[str, str], parts: list[_ClipLabels]) -> _ClipLabels:
        """Return the labels of a clip from all tables, sorted by row; refuse a row that stands twice."""
        fields = ("rows", "given", "occurrence", "intensity")
        rows, *others = (np.concatenate([getattr(part, name) for part in parts]) for name in fields)
        order = np.argsort(rows, kind="stable")
        again = np.flatnonzero(np.diff(rows[order]) == 0)
        if len(again):
            raise InputError(
                f"Expected each frame once in the labels, but row {rows[order][again[0]]} of {'/'.join(key)} stands "
                "twice in them. Remove one."
            )
        return _ClipLabels(rows[order], *(other[order] for other in others))


def find_clip(store: Store, subject: str, clip: str, stem: str = "") -> ClipInfo | None:
    """Return the clip that a row names; None if it names none or several.

    Without a clip it is the subject's only one; without a subject, the only clip of that name, or ``subject/clip``;
    without both, that of a file ``<subject>_<clip>`` or ``<clip>``, or the store's only one.
    """
    if subject and clip:
        found = [info for info in store.clips if (info.subject, info.clip) == (subject, clip)]
    elif subject:
        found = [info for info in store.clips if info.subject == subject]
    elif clip:
        found = [info for info in store.clips if clip in (info.name, info.clip)]
    else:
        found = [info for info in store.clips if f"{info.subject}_{info.clip}" == stem]
        found = found or [info for info in store.clips if info.clip == stem] or store.clips
    return found[0] if len(found) == 1 else None


def _match(store: Store, info: ClipInfo, table: LabelRows, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of a table that have a frame in the clip, and that frame's row in the clip."""
    times = store.read(info, "timestamp")
    if (table.frames[rows] == NO_FRAME).any():
        return _match_times(times, table.timestamps, rows)
    numbers = store.read(info, "source_frame")
    order = np.argsort(numbers, kind="stable")
    places = order[np.searchsorted(numbers, table.frames[rows], sorter=order).clip(max=len(order) - 1)]
    is_there = numbers[places] == table.frames[rows]
    found, places = rows[is_there], places[is_there]
    _check_times(table, found, times, places, info)
    return found, places


def _step_s(times: np.ndarray) -> float:
    """Return the usual time between two frames in seconds; 0 for stills."""
    steps = np.diff(times)
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0


def _match_times(times: np.ndarray, wanted: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows nearest to a frame of the clip in time, at most half a frame away, and the frames' rows."""
    right = np.searchsorted(times, wanted[rows]).clip(1, max(len(times) - 1, 1))
    near = np.where(
        wanted[rows] - times[right - 1] <= times[right.clip(max=len(times) - 1)] - wanted[rows], right - 1, right
    )
    near = near.clip(max=len(times) - 1)
    away = np.abs(times[near] - wanted[rows])
    best: dict[int, int] = {}
    for i in np.argsort(away, kind="stable"):
        if away[i] <= HALF * _step_s(times):
            best.setdefault(int(near[i]), int(i))  # several rows of one frame, of labels at a higher rate: the nearest
    chosen = np.array(sorted(best.values()), np.int64)
    return rows[chosen], near[chosen]


def _check_times(table: LabelRows, found: np.ndarray, times: np.ndarray, places: np.ndarray, info: ClipInfo) -> None:
    """Refuse frame numbers that contradict the times beside them, as those of OpenFace do, which begin at 1."""
    away = np.abs(table.timestamps[found] - times[places])
    step_s = _step_s(times)
    if np.isfinite(away).any() and step_s and np.nanmedian(away) > HALF * step_s:
        row = found[int(np.nanargmax(away))]
        at = times[places[list(found).index(row)]]
        raise InputError(
            f"Expected frame numbers that agree with the timestamps, but {info.name} frame {table.frames[row]} is at "
            f"{table.timestamps[row]:.3f} s in {table.where} and at {at:.3f} s in the store. OpenFace counts frames "
            "from 1: take 1 off, or remove one of the two columns."
        )


def _name_of(key: tuple[str, str], table: LabelRows) -> str:
    return "/".join(part for part in key if part) or table.stem


def _frame_of(table: LabelRows, row: int) -> str:
    if table.frames[row] != NO_FRAME:
        return f"frame {table.frames[row]}"
    return f"at {table.timestamps[row]:.3f} s"


def _no_clip(key: tuple[str, str]) -> str:
    return "a clip that the store does not have" if any(key) else "no clip, nor does the file's name"


def _note(reason: str, lost: list[str]) -> str:
    what = "row names" if len(lost) == 1 else "rows name"
    return f"{len(lost):,} {what} {reason}, such as {printable(Counter(lost).most_common(1)[0][0])}."


def _note_ignored(tables: Sequence[LabelRows]) -> list[str]:
    names = list(dict.fromkeys(name for table in tables for name in table.ignored))
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return [f"Columns that are no labels were passed over: {printable(shown)}."] if names else []


def _example(store: Store) -> str:
    info = store.clips[0]
    return printable(f"{info.name} frame {store.read(info, 'source_frame', 0, 1)[0]}")
