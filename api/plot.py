"""Figures of features: curves of Action Units, a face with its Action Units, and which of them occur together.

Each function returns a ``matplotlib.figure.Figure``. It opens no window and is not registered with pyplot. A notebook
shows it, and ``figure.savefig(path)`` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tclr.analyser import LastFrame
from tclr.frames import check_frame
from tclr.opening import split_names
from tclr.pipeline.features import MEASURES, measure_cooccurrence, values_of
from tclr.pipeline.views.overlay import TRACK_COLOURS, FaceView, draw_face
from tclr.schemas.action_units import AU_NAMES
from tclr.schemas.errors import InputError

AU = re.compile(r"AU\d{2}")
MOST_CURVES = 8
"""AUs that ``au_curves`` draws by default: those that vary most."""
BLUE, PALE = "#2a8fb0", "#c9cdd1"
__all__ = ["au_curves", "cooccurrence", "face"]


def _title(name: str) -> str:
    """Return ``AU12 Lip Corner Puller`` for ``AU12``."""
    return f"{name} {AU_NAMES.get(int(name[2:4]), '')}".strip()


def _find_aus(columns: Sequence[str], ending: str, wanted: str | Sequence[str] | None) -> list[str]:
    """Return the AUs, as ``AU12``, that have a column of an ending; all of the wanted ones if there are some."""
    wanted = split_names(wanted)
    known = [name.removesuffix(ending) for name in map(str, columns) if re.fullmatch(AU.pattern + ending, name)]
    if missing := [name for name in wanted if name not in known]:
        have = ", ".join(known) or "none"
        raise InputError(
            f"Expected a column {missing[0]}{ending} in the table, but it has the AUs {have}. Name others."
        )
    if not known:
        raise InputError(f"Expected columns such as AU12{ending} in the table, but found none. Analyse with them.")
    return wanted or known


def _check_table(df: Any) -> None:
    if not isinstance(df, pd.DataFrame) or df.empty:
        what = "no rows" if isinstance(df, pd.DataFrame) else type(df).__name__
        raise InputError(f"Expected a table of features, one row per frame, but got {what}. Analyse a clip.")


def au_curves(df: pd.DataFrame, aus: str | Sequence[str] | None = None) -> Figure:
    """Draw the probability of Action Units over time, one panel per AU; a shade shows where it counts as present.

    Parameters
    ----------
    df : pandas.DataFrame
        Features of one clip, or of several, which get a line each: ``timestamp`` and ``AU12``, and ``AU12_c`` for the
        shades of a single clip.
    aus : sequence of str, optional
        AUs to draw, as ``["AU06", "AU12"]``; by default the eight that vary most.

    Raises
    ------
    InputError
        If the table lacks the time or an AU.

    Examples
    --------
    >>> len(au_curves(load_features("features"), ["AU06", "AU12"]).axes)
    2
    """
    _check_table(df)
    if "timestamp" not in df:
        raise InputError("Expected a column 'timestamp' in the table, but found none. Keep it when choosing columns.")
    names = _find_aus(list(df.columns), "", aus)
    if aus is None:
        spread = {name: float(np.ptp(known)) for name in names if (known := _known(df, name)).size}
        names = sorted(sorted(names, key=lambda name: -spread.get(name, 0.0))[:MOST_CURVES])
    keys = [name for name in ("subject", "clip") if name in df]
    clips = list(df.groupby(keys, observed=True)) if keys else [((), df)]
    figure = Figure(figsize=(8, 0.9 + 0.8 * len(names)), layout="constrained")
    panels = np.ravel(figure.subplots(len(names), 1, sharex=True))
    for panel, name in zip(panels, names, strict=True):
        for key, rows in clips:
            panel.plot(rows["timestamp"], values_of(rows, name), linewidth=1, label="/".join(map(str, key)))
            if len(clips) == 1 and f"{name}_c" in rows:
                present = values_of(rows, f"{name}_c") == 1
                panel.fill_between(rows["timestamp"], 0, 1, where=present, color=BLUE, alpha=0.15, linewidth=0)
        panel.set_ylim(0, 1)
        panel.set_title(_title(name), loc="left", fontsize=9)
    panels[-1].set_xlabel("time in s")
    if 1 < len(clips) <= len(TRACK_COLOURS):
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", fontsize=8)
    return figure


def _known(table: pd.DataFrame, column: str) -> np.ndarray:
    values = values_of(table, column)
    return values[np.isfinite(values)]


def face(
    frame_or_crop: np.ndarray,
    row: pd.Series | pd.DataFrame | Mapping[str, Any] | LastFrame,
    aus: str | Sequence[str] | None = None,
) -> Figure:
    """Draw a picture of a face next to bars of its Action Units.

    Parameters
    ----------
    frame_or_crop : ndarray
        (H, W, 3) uint8 RGB, a frame or an aligned crop.
    row : pandas.Series, DataFrame, mapping or LastFrame
        Its features: a row of a table, what ``Analyser.add`` returned, or ``Analyser.last``, whose landmarks and
        box are then drawn on the frame.
    aus : sequence of str, optional
        AUs to show; by default all.

    Raises
    ------
    InputError
        If the picture has another shape or dtype, there is not one row, or it lacks an AU.

    Examples
    --------
    >>> with open_store("store") as store:
    ...     crop = store.read_crops(store.clips[0], 0, 1)[0]
    >>> len(face(crop, load_features("features").iloc[0]).axes)
    2
    """
    picture = check_frame(frame_or_crop, 0).copy()
    if isinstance(row, LastFrame):
        draw_face(picture, _view(row))
        row = {} if row.row is None else row.row
    if isinstance(row, pd.DataFrame) and len(row) == 1:
        row = row.iloc[0]
    if not isinstance(row, (pd.Series, Mapping)):
        what = f"{len(row)} rows" if isinstance(row, pd.DataFrame) else type(row).__name__
        raise InputError(f"Expected the features of one frame, but got {what}. Give a row, such as df.iloc[0].")
    values = dict(row)
    names = _find_aus(list(values), "", aus)
    shares = np.array([np.nan if pd.isna(values[name]) else float(values[name]) for name in names])
    present = [pd.notna(flag := values.get(f"{name}_c")) and flag == 1 for name in names]
    figure = Figure(figsize=(8, max(3.0, 0.8 + 0.2 * len(names))), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(picture)
    left.set_axis_off()
    right.barh(range(len(names)), np.nan_to_num(shares), color=[BLUE if one else PALE for one in present])
    unknown = np.flatnonzero(np.isnan(shares))
    right.plot(np.full(len(unknown), 0.02), unknown, "x", color="grey", markersize=4)
    right.set_yticks(range(len(names)), [_title(name) for name in names], fontsize=8)
    right.invert_yaxis()
    right.set_xlim(0, 1)
    right.set_xlabel("probability; blue: present, x: not known")
    return figure


def _view(last: LastFrame) -> FaceView:
    pose = None if last.row is None else np.array([last.row.get(name, np.nan) for name in ("pitch", "yaw", "roll")])
    if pose is not None and (pd.isna(pose).any() or last.row is None or last.row.get("frame") != last.frame):
        pose = None
    nothing = np.zeros(0, np.float32)
    known = last.box, last.landmarks, None if pose is None else pose.astype(np.float64)
    return FaceView("", last.status, TRACK_COLOURS[0], *known, (), nothing, nothing, nothing, nothing)


def cooccurrence(df: pd.DataFrame, measure: str = "conditional", aus: str | Sequence[str] | None = None) -> Figure:
    """Draw which Action Units occur together, a square for each pair.

    Parameters
    ----------
    df : pandas.DataFrame
        Features with occurrences such as ``AU12_c``; measured in each subject and averaged, if there are subjects.
    measure : str
        ``conditional`` (share of the frames with the row's AU that also have the column's), ``jaccard`` or ``phi``; see
        ``tclr.pipeline.features.measure_cooccurrence``.
    aus : sequence of str, optional
        AUs to draw; by default all.

    Raises
    ------
    InputError
        If the table lacks occurrences, or the measure is unknown.

    Examples
    --------
    >>> figure = cooccurrence(load_features("features"), aus=["AU06", "AU12"])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['AU06', 'AU12']
    """
    if measure not in MEASURES:
        raise InputError(f"Expected one of the measures {', '.join(MEASURES)}, but got {measure!r}.")
    names = _find_aus(list(df.columns), "_c", aus)
    _check_table(df)
    by = "subject" if "subject" in df else None
    pairs = measure_cooccurrence(df, [f"{name}_c" for name in names], by=by)
    square = pairs[measure].to_numpy(np.float64).reshape(len(names), len(names))
    figure = Figure(figsize=(2.2 + 0.3 * len(names), 1.6 + 0.3 * len(names)), layout="constrained")
    panel = figure.subplots()
    lowest, colours = (-1, "RdBu_r") if measure == "phi" else (0, "Blues")
    image = panel.imshow(square, vmin=lowest, vmax=1, cmap=colours)
    panel.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.set_ylabel("given")
    panel.xaxis.tick_top()
    figure.colorbar(image, shrink=0.6, label=measure)
    return figure
