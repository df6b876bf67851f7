"""What workers do: extract a clip or a segment of it, assemble a subject. Errors are returned, not raised."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tclr.pipeline.preprocessing.extract import extract_clip
from tclr.pipeline.preprocessing.layout import old_folder, part_path, read_infos
from tclr.pipeline.preprocessing.pieces import Piece, cut_clip, survey_clip
from tclr.pipeline.preprocessing.plan import is_done
from tclr.pipeline.preprocessing.tracks import scout
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import ClipInfo, assemble_subject, find_changes
from tclr.pipeline.system import TaskOutcome, check_run, explain, make_reporter, remove_quietly, set_aside
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import DamagedClipsError, OutputError, TimelineError
from tclr.schemas.store import RootAttrs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipTask:
    """A clip, or a segment of it, to extract on a worker."""

    clip: Clip
    store: Path
    config: PreprocessConfig
    detected: Path | None = None  # a store file with the clip's landmarks
    segment: Piece | None = None  # what to read of the clip, if it was cut
    whole: bool = False  # the clip must not be cut
    n_ahead: int = 0  # see ``extract_clip``

    @property
    def part(self) -> Path:
        """The file to write."""
        return part_path(self.store, self.clip, self.segment.rows if self.segment else None)


@dataclass(frozen=True)
class Outcome(TaskOutcome):
    """What a task returns."""

    names: tuple[str, ...] = ()  # clips that it made for the store
    n_frames: int = 0  # rows of each
    segments: tuple[Piece, ...] = ()  # instead: the segments to extract the clip in
    uncut: bool = False  # the clip cannot be extracted in segments
    damaged: Mapping[str, str] = field(default_factory=dict)  # clips to redo, with the reason
    lost: Mapping[str, str] = field(default_factory=dict)  # accepted clips that could not be copied
    infos: tuple[ClipInfo, ...] = ()  # clips of the subject that was assembled


def _failed(error: Exception) -> Outcome:
    reason = explain(error, "Fewer --workers leave more for each")
    return Outcome(reason=reason, fatal=isinstance(error, OutputError), uncut=isinstance(error, TimelineError))


def extract_task(task: ClipTask) -> Outcome:
    """Extract one clip or segment, or return the segments to extract a clip in.

    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.schemas.config import PreprocessConfig
    >>> from tclr.pipeline.system import connect
    >>> with connect(1, None) as client:
    ...     task = ClipTask(find_clips(Path("clips"))[0], Path("new"), PreprocessConfig())
    ...     client.submit(extract_task, task).result().names
    ('T1',)
    """
    try:
        with _one_thread:
            return _extract(task)
    except Exception as error:
        return _failed(error)


def _extract(task: ClipTask) -> Outcome:
    clip, config, piece = task.clip, task.config, task.segment
    if piece is None:
        piece = survey_clip(clip, config, _sound(task.detected, clip))
        if not task.whole and (segments := cut_clip(piece)):
            scouted = None if piece.detected else scout(piece, task.n_ahead)
            return Outcome(segments=tuple(replace(segment, scouted=scouted) for segment in segments))
    if not piece.segment or not is_done(read_infos(task.part), clip, config, piece.segment):
        extract_clip(piece, task.part, task.n_ahead, make_reporter())
    infos = read_infos(task.part)
    return Outcome(names=tuple(info.clip for info in infos), n_frames=infos[0].n_frames)


class _OneThread:
    """Lets OpenCV use one thread within the block, since there is one worker per core.

    Of several tasks at once, the last one to end restores the number.
    """

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._n_running = 0
        self._before = 0

    def __enter__(self) -> None:
        import cv2

        with self._counting:
            if not self._n_running:
                self._before = cv2.getNumThreads()
                cv2.setNumThreads(1)
            self._n_running += 1

    def __exit__(self, *error: object) -> None:
        import cv2

        with self._counting:
            self._n_running -= 1
            if not self._n_running:
                cv2.setNumThreads(self._before)


_one_thread = _OneThread()


def _sound(detected: Path | None, clip: Clip) -> Path | None:
    """Return a file with a clip's landmarks if they are undamaged."""
    if detected is None:
        return None
    names = [info.clip for info in read_infos(detected) if info.attrs.source_clip == clip.clip]
    return None if find_changes(detected, names, frames=False) else detected


def assemble_task(
    path: Path,
    sources: Mapping[str, tuple[Path, ...]],
    attrs: RootAttrs,
    accepted: Collection[str],
    store: Path,
    run: str,
    *,
    keep_old: bool = False,
) -> Outcome:
    """Join the clips of a subject, on a worker; see ``assemble_subject``.

    Damaged parts are deleted. The file that is replaced goes to ``old/`` if a clip is lost or ``keep_old`` is set.

    >>> from tclr.pipeline.system import lock_folder
    >>> infos, _ = scan_store(Path("store"))
    >>> path, root = subject_path(Path("store"), "F001"), infos["F001"][0].root
    >>> with lock_folder(Path("store")) as run:
    ...     assemble_task(path, {"T1": (path,)}, root, (), Path("store"), run).infos
    (ClipInfo(dataset='bp4d', subject='F001', clip='T1', n_frames=16),)
    """

    def confirm(lost: Mapping[str, str]) -> None:
        check_run(store, run)
        if (keep_old or lost) and path.is_file():
            logger.warning("%s is damaged and is replaced: kept as %s.", path, set_aside(path, old_folder(store)))

    try:
        lost = assemble_subject(path, sources, attrs, accepted, confirm)
        return Outcome(lost=lost, infos=tuple(read_infos(path)))
    except DamagedClipsError as error:
        for clip in error.clips:
            for part in {*sources[clip]} - {path}:
                if find_changes(part, [clip]):
                    remove_quietly(part)
        return Outcome(damaged=error.clips)
    except Exception as error:
        return _failed(error)
