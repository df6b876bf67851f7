"""What a run of preprocessing has to do: which clips are stored under the same settings and from the same source.

What is done is not done again, so a run that was interrupted at any point goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tclr.pipeline.extract import Rows
from tclr.pipeline.files import remove_quietly
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import ClipInfo, read_clip_infos
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.errors import InputError, NewerFormatError, OutputError, StoreError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreprocessConfig:
    """Settings of one run; only ``detect`` and ``align`` change what is stored."""

    detect: DetectConfig = field(default_factory=DetectConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    allow_truncated: bool = False


@dataclass
class SubjectPlan:
    """The clips of one subject.

    Attributes
    ----------
    subject, dataset : str
        Names.
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
    """

    subject: str
    dataset: str
    path: Path
    sources: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    todo: list[Clip] = field(default_factory=list)
    detected: dict[str, Path] = field(default_factory=dict)
    kept: dict[str, dict[str, tuple[Path, ...]]] = field(default_factory=dict)

    @property
    def has_new(self) -> bool:
        """Whether a clip comes from elsewhere than the subject's present file."""
        return any(files != (self.path,) for files in self.sources.values())


def subject_path(store: Path, subject: str) -> Path:
    """Return the path of a subject's file."""
    return store / "subjects" / f"{subject}.h5"


def part_path(store: Path, clip: Clip, rows: Rows | None = None) -> Path:
    """Return the path of a clip that is not assembled yet, or of a segment of it."""
    segment = "" if rows is None else f"~{rows[0]:09d}"
    return store / "parts" / clip.subject / f"{clip.clip}{segment}.h5"


def segment_paths(store: Path, clip: Clip) -> list[Path]:
    """Return the files of all segments of a clip that are there, also those of other settings."""
    return sorted(part_path(store, clip).parent.glob(f"{clip.clip}~*.h5"))


def read_infos(path: Path) -> list[ClipInfo]:
    """List the clips of a file; none if it is absent or damaged, since it is then made again."""
    if not path.is_file():
        return []
    try:
        return read_clip_infos(path)
    except NewerFormatError:
        raise
    except StoreError as error:
        logger.warning("%s It is made again.", error)
        return []


def _same_settings(info: ClipInfo, config: PreprocessConfig) -> bool:
    hashes = (info.root["detect_hash"], info.root["align_hash"])
    return hashes == (config.detect.digest(), config.align.digest())


def _is_detected(infos: Sequence[ClipInfo], clip: Clip, config: PreprocessConfig) -> bool:
    """Tell whether a stored clip's landmarks hold; contents of the source are compared only if dates differ."""
    if any(info.root["detect_hash"] != config.detect.digest() for info in infos):
        return False
    if not infos or len(infos) != infos[0].attrs["n_people"]:
        return False
    attrs = infos[0].attrs
    if attrs["warning"].startswith("truncated") and not config.allow_truncated:
        return False
    if attrs["source_fingerprint"] == clip.fingerprint():
        return True
    try:
        return attrs["source_sha256"] == clip.sha256()
    except InputError:  # the clip then fails on its worker, with this reason, and the others go on
        return False


def is_done(infos: Sequence[ClipInfo], clip: Clip, config: PreprocessConfig, rows: Rows | None = None) -> bool:
    """Tell whether the stored clips of a source clip, or of a segment of it, have the same settings and source."""
    segment = "" if rows is None else f"{rows[0]}:{rows[1]}"
    same = all(_same_settings(info, config) and info.attrs.get("segment", "") == segment for info in infos)
    return same and _is_detected(infos, clip, config)


def _by_source(infos: Iterable[ClipInfo]) -> dict[str, list[ClipInfo]]:
    """Return the clips of a file by the clip of the source that they come from."""
    clips = defaultdict(list)
    for info in infos:
        clips[info.attrs.get("source_clip", info.clip)].append(info)
    return clips


def plan_subject(store: Path, subject: str, clips: list[Clip], config: PreprocessConfig) -> SubjectPlan:
    """Find out what of a subject is done already."""
    path = subject_path(store, subject)
    stored = _by_source(read_infos(path))
    plan = SubjectPlan(subject, clips[0].dataset, path)
    for clip in clips:
        part = part_path(store, clip)
        old, parts = stored.get(clip.clip, []), read_infos(part)
        if is_done(old, clip, config):
            plan.sources |= {info.clip: (path,) for info in old}
            for file in (part, *segment_paths(store, clip)):  # left by a run that was killed just after it assembled
                remove_quietly(file)
        elif is_done(parts, clip, config):
            plan.sources |= {info.clip: (part,) for info in parts}
        else:
            plan.todo.append(clip)
            for place, infos in ((path, old), (part, parts)):
                if _is_detected(infos, clip, config):
                    plan.detected[clip.clip] = place
            if old and all(_same_settings(info, config) for info in old):
                plan.kept[clip.clip] = {info.clip: (path,) for info in old}
    for name in stored.keys() - {clip.clip for clip in clips}:
        plan.sources |= {info.clip: (path,) for info in stored[name]}
    return plan


def check_others(store: Path, subjects: dict[str, list[Clip]], config: PreprocessConfig) -> None:
    """Refuse to mix settings: clips of the store that the source does not have must have the same ones.

    Raises
    ------
    OutputError
        If a clip has others.
    """
    for path in sorted((store / "subjects").glob("*.h5")):
        wanted = {clip.clip for clip in subjects.get(path.stem, [])}
        for name, infos in _by_source(read_infos(path)).items():
            if name not in wanted and not all(_same_settings(info, config) for info in infos):
                raise OutputError(
                    f"{store} holds {infos[0].name} from another source, made with other settings. "
                    "Use another STORE, or the settings in its run.json."
                )
