"""What workers do: extract a clip or a segment of it, assemble a subject. Errors come back as words."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tclr.pipeline.preprocessing.extract import extract_clip
from tclr.pipeline.preprocessing.layout import old_folder, part_path, read_infos
from tclr.pipeline.preprocessing.plan import is_done
from tclr.pipeline.preprocessing.segments import Rows, plan_segments
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import ClipInfo, assemble_subject, find_changes
from tclr.pipeline.system import TaskOutcome, check_run, explain, make_reporter, remove_quietly, set_aside
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import OutputError, TimelineError, UnreadableClipError
from tclr.schemas.store import RootAttrs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipTask:
    """A clip, or a segment of it, to be extracted on a worker.

    ``whole`` forbids to do it in segments; ``detected`` is a file with its landmarks; ``n_ahead`` see ``extract_clip``.
    """

    clip: Clip
    store: Path
    config: PreprocessConfig
    version: str
    detected: Path | None = None
    rows: Rows | None = None
    whole: bool = False
    n_ahead: int = 0

    @property
    def key(self) -> str:
        """Name for progress messages."""
        return self.clip.name if self.rows is None else f"{self.clip.name}~{self.rows[0]}"


@dataclass(frozen=True)
class Outcome(TaskOutcome):
    """What a task says when it ends.

    Attributes
    ----------
    names : tuple of str
        Clips that it made for the store.
    n_frames : int
        Rows of them.
    segments : tuple of (int, int)
        Instead: the segments that the clip is to be done in.
    uncut : bool
        The clip cannot be done in segments.
    damaged : dict of str to str
        Clips that were to be joined but are not as they were written, with the reason.
    lost : dict of str to str
        Accepted clips that could not even be copied and were left out, with the reason.
    infos : tuple of ClipInfo
        The clips of the subject that was assembled.
    """

    names: tuple[str, ...] = ()
    n_frames: int = 0
    segments: tuple[Rows, ...] = ()
    uncut: bool = False
    damaged: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    infos: tuple[ClipInfo, ...] = ()


def _failed(error: Exception) -> Outcome:
    reason = explain(error, "Fewer --workers leave more for each")
    return Outcome(reason=reason, fatal=isinstance(error, OutputError), uncut=isinstance(error, TimelineError))


def extract_task(task: ClipTask) -> Outcome:
    """Extract one clip or segment, or tell which segments a clip is to be done in."""
    import cv2

    cv2.setNumThreads(1)  # one core a worker: Dask already runs one a core
    clip, config = task.clip, task.config
    part = part_path(task.store, clip, task.rows)
    try:
        if task.rows is None and not task.whole and (segments := plan_segments(clip, config.detect, config.limits)):
            return Outcome(segments=tuple(segments))
        if task.rows is None or not is_done(read_infos(part), clip, config, task.rows):
            detected = task.detected
            if detected and find_changes(detected, [info.clip for info in read_infos(detected)], frames=False):
                detected = None
            extract_clip(
                clip,
                part,
                config.detect,
                config.align,
                task.version,
                detected=detected,
                rows=task.rows,
                allow_truncated=config.allow_truncated,
                limits=config.limits,
                n_ahead=task.n_ahead,
                report=make_reporter(task.key),
            )
        infos = read_infos(part)
        return Outcome(names=tuple(info.clip for info in infos), n_frames=infos[0].n_frames)
    except Exception as error:
        return _failed(error)


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
    """Join the clips of a subject, on a worker, if all but the accepted ones are as they were written.

    ``keep_old`` keeps the file that is replaced.
    """

    def confirm() -> None:
        check_run(store, run)
        if keep_old and path.is_file():
            logger.warning("%s is damaged and is replaced: kept as %s.", path, set_aside(path, old_folder(store)))

    try:
        damaged: dict[str, str] = {}
        for clip in sources.keys() - set(accepted):
            for file in sources[clip]:
                if changes := find_changes(file, [clip]):
                    damaged |= changes
                    if file != path:
                        remove_quietly(file)
        if damaged:
            return Outcome(damaged=damaged)
        lost: dict[str, str] = {}
        while rest := {clip: files for clip, files in sources.items() if clip not in lost}:
            try:
                assemble_subject(path, rest, attrs, confirm=confirm)
                return Outcome(lost=lost, infos=tuple(read_infos(path)))
            except UnreadableClipError as error:
                if error.clip not in accepted:
                    return Outcome(damaged={error.clip: str(error)})
                lost[error.clip] = str(error)
                keep_old = True
        return Outcome(reason=" ".join(lost.values()))
    except Exception as error:
        return _failed(error)
