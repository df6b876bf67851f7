"""The subject of frames that arrive one by one, from a camera for example: nobody has seen what comes next.

The same steps as for a recording, without the look ahead at who is in it. Frames come out at once, or, with ``ahead_s``
above 0, when what follows is known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from tclr.pipeline.faces import Detector, TurnedDetector
from tclr.pipeline.tracking.crops import RADIUS_SIGMAS, CropCutter, CroppedFrame
from tclr.pipeline.tracking.gaps import GapFiller
from tclr.pipeline.tracking.scoring import score_faces
from tclr.pipeline.tracking.tracker import PeopleTracker, TrackedFrame, without_face
from tclr.pipeline.video import Frame, number_shots
from tclr.schemas.config import AlignConfig, DetectConfig


class _Feed(Iterator[Frame]):
    """Frames that were pushed in; whoever asks for one knows that it is there."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()

    def push(self, frame: Frame) -> None:
        self._frames.append(frame)

    def __next__(self) -> Frame:
        return self._frames.popleft()


class FaceStream:
    """Follows the subject through frames that are pushed in, and cuts its crops.

    The subject is the largest of the first faces; with ``max_faces`` 1 it is the first face found. Detection sees the
    pictures as they come, or turned by ``detect.rotate`` degrees; ``auto`` is taken as 0.

    Parameters
    ----------
    detector : Detector
        Opened for it, for videos.
    detect, align : DetectConfig, AlignConfig
        Settings.
    look_ahead : bool
        Fill short gaps and smooth the motion of crops, as in a recording. Frames then come out late, see ``ahead_s``.

    Examples
    --------
    >>> from tclr.pipeline.faces import open_detector
    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.pipeline.video import probe, read_frames
    >>> from tclr.schemas.config import AlignConfig, DetectConfig
    >>> stream = FaceStream(open_detector(DetectConfig()), DetectConfig(), AlignConfig())
    >>> frames = read_frames(probe(find_clips(Path("clips"))[0], image_fps=25), fps=5)
    >>> [(item.tracked.status.name, item.crop.shape) for frame in frames for item in stream.add(frame)][:2]
    [('ok', (224, 224, 3)), ('ok', (224, 224, 3))]
    """

    def __init__(
        self, detector: Detector, detect: DetectConfig, align: AlignConfig, *, look_ahead: bool = False
    ) -> None:
        self.rotation = 0 if detect.rotate == "auto" else int(detect.rotate)
        if self.rotation:
            detector = TurnedDetector(detector, self.rotation)
        detector.n_faces = detect.max_faces
        self.last: TrackedFrame | None = None
        self.ahead_s = RADIUS_SIGMAS * align.smooth_s + detect.max_gap_s if look_ahead else 0.0
        tracker = PeopleTracker(detector, detect)
        self._feed = _Feed()
        tracked = (found for shown in number_shots(self._feed) for found in tracker.track_batch([shown]))
        self._scored = score_faces(tracked, detector.score_crop, detect.min_score)
        self._gaps = GapFiller(detect.max_gap_s) if look_ahead else None
        self._cutter = CropCutter(align if look_ahead else align.model_copy(update={"smooth_s": 0.0}))

    def add(self, frame: Frame) -> Iterator[CroppedFrame]:
        """Take the next frame; yield the subject in those that are final, at most ``ahead_s`` late."""
        self._feed.push(frame)
        _, found = next(self._scored)
        self.last = found.get(0, without_face(frame))
        for settled in self._gaps.add(self.last) if self._gaps is not None else (self.last,):
            yield from self._cutter.add(settled)

    def flush(self) -> Iterator[CroppedFrame]:
        """Yield what is left: no frame follows."""
        for settled in self._gaps.flush() if self._gaps is not None else ():
            yield from self._cutter.add(settled)
        yield from self._cutter.flush()
