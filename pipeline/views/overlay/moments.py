"""One picture of what clips show: for each moment a frame with its overlay beside the curves of its Action Units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from tclr.pipeline.sources import Clip
from tclr.pipeline.store import Store
from tclr.pipeline.system import replacing
from tclr.pipeline.video import probe, read_frames
from tclr.pipeline.views.overlay.drawing import TRACK_COLOURS, FaceView, draw_face
from tclr.pipeline.views.overlay.rows import ClipRows, open_clips
from tclr.schemas.action_units import PRESENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_COLOURS = ("#0072b2", "#d55e00", "#009e73")
"""Of a moment's AUs, in order: of Okabe and Ito's colours."""
SHADE = "#e8e2c8"
ROOM_SHARE = 0.25
"""What a picture shows around the face's box, as a share of the box's height."""
PICTURE_SIDE_PX = 320


@dataclass(frozen=True)
class Moment:
    """What to look for: a title, and the AUs whose labels say when it is, as ``AU12``."""

    title: str
    aus: tuple[str, ...]


@dataclass(frozen=True)
class _Watched:
    """A clip: its rows, its views without landmarks, (T,), and the row of each moment, None where it has none."""

    rows: ClipRows
    views: list[FaceView]
    places: list[int | None]

    @property
    def name(self) -> str:
        return self.rows.source.name

    def curve(self, au: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the probability and the label of an AU, (T,) each, NaN where unknown."""
        column = self.rows.aus.index(au)
        return (
            np.array([view.probability[column] for view in self.views]),
            np.array([view.true[column] for view in self.views]),
        )


def draw_moments(
    videos: Sequence[Path], moments: Sequence[Moment], out: Path, *, store: Path, features: Path
) -> list[tuple[str, str]]:
    """Write a PNG with a row per moment and, for each video, a frame of it and the AU curves of the whole clip.

    The frame is the middle of the longest run of rows in which all labels of the moment's AUs are present. Curves are
    predicted probabilities, and what is shaded is labelled present. A video without the moment has no frame there.

    Returns
    -------
    list of (str, str)
        The clip, as ``subject/clip``, and title of each moment that was found.

    Raises
    ------
    InputError
        If a video has no clip in the store.

    Examples
    --------
    >>> frames, made = Path("clips/2D+3D/F001/T1"), {"store": Path("store"), "features": Path("features")}
    >>> draw_moments([frames], [Moment("blink", ("AU45",))], Path("moments.png"), **made)
    [('F001/T1', 'blink')]
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with Store(store) as opened:
        watched = [_watch(open_clips(video, opened, features, None)[0], moments) for video in videos]
        pictures = [_take_pictures(video, clip) for video, clip in zip(videos, watched, strict=True)]
    figure = Figure(figsize=(6.2 * len(videos), 1.8 * len(moments) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(moments), 2 * len(videos), squeeze=False, width_ratios=[1, 2.4] * len(videos))
    for row, (moment, axes) in enumerate(zip(moments, grid, strict=True)):
        for column, (clip, taken) in enumerate(zip(watched, pictures, strict=True)):
            _draw_picture(axes[2 * column], taken.get(clip.places[row]), moment.title if column == 0 else "")
            _draw_curves(axes[2 * column + 1], clip, moment, clip.places[row])
            if row == 0:
                axes[2 * column + 1].set_title(clip.name, fontsize="medium", loc="left")
    for axes in grid[-1][1::2]:
        axes.set_xlabel("time in s")
    figure.suptitle("Predicted probability of Action Units; shaded: labelled present", fontsize="medium")
    with replacing(out) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
    return [
        (clip.name, moment.title)
        for clip in watched
        for moment, place in zip(moments, clip.places, strict=True)
        if place is not None
    ]


def _watch(rows: ClipRows, moments: Sequence[Moment]) -> _Watched:
    views = [rows.view(row, TRACK_COLOURS[0], 1.0, landmarks=False) for row in range(len(rows.frame))]
    clip = _Watched(rows, views, [])
    for moment in moments:
        labels = [clip.curve(au)[1] == PRESENT for au in moment.aus if au in rows.aus]
        clip.places.append(middle_of_longest(np.logical_and.reduce(labels)) if len(labels) == len(moment.aus) else None)
    return clip


def middle_of_longest(present: np.ndarray) -> int | None:
    """Return the middle of the longest run of True in (T,) bool, None if there is none.

    >>> middle_of_longest(np.array([True, False, True, True, True])), middle_of_longest(np.zeros(3, bool))
    (3, None)
    """
    start, stop = max(_runs(present), key=lambda run: run[1] - run[0], default=(0, 0))
    return (start + stop - 1) // 2 if stop else None


def _take_pictures(video: Path, clip: _Watched) -> dict[int | None, np.ndarray]:
    """Return by row the (S, S, 3) uint8 RGB pictures of the clip's moments, drawn on and cut to the face."""
    wanted = {int(clip.rows.frame[row]): row for row in clip.places if row is not None}
    media = probe(Clip("folder", "video", "video", video, video.name), clip.rows.source.fps or 1.0)
    taken: dict[int | None, np.ndarray] = {}
    for frame in read_frames(media):
        row = wanted.get(frame.index)
        if row is not None and frame.image is not None:
            view = clip.rows.view(row, TRACK_COLOURS[0], 1.0, landmarks=True)
            image = frame.image.copy()
            draw_face(image, view)
            taken[row] = _cut_face(image, view.bbox)
    return taken


def _cut_face(image: np.ndarray, bbox: np.ndarray | None) -> np.ndarray:
    """Return a square around a face's box (4,), or all of the picture without one."""
    height, width = image.shape[:2]
    if bbox is None:
        return image
    x0, y0, x1, y1 = bbox
    half = (0.5 + ROOM_SHARE) * max(x1 - x0, y1 - y0)
    left, top = (max(round(float(middle - half)), 0) for middle in ((x0 + x1) / 2, (y0 + y1) / 2))
    right, bottom = min(round(left + 2 * half), width), min(round(top + 2 * half), height)
    return cv2.resize(image[top:bottom, left:right], (PICTURE_SIDE_PX, PICTURE_SIDE_PX), interpolation=cv2.INTER_AREA)


def _draw_picture(axes: Axes, picture: np.ndarray | None, title: str) -> None:
    if picture is not None:
        axes.imshow(picture)
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel(title, fontsize="medium")
    axes.spines[:].set_visible(False)


def _draw_curves(axes: Axes, clip: _Watched, moment: Moment, place: int | None) -> None:
    """Draw the curves of a moment's AUs over a clip, shade where each is labelled, and mark the picture's time."""
    seconds = clip.rows.timestamp
    known = [au for au in moment.aus if au in clip.rows.aus]
    for number, (au, colour) in enumerate(zip(known, CURVE_COLOURS, strict=False)):
        probability, label = clip.curve(au)
        lane = number / len(known), (number + 1) / len(known)
        for start, stop in _runs(label == PRESENT):
            axes.axvspan(seconds[start], seconds[stop - 1], *lane, color=SHADE, linewidth=0)
        axes.plot(seconds, probability, color=colour, linewidth=1.5, label=au)
    if place is not None:
        axes.axvline(seconds[place], color="#555555", linewidth=0.8, linestyle=":")
    axes.set(xlim=(seconds[0], seconds[-1]), ylim=(0, 1.02), yticks=(0, 0.5, 1))
    axes.spines[["top", "right"]].set_visible(False)
    if known:
        axes.legend(
            frameon=False,
            fontsize="small",
            ncols=len(known),
            handlelength=1,
            loc="lower right",
            bbox_to_anchor=(1, 0.98),
            borderaxespad=0,
        )


def _runs(present: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the runs of True in (T,) bool: first row, and row after the last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], present.astype(np.int8), [0]]))).tolist()
    yield from zip(edges[::2], edges[1::2], strict=True)
