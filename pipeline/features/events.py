"""Events in AU curves: when an action begins (onset), peaks (apex) and ends (offset), and how often it occurs.

A curve is a column of the features (a probability, 0..1) or any other column that rises with the action, such as an
intensity. Frames without a value are unobserved: they do not begin or end an action. Tables are pandas data frames:
one row per frame in, one row per event out.

Sources: onset, apex and offset are FACS's terms (Ekman, Friesen and Hager, 2002). The two thresholds with hysteresis
are Canny's (1986, section VI-D), in time instead of along a contour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from tclr.schemas.errors import InputError, SettingError

CLIP_KEYS = ["subject", "clip"]
EVENT_DTYPES = {
    **dict.fromkeys([*CLIP_KEYS, "au"], "str"),
    **dict.fromkeys(["onset_s", "apex_s", "offset_s", "duration_s"], "float64"),
    **dict.fromkeys(["onset_frame", "apex_frame", "offset_frame", "n_frames"], "int64"),
    **dict.fromkeys(["peak", "mean"], "float64"),
    **dict.fromkeys(["onset_cut", "offset_cut"], "bool"),
}
"""Columns of a table of events, in order."""
LONGEST_BREAK_STEPS = 1.5
"""Longest step that is not a gap, in median steps of the clip: from 2 on, a frame is missing."""

Thresholds = float | Mapping[str, float]
"""One for all columns, or one per column."""


def detect_events(
    table: pd.DataFrame,
    columns: Sequence[str],
    *,
    high: Thresholds = 0.5,
    low: Thresholds = 0.3,
    min_duration_s: float = 0.1,
    max_gap_s: float = 0.2,
) -> pd.DataFrame:
    """Find events in each column and clip: runs of frames that reach ``low``, at least one reaching ``high``.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per frame, with ``subject``, ``clip``, ``frame``, ``timestamp`` (s) and the columns, as from ``load``.
        If there is a column ``track``, events end with their track.
    columns : sequence of str
        Curves, such as ``["AU06", "AU12"]``; null where there is no face.
    high, low : float or mapping of str to float
        Thresholds, in the columns' unit.
    min_duration_s : float
        Shorter events are left out.
    max_gap_s : float
        An event ends where frames with a value are further apart than this; missing rows and nulls are the same.
        Steps up to 1.5 times the clip's median step are no gap.

    Returns
    -------
    pandas.DataFrame
        One row per event, sorted by subject, clip, AU and time. ``onset_s``, ``apex_s``, ``offset_s``: time of the
        first, the (first) highest and the last frame. ``duration_s``: onset to offset plus one median step.
        ``onset_frame``, ``apex_frame``, ``offset_frame``: the table's frame numbers; ``n_frames``. ``peak`` and
        ``mean`` of the curve. ``onset_cut``, ``offset_cut``: its beginning or end is unobserved, because the clip or
        the face begins or ends there.

    Raises
    ------
    InputError
        If the table lacks a column.
    SettingError
        If a column has no threshold, or ``low`` is above ``high``.

    Examples
    --------
    >>> events = detect_events(load("features"), ["AU12"])
    >>> events[["subject", "onset_s", "apex_s", "offset_s", "n_frames"]].head(1)
      subject  onset_s  apex_s  offset_s  n_frames
    0    F001     0.16    0.44      0.52        10
    """
    levels = {name: _parse_levels(name, high, low) for name in columns}
    rows = [
        {**key, **event}
        for key, stretch, step_s in _stretches(table, columns, max_gap_s)
        for event in _find(stretch, key["au"], *levels[key["au"]], step_s)
        if event["duration_s"] >= min_duration_s - 1e-9
    ]
    return pd.DataFrame(rows, columns=list(EVENT_DTYPES)).astype(EVENT_DTYPES)


def summarise_events(
    events: pd.DataFrame,
    table: pd.DataFrame,
    columns: Sequence[str],
    *,
    by: Sequence[str] = ("subject",),
    max_gap_s: float = 0.2,
) -> pd.DataFrame:
    """Relate the events of each column to the time in which the column was observed.

    ``table``, ``columns`` and ``max_gap_s`` are those given to ``detect_events``. ``by`` defines the groups:
    ``("subject",)`` or ``("subject", "clip")``.

    Returns
    -------
    pandas.DataFrame
        One row per group and AU, with or without events: ``observed_s``: seconds with a value; ``n_events``;
        ``events_per_min``; ``share_active``: share of the observed time, 0..1; ``mean_duration_s`` and ``mean_peak``,
        null if there is no event.

    Raises
    ------
    InputError
        If the table lacks a column.

    Examples
    --------
    >>> table = load("features")
    >>> rates = summarise_events(detect_events(table, ["AU12"]), table, ["AU12"])
    >>> rates[["subject", "observed_s", "n_events", "share_active"]]
      subject  observed_s  n_events  share_active
    0    F001        0.64         1         0.625
    1    F003        0.64         1         0.625
    """
    keys = [*by, "au"]
    stretches = [
        {**key, "observed_s": _length_s(stretch, step_s)}
        for key, stretch, step_s in _stretches(table, columns, max_gap_s)
    ]
    seen = pd.DataFrame(stretches, columns=[*CLIP_KEYS, "au", "observed_s"])
    everyone = table[list(by)].drop_duplicates().astype(str).merge(pd.DataFrame({"au": list(columns)}), how="cross")
    found = events.groupby(keys).agg(
        n_events=("peak", "size"),
        active_s=("duration_s", "sum"),
        mean_duration_s=("duration_s", "mean"),
        mean_peak=("peak", "mean"),
    )
    summary = everyone.join(seen.groupby(keys)["observed_s"].sum(), on=keys).join(found, on=keys)
    counted = {"observed_s": 0.0, "n_events": 0, "active_s": 0.0}
    summary = summary.fillna(counted).astype({name: type(zero) for name, zero in counted.items()})
    observed_s = summary["observed_s"].where(summary["observed_s"] > 0)
    summary["events_per_min"] = 60 * summary["n_events"] / observed_s
    summary["share_active"] = summary["active_s"] / observed_s
    order = ["observed_s", "n_events", "events_per_min", "share_active", "mean_duration_s", "mean_peak"]
    return summary.sort_values(keys, ignore_index=True)[[*keys, *order]]


def _parse_levels(name: str, high: Thresholds, low: Thresholds) -> tuple[float, float]:
    levels = []
    for kind, given in (("high", high), ("low", low)):
        if isinstance(given, Mapping) and name not in given:
            got = ", ".join(sorted(given))
            raise SettingError(f"Expected a threshold {kind!r} for {name}, but got only {got}. Add one for {name}.")
        levels.append(float(given[name] if isinstance(given, Mapping) else given))
    if levels[1] > levels[0]:
        raise SettingError(f"Expected low <= high, but got low {levels[1]:g} and high {levels[0]:g} for {name}.")
    return levels[0], levels[1]


def _stretches(
    table: pd.DataFrame, columns: Sequence[str], max_gap_s: float
) -> Iterator[tuple[dict[str, str], pd.DataFrame, float]]:
    """Yield (``subject``, ``clip`` and ``au``; rows of that column up to the next gap; the clip's median step in s)."""
    if missing := sorted({*CLIP_KEYS, "frame", "timestamp", *columns} - set(table.columns)):
        raise InputError(
            f"Expected a table with column {missing[0]!r}, but got {', '.join(map(str, table.columns[:12]))}. "
            "Load it with tclr.pipeline.features.load."
        )
    read = [name for name in (*CLIP_KEYS, "frame", "timestamp", "track", *columns) if name in table]
    for key, clip in table[read].groupby(CLIP_KEYS, observed=True):
        clip = clip.sort_values("timestamp", kind="stable")
        step_s = float(np.median(np.diff(clip["timestamp"]))) if len(clip) > 1 else 0.0
        limit_s = max(max_gap_s, LONGEST_BREAK_STEPS * step_s)
        for name in columns:
            rows = clip[clip[name].notna()]
            cut = np.diff(rows["timestamp"]) > limit_s
            if "track" in rows:
                track = rows["track"].fillna(-1).to_numpy()
                cut |= track[1:] != track[:-1]
            for start, stop in pairwise([0, *(np.flatnonzero(cut) + 1), len(rows)]):
                if stop > start:
                    names = dict(zip(CLIP_KEYS, map(str, key), strict=True))
                    yield {**names, "au": name}, rows.iloc[start:stop], step_s


def _length_s(rows: pd.DataFrame, step_s: float) -> float:
    """Return the duration of rows: each frame lasts until the next, the last one a median step."""
    return float(rows["timestamp"].iloc[-1] - rows["timestamp"].iloc[0] + step_s)


def _find(stretch: pd.DataFrame, name: str, high: float, low: float, step_s: float) -> Iterator[dict[str, Any]]:
    """Yield the events of a stretch."""
    values = stretch[name].to_numpy(float)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], values >= low, [False]])))
    for start, stop in edges.reshape(-1, 2):
        if values[start:stop].max() < high:
            continue
        event = stretch.iloc[start:stop]
        apex = event.iloc[int(np.argmax(values[start:stop]))]
        yield {
            "onset_s": event["timestamp"].iloc[0],
            "apex_s": apex["timestamp"],
            "offset_s": event["timestamp"].iloc[-1],
            "duration_s": _length_s(event, step_s),
            "onset_frame": event["frame"].iloc[0],
            "apex_frame": apex["frame"],
            "offset_frame": event["frame"].iloc[-1],
            "n_frames": stop - start,
            "peak": values[start:stop].max(),
            "mean": values[start:stop].mean(),
            "onset_cut": start == 0,
            "offset_cut": stop == len(values),
        }
