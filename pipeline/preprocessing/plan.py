"""What a run of preprocessing has to do: which clips are stored under the same settings and from the same source.

What is done is not done again, so a run that was interrupted at any point goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tclr.pipeline.preprocessing.layout import part_path, read_infos, segment_paths, subject_path
from tclr.pipeline.preprocessing.segments import Rows
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import WHOLE_FILE, ClipInfo, find_changes
from tclr.pipeline.system import remove_quietly
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import InputError, OutputError

logger = logging.getLogger(__name__)


@dataclass
class SubjectPlan:
    """The clips of one subject.

    Attributes
    ----------
    subject, dataset, pseudonym_key : str
        Names, and what tells the key of the pseudonyms apart.
    path : Path
        The subject's file.
    sources : dict
        Files that hold each clip of the store that is done: one, or its segments.
    todo : list of Clip
        Clips of the source to extract.
    detected : dict
        By name of a clip to extract, a file that has its landmarks.
    kept : dict
        By name of a clip to extract, the ``sources`` that stay if that fails.
    clips : dict of str to Clip
        All clips of the source, by name.
    origins : dict of str to str
        By name of a clip of the store, that of the source clip that it comes from.
    damaged : set of str
        Source clips of which a file holds damaged bytes.
    accepted : set of str
        Clips that stay although they are damaged.
    rewrite : bool
        The present file's own attributes are damaged: it is written again.
    unread : bool
        Something of the present file cannot be read: it is kept in ``old/`` when another takes its place.
    """

    subject: str
    dataset: str
    pseudonym_key: str
    path: Path
    sources: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    todo: list[Clip] = field(default_factory=list)
    detected: dict[str, Path] = field(default_factory=dict)
    kept: dict[str, dict[str, tuple[Path, ...]]] = field(default_factory=dict)
    clips: dict[str, Clip] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    accepted: set[str] = field(default_factory=set)
    rewrite: bool = False
    unread: bool = False

    @property
    def has_new(self) -> bool:
        """Whether a clip comes from elsewhere than the subject's present file, or that is to be written again."""
        return self.rewrite or any(files != (self.path,) for files in self.sources.values())

    def drop(self, source_clip: str) -> None:
        """Take the clips that come from a source clip for damaged: they are to be made again."""
        names = [name for name, origin in self.origins.items() if origin == source_clip]
        files = {name: self.sources.pop(name) for name in names if name in self.sources}
        if all(places == (self.path,) for places in files.values()):
            self.kept[source_clip] = files
        self.damaged.add(source_clip)

    def keep(self, source_clip: str) -> None:
        """Let what the present file has of a source clip stay, damaged or not: it could not be made again."""
        self.sources |= self.kept.get(source_clip, {})
        if source_clip in self.damaged:
            self.accepted |= self.kept.get(source_clip, {}).keys()


def _same_settings(info: ClipInfo, config: PreprocessConfig) -> bool:
    hashes = (info.root.detect_hash, info.root.align_hash)
    return hashes == (config.detect.digest(), config.align.digest())


def _is_detected(infos: Sequence[ClipInfo], clip: Clip, config: PreprocessConfig) -> bool:
    """Tell whether a stored clip's landmarks hold; contents of the source are compared only if dates differ."""
    if any(info.root.detect_hash != config.detect.digest() for info in infos):
        return False
    if not infos or len(infos) != infos[0].attrs.n_people:
        return False
    attrs = infos[0].attrs
    if attrs.warning.startswith("truncated") and not config.allow_truncated:
        return False
    if attrs.source_fingerprint == clip.fingerprint():
        return True
    try:
        return attrs.source_sha256 == clip.sha256()
    except InputError:  # the clip then fails on its worker, with this reason, and the others go on
        return False


def is_done(infos: Sequence[ClipInfo], clip: Clip, config: PreprocessConfig, rows: Rows | None = None) -> bool:
    """Tell whether the stored clips of a source clip, or of a segment of it, have the same settings and source."""
    segment = "" if rows is None else f"{rows[0]}:{rows[1]}"
    same = all(_same_settings(info, config) and info.attrs.segment == segment for info in infos)
    return same and _is_detected(infos, clip, config)


def _by_source(infos: Iterable[ClipInfo]) -> dict[str, list[ClipInfo]]:
    """Return the clips of a file by the clip of the source that they come from."""
    clips = defaultdict(list)
    for info in infos:
        clips[info.attrs.source_clip].append(info)
    return clips


def _find_damaged(path: Path, infos: Sequence[ClipInfo], suspected: Collection[str]) -> set[str]:
    """Return those of the suspected clips of a file, and ``WHOLE_FILE``, whose bytes have changed."""
    return set(find_changes(path, [name for name in (WHOLE_FILE, *(info.clip for info in infos)) if name in suspected]))


def plan_subject(
    store: Path,
    subject: str,
    clips: list[Clip],
    infos: Sequence[ClipInfo],
    config: PreprocessConfig,
    suspected: Collection[str] = (),
) -> SubjectPlan:
    """Find out what of a subject is done already.

    Parameters
    ----------
    store, subject : Path, str
        The store, and one subject of the source.
    clips, infos : sequence
        The subject's clips in the source, and those in the store.
    config : PreprocessConfig
        Settings.
    suspected : collection of str
        Clips of the store that were found damaged: compared with their checksums before they are believed.
    """
    path = subject_path(store, subject)
    damaged = _find_damaged(path, infos, suspected)
    stored = _by_source(infos)
    plan = SubjectPlan(
        subject, clips[0].dataset, clips[0].pseudonym_key, path, clips={clip.clip: clip for clip in clips}
    )
    plan.origins = {info.clip: name for name, its in stored.items() for info in its}
    plan.rewrite = WHOLE_FILE in damaged and bool(infos)
    plan.damaged = {plan.origins[name] for name in damaged - {WHOLE_FILE}}
    for clip in clips:
        part = part_path(store, clip)
        kept, parts = stored.get(clip.clip, []), read_infos(part)
        old = [] if clip.clip in plan.damaged else kept
        if is_done(old, clip, config):
            plan.sources |= {info.clip: (path,) for info in old}
            for file in (part, *segment_paths(store, clip)):  # left by a run that was killed just after it assembled
                remove_quietly(file)
        elif is_done(parts, clip, config):
            plan.sources |= {info.clip: (part,) for info in parts}
            plan.origins |= {info.clip: clip.clip for info in parts}
        else:
            plan.todo.append(clip)
            for place, its in ((path, old), (part, parts)):
                if _is_detected(its, clip, config):
                    plan.detected[clip.clip] = place
            if kept and all(_same_settings(info, config) for info in kept):
                plan.kept[clip.clip] = {info.clip: (path,) for info in kept}
    for name in stored.keys() - plan.clips.keys():
        plan.sources |= {info.clip: (path,) for info in stored[name]}
    return plan


def check_others(
    store: Path, subjects: dict[str, list[Clip]], stored: Mapping[str, Sequence[ClipInfo]], config: PreprocessConfig
) -> None:
    """Refuse to mix settings: clips of the store that the source does not have must have the same ones.

    Raises
    ------
    OutputError
        If a clip has others.
    """
    for subject, its in stored.items():
        wanted = {clip.clip for clip in subjects.get(subject, [])}
        for name, infos in _by_source(its).items():
            if name not in wanted and not all(_same_settings(info, config) for info in infos):
                raise OutputError(
                    f"{store} holds {infos[0].name} from another source, made with other settings. "
                    "Use another STORE, or the settings in its run.json."
                )
