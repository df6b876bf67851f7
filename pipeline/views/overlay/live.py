"""Frames with what was found, as they come: the picture to show, and the window that shows it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import pandas as pd

from tclr.pipeline.views.overlay.drawing import TRACK_COLOURS, FaceView, draw_face, draw_panel, even
from tclr.pipeline.views.overlay.rows import scale_points
from tclr.schemas.errors import OutputError

ENDING_KEYS = frozenset({ord("q"), ord("Q"), 27})
"""Q and Escape."""
HEIGHTS_PX = 480, 720
"""Of pictures to show: bars can be read from 480 on, and drawing and encoding more than 720 takes long."""
PROBE = "import cv2; cv2.namedWindow('tclr'); cv2.destroyAllWindows()"
PROBE_TIMEOUT_S = 30


def view_row(
    status: str,
    box: np.ndarray | None,
    landmarks: np.ndarray | None,
    row: Mapping[str, Any] | None,
    thresholds: Mapping[str, float],
) -> FaceView:
    """Return what a frame's row says of its face, to draw it.

    Parameters
    ----------
    status : str
        The frame's status.
    box, landmarks : ndarray or None
        (4,) left, top, right, bottom, and (K, 2), in pixels of the frame.
    row : mapping or None
        The frame's features. AUs that it lacks have no bar.
    thresholds : mapping
        Probability from which an AU counts as present, by AU.

    Examples
    --------
    >>> view_row("ok", None, None, {"AU12": 0.7, "AU12_c": 1, "yaw": None}, {"AU12": 0.5, "AU14": 0.5}).aus
    ('AU12',)
    """
    known = {} if row is None else row
    aus = tuple(name for name in thresholds if name in known)
    pose = _numbers(known, ["pitch", "yaw", "roll"]).astype(np.float64)
    return FaceView(
        name="",
        status=status,
        colour=TRACK_COLOURS[0],
        bbox=box,
        landmarks=landmarks,
        pose=pose if np.isfinite(pose).all() else None,
        aus=aus,
        probability=_numbers(known, aus),
        present=_numbers(known, [f"{name}_c" for name in aus]),
        true=np.full(len(aus), np.nan, np.float32),
        threshold=np.array([thresholds[name] for name in aus], np.float32),
    )


def _numbers(row: Mapping[str, Any], names: Any) -> np.ndarray:
    values = [row.get(name) for name in names]
    return np.array([np.nan if pd.isna(value) else value for value in values], np.float32)


def draw_live(image: np.ndarray, view: FaceView) -> np.ndarray:
    """Return a frame, (H, W, 3) uint8 RGB, with its face drawn on it and AU bars beside it.

    It is resized to a height within ``HEIGHTS_PX``, with even sides, as H.264 needs. The frame given is not changed.

    >>> nothing = view_row("no_face", None, None, None, {})
    >>> draw_live(np.zeros((360, 640, 3), np.uint8), nothing).shape
    (480, 1056, 3)
    """
    height = even(min(max(image.shape[0], HEIGHTS_PX[0]), HEIGHTS_PX[1]))
    scale = height / image.shape[0]
    size = even(image.shape[1] * scale), height
    picture = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    scaled = {name: None if (points := getattr(view, name)) is None else scale_points(points, scale)
              for name in ("bbox", "landmarks")}  # fmt: skip
    seen = FaceView(**(vars(view) | scaled))
    draw_face(picture, seen)
    return np.concatenate([picture, draw_panel(seen, size[1])], axis=1)


class Window:
    """A window that shows pictures; use it in a ``with`` statement, and in the main thread.

    Raises
    ------
    OutputError
        If no window can be opened: there is no display, or OpenCV was built without windows.

    Examples
    --------
    >>> from contextlib import suppress
    >>> from tclr.schemas.errors import OutputError
    >>> with suppress(OutputError), Window("tclr") as window:  # without a display it is an error
    ...     goes_on = window.show(np.zeros((480, 640, 3), np.uint8))
    """

    def __init__(self, title: str) -> None:
        _check_display()
        self._title = title
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
        self._has_size = False

    def show(self, picture: np.ndarray) -> bool:
        """Show a picture, (H, W, 3) uint8 RGB; return False once Q or Escape is pressed or the window is closed."""
        if not self._has_size:
            cv2.resizeWindow(self._title, picture.shape[1], picture.shape[0])
        elif cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            return False
        self._has_size = True
        cv2.imshow(self._title, picture[..., ::-1])
        return cv2.waitKey(1) & 0xFF not in ENDING_KEYS

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cv2.destroyAllWindows()


def _check_display() -> None:
    """Raise an error if no window opens. Another process tries it, since Qt ends the process that fails."""
    try:
        tried = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, timeout=PROBE_TIMEOUT_S).returncode
    except subprocess.TimeoutExpired:
        tried = 1
    if tried != 0:
        raise OutputError(
            "Expected a display for the window, but none can be opened. Run without one: --no-show with -o rows.csv or "
            "--overlay out.mp4."
        )
