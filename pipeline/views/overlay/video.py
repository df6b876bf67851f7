"""Writes a video with faces from a store and Action Units (AUs) from features drawn on it.

A frame is written if a clip has a row with its number; its time must equal that row's. A store made at fewer frames
per second, or from a part of a video, therefore gives a video of those frames only, each at its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import chain, cycle
from pathlib import Path

import cv2
import numpy as np

from tclr.pipeline.sources import Clip
from tclr.pipeline.store import Store
from tclr.pipeline.system import replacing
from tclr.pipeline.video import ClipMedia, Frame, VideoWriter, is_video_clip, probe, read_frames
from tclr.pipeline.views.overlay.drawing import TRACK_COLOURS, Colour, draw_face, draw_panel, even
from tclr.pipeline.views.overlay.rows import ClipRows, open_clips
from tclr.schemas.config import OverlayConfig
from tclr.schemas.errors import InputError, TruncatedError
from tclr.schemas.store import NO_TRACK

MAX_PANELS = 3
"""Most clips with AU bars beside the picture: more do not fit a screen."""
SAME_TIME_S = 1e-3
"""Largest difference of two times of one frame: containers count in milliseconds or finer."""


@dataclass(frozen=True)
class OverlayResult:
    """The clips drawn, as ``subject/clip``; those without room for AU bars; the number of frames written."""

    clips: list[str]
    without_bars: list[str]
    n_frames: int


def overlay(
    video: Path,
    out: Path,
    config: OverlayConfig,
    *,
    store: Path | None = None,
    features: Path | None = None,
    clip: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> OverlayResult:
    """Draw the contents of a store, of features or of both on a video or a folder of numbered images.

    Boxes, landmarks and head axes come from the store, AU bars from the features. ``clip`` is the ``subject/clip`` to
    draw, by default all clips of the video. ``progress`` is called with (frames written, frames in all).

    Raises
    ------
    InputError
        If neither is given, if no clip was made from this video, or if its frames differ from the clip's.
    StoreError
        If features and store differ in their frames.

    Examples
    --------
    >>> from tclr.schemas.config import OverlayConfig
    >>> frames = Path("clips/2D+3D/F001/T1")
    >>> overlay(frames, Path("t1.mp4"), OverlayConfig(), store=Path("store"), features=Path("features"))
    OverlayResult(clips=['F001/T1'], without_bars=[], n_frames=16)
    """
    if store is None and features is None:
        raise InputError("Expected a store or features to draw, but got neither. Give --store, --features or both.")
    with nullcontext() if store is None else Store(store) as opened:
        clips = open_clips(video, opened, features, clip)
        media = probe(Clip("folder", "video", "video", video, video.name), clips[0].source.fps or 1.0)
        for rows in clips:
            if rows.size not in (None, (media.width, media.height)):
                raise _another_video(media, rows, f"it has {media.width} x {media.height} pixels")
        with replacing(out) as temporary:
            n_frames = _write(media, temporary, clips, config, progress)
    without_bars = [rows.source.name for rows in clips if rows.aus][MAX_PANELS:]
    return OverlayResult([rows.source.name for rows in clips], without_bars, n_frames)


def _track_colours(clips: Sequence[ClipRows]) -> dict[tuple[str, int], Colour]:
    """Return the colour of each clip and track; colours repeat, and rows without a track have the first track's."""
    palette = cycle(TRACK_COLOURS)
    colours: dict[tuple[str, int], Colour] = {}
    for rows in clips:
        name = rows.source.name
        tracks = [int(track) for track in np.unique(rows.track) if track != NO_TRACK] or [NO_TRACK]
        colours |= {(name, track): colour for track, colour in zip(tracks, palette, strict=False)}
        colours[name, NO_TRACK] = colours[name, tracks[0]]
    return colours


def _read_all(media: ClipMedia) -> Iterator[Frame]:
    """Yield the frames up to the end of a truncated video; ``_match`` compares their number with the rows."""
    with suppress(TruncatedError):
        yield from read_frames(media)


def _match(media: ClipMedia, clips: Sequence[ClipRows]) -> Iterator[tuple[Frame, list[int | None]]]:
    """Yield each frame that a clip has a row of, with the row of each clip; check that times and number agree."""
    starts_s: dict[str, float] = {}
    unseen = {rows.source.name: len(rows.frame) for rows in clips}
    for frame in _read_all(media):
        found = [rows.row(frame.index) for rows in clips]
        for rows, row in zip(clips, found, strict=True):
            if row is None:
                continue
            unseen[rows.source.name] -= 1
            start_s = frame.timestamp_s - float(rows.timestamp[row])
            if abs(start_s - starts_s.setdefault(rows.source.name, start_s)) > SAME_TIME_S:
                raise _another_video(media, rows, f"its frame {frame.index} is at {frame.timestamp_s:.3f} s")
        if any(row is not None for row in found):
            yield frame, found
    for rows in clips:
        if count := unseen[rows.source.name]:
            raise _another_video(media, rows, f"{count} of the clip's {len(rows.frame)} frames are not in it")


def _another_video(media: ClipMedia, rows: ClipRows, why: str) -> InputError:
    return InputError(
        f"Expected the video that {rows.source.name} was made from, but {media.clip.path} is another: {why}. "
        "Give that video, or run 'tclr preprocess' on this one."
    )


class _Canvas:
    """Draws a frame's faces on it, and the AU bars of some clips beside it."""

    def __init__(self, media: ClipMedia, clips: Sequence[ClipRows], config: OverlayConfig) -> None:
        self._clips = clips
        self._with_panel = [rows.source.name for rows in clips if rows.aus][:MAX_PANELS]
        self._colours = _track_colours(clips)
        self._landmarks = config.landmarks
        self._scale = (config.height or media.height) / media.height
        self._size = even(media.width * self._scale), even(media.height * self._scale)

    def draw(self, frame: Frame, found: Sequence[int | None]) -> np.ndarray:
        """Return the picture of a frame; ``found`` has the row of each clip."""
        views = {}
        for rows, row in zip(self._clips, found, strict=True):
            if row is not None:
                colour = self._colours[rows.source.name, int(rows.track[row])]
                views[rows.source.name] = rows.view(row, colour, self._scale, self._landmarks)
        image = _resize(frame.image, *self._size)
        for view in views.values():
            draw_face(image, view)
        panels = [draw_panel(views.get(name), self._size[1]) for name in self._with_panel]
        return np.concatenate([image, *panels], axis=1)


def _write(
    media: ClipMedia, out: Path, clips: Sequence[ClipRows], config: OverlayConfig, progress: Callable[[int, int], None]
) -> int:
    """Write the frames and return their number."""
    canvas, frames = _Canvas(media, clips, config), _match(media, clips)
    n_total = len(set().union(*(rows.frame.tolist() for rows in clips)))
    first = next(frames)
    start_s = first[0].timestamp_s
    height, width = canvas.draw(*first).shape[:2]
    sound = media.clip.path if config.audio and is_video_clip(media.clip) else None
    n_done = 0
    sound_start_s = media.origin_s + start_s
    with VideoWriter(out, width, height, crf=config.crf, sound=sound, sound_start_s=sound_start_s) as writer:
        for n_done, (frame, found) in enumerate(chain([first], frames), start=1):
            writer.write(canvas.draw(frame, found), frame.timestamp_s - start_s)
            progress(n_done, n_total)
    return n_done


def _resize(image: np.ndarray | None, width: int, height: int) -> np.ndarray:
    """Return the picture in another size; it is black if the frame could not be decoded."""
    if image is None:
        return np.zeros((height, width, 3), np.uint8)
    interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=interpolation)
