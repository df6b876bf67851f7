"""Plans a run: which clips are stored with the same settings and from the same source, and which are to be done.

A run that was interrupted at any point resumes where it stopped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tclr.pipeline.preprocessing.layout import part_path, read_infos, segment_paths, subject_path
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import WHOLE_FILE, ClipInfo, find_changes
from tclr.pipeline.system import remove_quietly
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import InputError, OutputError

Files = dict[str, tuple[Path, ...]]
"""By clip of the store, the file that holds it, or those of its segments."""


@dataclass(slots=True)
class ClipPlan:
    """A clip of the source, or of the store alone, and where the clips made of it are."""

    clip: Clip | None  # None if the source does not have it
    files: Files = field(default_factory=dict)  # what is done; empty if the clip is to be extracted
    kept: Files = field(default_factory=dict)  # what stays if that fails
    detected: Path | None = None  # a file that has its landmarks
    is_damaged: bool = False  # whether one of its files was damaged

    def drop(self, path: Path) -> None:
        """Have a damaged clip redone; if ``path``, the subject's file, held it, that may stay."""
        if all(files == (path,) for files in self.files.values()):
            self.kept = self.files
        self.files, self.is_damaged = {}, True


@dataclass
class SubjectPlan:
    """What becomes the file of one subject."""

    subject: str
    path: Path
    clips: dict[str, ClipPlan] = field(default_factory=dict)  # by name of the source's clip
    accepted: set[str] = field(default_factory=set)  # clips of the store that stay although they are damaged
    rewrite: bool = False  # the file's own attributes are damaged
    unread: bool = False  # something of the file cannot be read: it is kept in old/ when it is replaced

    @property
    def todo(self) -> list[ClipPlan]:
        """Clips of the source to extract."""
        return [plan for plan in self.clips.values() if plan.clip is not None and not plan.files]

    @property
    def files(self) -> Files:
        """What is done of all clips."""
        return {name: files for plan in self.clips.values() for name, files in plan.files.items()}

    @property
    def has_new(self) -> bool:
        """Whether the subject's file must be written: it has new clips, or damaged attributes."""
        return self.rewrite or any(files != (self.path,) for files in self.files.values())

    def keep(self, plan: ClipPlan) -> None:
        """Keep what the present file has of a clip, damaged or not, since it could not be rebuilt."""
        plan.files = plan.kept
        if plan.is_damaged:
            self.accepted |= plan.kept.keys()


def _in_file(infos: Iterable[ClipInfo], path: Path) -> Files:
    return {info.clip: (path,) for info in infos}


def _same_settings(infos: Iterable[ClipInfo], config: PreprocessConfig) -> bool:
    hashes = (config.detect.digest(), config.align.digest())
    return all((info.root.detect_hash, info.root.align_hash) == hashes for info in infos)


def _is_detected(infos: Sequence[ClipInfo], clip: Clip, config: PreprocessConfig) -> bool:
    """Return whether a clip's landmarks are stored; the source's contents are compared only if its dates differ."""
    if not infos or any(info.root.detect_hash != config.detect.digest() for info in infos):
        return False
    attrs = infos[0].attrs
    if len(infos) != attrs.n_people:
        return False
    if attrs.warning.startswith("truncated") and not config.allow_truncated:
        return False
    if attrs.source_fingerprint == clip.fingerprint():
        return True
    try:
        return attrs.source_sha256 == clip.sha256()
    except InputError:  # the clip fails on its worker, with this reason
        return False


def is_done(infos: Sequence[ClipInfo], clip: Clip, config: PreprocessConfig, segment: str = "") -> bool:
    """Return whether what is stored of a clip, or of a segment of it, has the same settings and source."""
    same = _same_settings(infos, config) and all(info.attrs.segment == segment for info in infos)
    return same and _is_detected(infos, clip, config)


def _by_source(infos: Iterable[ClipInfo]) -> dict[str, list[ClipInfo]]:
    """Group clips by the clip of the source that they come from."""
    clips = defaultdict(list)
    for info in infos:
        clips[info.attrs.source_clip].append(info)
    return clips


def plan_subject(
    store: Path,
    subject: str,
    clips: Iterable[Clip],
    infos: Sequence[ClipInfo],
    config: PreprocessConfig,
    suspected: Collection[str] = (),
    *,
    unread: bool = False,
) -> SubjectPlan:
    """Plan a subject: which of its clips are done, and where.

    ``clips`` are those of the source, ``infos`` those of the store. Of these, the ``suspected`` are compared with their
    checksums. ``unread`` says that something of the subject's file cannot be read.

    >>> from tclr.pipeline.sources import find_clips
    >>> from tclr.schemas.config import PreprocessConfig
    >>> plan = plan_subject(Path("empty"), "F001", find_clips(Path("clips"))[:1], (), PreprocessConfig())
    >>> [clip.clip.name for clip in plan.todo]
    ['F001/T1']
    """
    path = subject_path(store, subject)
    plan, stored = SubjectPlan(subject, path, unread=unread), _by_source(infos)
    names = (WHOLE_FILE, *(info.clip for info in infos))
    damaged = find_changes(path, [name for name in names if name in suspected])
    plan.rewrite = WHOLE_FILE in damaged and bool(infos)
    for clip in clips:
        its = stored.pop(clip.clip, [])
        plan.clips[clip.clip] = _plan_clip(store, clip, its, config, any(info.clip in damaged for info in its))
    plan.clips |= {name: ClipPlan(None, _in_file(its, path)) for name, its in stored.items()}
    return plan


def _plan_clip(
    store: Path, clip: Clip, stored: Sequence[ClipInfo], config: PreprocessConfig, is_damaged: bool
) -> ClipPlan:
    """Plan a clip, of which its subject's file has ``stored``."""
    path, part = subject_path(store, clip.subject), part_path(store, clip)
    sound, parts = [] if is_damaged else stored, read_infos(part)
    plan = ClipPlan(clip, is_damaged=is_damaged)
    if is_done(sound, clip, config):
        plan.files = _in_file(sound, path)
        for file in (part, *segment_paths(store, clip)):  # left by a run that was killed just after it assembled
            remove_quietly(file)
    elif is_done(parts, clip, config):
        plan.files = _in_file(parts, part)
    else:
        for file, infos in ((path, sound), (part, parts)):
            if _is_detected(infos, clip, config):
                plan.detected = file
        if _same_settings(stored, config):
            plan.kept = _in_file(stored, path)
    return plan


def check_others(
    store: Path,
    clips: Iterable[Clip],
    stored: Mapping[str, Sequence[ClipInfo]],
    config: PreprocessConfig,
    is_closed: Callable[[str], bool] = lambda name: False,
) -> None:
    """Raise ``OutputError`` if clips of the store that this run does not make were made with other settings.

    The source does not have them, or they are of a recording, ``subject/clip``, that ``is_closed``.
    """
    wanted = {clip.key for clip in clips}
    for subject, its in stored.items():
        for name, infos in _by_source(its).items():
            if (subject, name) not in wanted and not _same_settings(infos, config):
                why, advice = "from another source", ""
                if is_closed(f"{subject}/{name}"):
                    why = "that is not detected again, since a person of it has withdrawn"
                    advice = f", or remove {subject}/{name}"
                raise OutputError(
                    f"{store} holds {infos[0].name} {why}, made with other settings. "
                    f"Use another STORE, or the settings in its run.json{advice}."
                )
