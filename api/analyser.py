"""Frames that arrive one by one, from a camera or a stream, each with its features as soon as they are final."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pandas as pd

from tclr.encoders import open_own
from tclr.frames import check_frame, is_rate
from tclr.opening import split_names
from tclr.pipeline.export import LiveExport
from tclr.pipeline.faces import open_detector
from tclr.pipeline.preprocessing import fill_rows
from tclr.pipeline.store import ClipLayout
from tclr.pipeline.tracking import CroppedFrame, FaceStream
from tclr.pipeline.video import Frame
from tclr.schemas.config import AlignConfig, DetectConfig, EmbedConfig, Settings, parse_settings
from tclr.schemas.errors import InputError
from tclr.settings import sort_settings

FilePath = str | PathLike[str]
KINDS: dict[str, type[Settings]] = {"detect": DetectConfig, "align": AlignConfig}
ONE_FACE = {"max_faces": 1}
"""Looking for one face alone is faster, and a camera mostly shows one."""


@dataclass(frozen=True, eq=False)
class LastFrame:
    """Results for the frame that was added last, to draw on it; ``None`` where there is no face.

    ``landmarks`` (478, 2) float32 and ``box`` (4,) float32, left, top, right, bottom, are in pixels of the frame.
    ``row`` has the features of the newest frame whose features are final; without ``look_ahead`` it is this frame.
    """

    frame: int
    timestamp_s: float
    status: str
    landmarks: np.ndarray | None
    box: np.ndarray | None
    row: pd.Series | None


class Analyser:
    """Analyses frames that arrive one by one, in order.

    The columns are those of ``analyse``. The numbers can differ, because later frames are not available. The subject is
    the first face found (with ``max_faces`` above 1 the largest of the first). Frames are taken as upright unless
    ``rotate`` says otherwise. Crops and AUs are not smoothed, and gaps are not filled. A closure of the eyes counts as
    AU45 until it has lasted too long for a blink. Embeddings agree to rounding. With ``look_ahead``, gaps are filled
    and crops smoothed as in ``analyse``, and rows come late.

    Parameters
    ----------
    fps : float, optional
        Rate of the frames; otherwise ``add`` needs each frame's time.
    au_model : str or Path
        ``face``, ``shape``, ``box``, ``blendshapes``, or a head of ``fit_au``.
    columns : str or iterable of str, optional
        Columns of the rows, as in ``analyse``. Leaving out what is not needed saves time.
    embedding : str
        ``none``, ``wide`` or ``list``.
    encoder : str or Path, optional
        As in ``analyse``.
    hidden : str
        ``null`` leaves AUs of hidden regions empty, ``keep`` keeps what the models guess.
    blendshapes, landmarks : bool
        Add the columns ``bs_<name>``, or the landmarks, ``lm_x_000`` and so on, in pixels of the frame.
    look_ahead : bool
        Wait for the frames after, for gaps and steady crops.
    **settings
        Settings of detection and alignment, as in ``analyse``; ``max_faces`` is 1 by default.

    Attributes
    ----------
    latency_s : float
        How late rows come at most, in seconds of the stream: 0, or with ``look_ahead`` 3 ``smooth_s`` + ``max_gap_s``.
    latency_frames : int or None
        The same in frames; ``None`` if it is not 0 and the rate is unknown.
    last : LastFrame or None
        The frame that was added last, with landmarks and box.
    thresholds : dict
        Probability from which each AU counts as present, by name.

    Raises
    ------
    SettingError, StoreError, ModelError
        If a setting is unknown or out of range, or the models do not fit.

    Examples
    --------
    >>> from PIL import Image
    >>> frames = [np.array(Image.open(path)) for path in sorted(Path("clips/2D+3D/F001/T1").glob("*.jpg"))]
    >>> with Analyser(fps=25, hidden="keep") as analyser:
    ...     rows = [analyser.add(frame) for frame in frames]
    >>> analyser.latency_frames, len(rows), rows[0].shape[0], analyser.last.landmarks.shape
    (0, 16, 1, (478, 2))
    """

    def __init__(
        self,
        fps: float | None = None,
        au_model: FilePath = "face",
        *,
        columns: str | list[str] | None = None,
        embedding: Literal["none", "wide", "list"] = "none",
        encoder: FilePath | None = None,
        hidden: Literal["null", "keep"] = "null",
        blendshapes: bool = False,
        landmarks: bool = False,
        look_ahead: bool = False,
        **settings: Any,
    ) -> None:
        if fps is not None and not is_rate(fps):
            raise InputError(f"Expected fps above 0, but got {fps!r}. Leave it out to give each frame's time.")
        parsed = sort_settings(ONE_FACE | settings, KINDS, "Analyser")
        detect, align = parsed["detect"], parsed["align"]
        given: dict[str, Any] = {"columns": ",".join(split_names(columns)), "embedding": embedding, "hidden": hidden}
        given |= {"blendshapes": blendshapes, "landmarks": landmarks}
        config = parse_settings(EmbedConfig, given, "Analyser()")
        self._fps, self._n_frames, self._last_s = fps, 0, -math.inf
        self._detector = open_detector(detect, video=True)
        self._stream = FaceStream(self._detector, detect, align, look_ahead=look_ahead)
        self._layout = ClipLayout(align, self._detector.n_landmarks, self._detector.blendshape_names)
        loaded = open_own(encoder)
        model = au_model if isinstance(au_model, str) else Path(au_model)
        nothing = fill_rows([], self._layout)
        self._export = LiveExport(nothing, align, loaded, config, model, self._stream.rotation)
        source = self._export.source
        self.thresholds = dict(zip(source.au_names, source.threshold.tolist(), strict=True))
        self._row: pd.Series | None = None
        self._size_px = (0, 0)
        self._is_open = True
        self.last: LastFrame | None = None
        self.latency_s = self._stream.ahead_s

    @property
    def latency_frames(self) -> int | None:
        """How many frames late rows come at most; ``None`` if they come late and the rate is unknown."""
        if self.latency_s == 0:
            return 0
        return None if self._fps is None else math.ceil(self.latency_s * self._fps)

    def add(self, frame: np.ndarray, timestamp_s: float | None = None) -> pd.DataFrame | None:
        """Take the next frame, (H, W, 3) uint8 RGB, and return the rows that are final now, or ``None``.

        Parameters
        ----------
        frame : ndarray
            The picture; it is not kept for longer than ``latency_s``.
        timestamp_s : float, optional
            Its time in seconds, never falling; by default it follows from ``fps``.

        Raises
        ------
        InputError
            If the frame has another shape, size or dtype, has no time, or is earlier than the one before; or after
            ``close``.
        """
        image, number = check_frame(frame, self._n_frames), self._n_frames
        time_s = self._time_of(number, timestamp_s)
        self._check_size(image)
        self._n_frames, self._last_s = number + 1, time_s
        self._size_px = (image.shape[1], image.shape[0])
        rows = self._describe(list(self._stream.add(Frame(number, time_s, image))))
        self._remember()
        return rows

    def close(self) -> pd.DataFrame | None:
        """Return the rows that were waiting for more frames, or ``None``, and free the detector."""
        if not self._is_open:
            return None
        self._is_open = False
        try:
            return self._describe(list(self._stream.flush()))
        finally:
            self._detector.close()

    def __enter__(self) -> Analyser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_size(self, image: np.ndarray) -> None:
        """Refuse another size: rows that wait, the tracked face and the camera's geometry are of the one before."""
        width_px, height_px = image.shape[1], image.shape[0]
        if self._n_frames and (width_px, height_px) != self._size_px:
            raise InputError(
                f"Expected frames of one size, {self._size_px[0]} x {self._size_px[1]}, but frame {self._n_frames} has "
                f"{width_px} x {height_px}. Resize it, or open another analyser."
            )

    def _time_of(self, number: int, timestamp_s: float | None) -> float:
        if not self._is_open:
            raise InputError("Expected frames before close(), but the analyser is closed. Open another one.")
        if timestamp_s is None and self._fps is None:
            raise InputError("Expected a time for each frame, but got none. Give timestamp_s, or fps to Analyser().")
        time_s = number / self._fps if timestamp_s is None and self._fps is not None else timestamp_s
        if not isinstance(time_s, Real) or not self._last_s <= float(time_s) < math.inf:
            before = "" if number == 0 else f" after one at {self._last_s} s"
            raise InputError(
                f"Expected frames in order of time, but frame {number} is at {time_s!r} s{before}. Leave it out, "
                "or give its time in seconds."
            )
        return float(time_s)

    def _describe(self, cropped: list[CroppedFrame]) -> pd.DataFrame | None:
        if not cropped:
            return None
        table = self._export.table(fill_rows(cropped, self._layout), self._size_px).to_pandas()
        table.insert(0, "subject", pd.Categorical(table["clip"].astype(str)))
        self._row = table.iloc[-1]
        return table

    def _remember(self) -> None:
        seen = self._stream.last
        if seen is None:
            return
        landmarks, box = (None, None) if seen.face is None else (seen.face.landmarks[:, :2], seen.face.bbox)
        moment = seen.frame.index, seen.frame.timestamp_s
        self.last = LastFrame(*moment, seen.status.name, landmarks, box, self._row)
