"""A run of preprocessing: find the clips, lock the store, plan, carry out the plan, index the store, report.

A clip that fails is reported, and the others are done.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tclr.pipeline.faces import ensure_models
from tclr.pipeline.preprocessing.changes import (
    Recordings,
    describe_doubles,
    describe_gone,
    find_gone,
    require_common,
)
from tclr.pipeline.preprocessing.forecast import forecast_disk_use
from tclr.pipeline.preprocessing.layout import scan_file, scan_store, subject_path
from tclr.pipeline.preprocessing.plan import SubjectPlan, check_others, plan_subject
from tclr.pipeline.preprocessing.scheduling import Progress, StoreBuild
from tclr.pipeline.preprocessing.subject_face import read_subject_face
from tclr.pipeline.preprocessing.withdrawal.listed import Withdrawn
from tclr.pipeline.preprocessing.withdrawal.removal import plan_removal, remove
from tclr.pipeline.sources import (
    Clip,
    check_key,
    count_passed_over,
    describe_passed_over,
    describe_sequences,
    find_clips,
    open_key,
    pseudonymise,
)
from tclr.pipeline.store import (
    WHOLE_FILE,
    ClipInfo,
    DamageRecord,
    FailedClip,
    find_changes,
    known_clips,
    write_manifest,
)
from tclr.pipeline.system import Failure, lock_folder, read_json, real_path, remove_abandoned, write_json
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import InputError, StoreError
from tclr.schemas.store import PSEUDONYM_KEY

WITHHELD = "withheld, as it may contain names: run 'tclr preprocess' again to see it"
"""The reason of a failure in the manifest of a store with pseudonyms."""
LOST = (
    "Expected in the store, since its last run left it there, but its file is gone or cannot be read, and this source "
    "does not have the clip. A file that was replaced is kept in old/; run again with the source that has the clip."
)


@dataclass(frozen=True)
class PreprocessResult:
    """What a run of ``preprocess`` did."""

    store: Path
    dataset: str  # the layout of the source
    n_subjects: int  # in the store
    n_clips: int  # in the store
    n_skipped: int  # clips of the source that were done before
    n_frames: int  # extracted in this run
    failures: tuple[Failure, ...]
    warnings: tuple[Failure, ...]  # of clips of the store, and of the source as a whole
    new_key: bool  # whether the key of pseudonyms was made in this run
    withdrawn: tuple[str, ...]  # clips of the source that were passed over, since people have withdrawn
    pruned: tuple[str, ...]  # recordings removed from the store, since the source does not have them
    passed_over: dict[str, int]  # files of the source that no clip uses, by suffix or reason


SMALL_CLIP_FRAMES, SMALL_RUN_FRAMES = 1500, 300
"""Frames of a single clip, and of several clips together, up to which a run stays in this process. Starting Dask's
workers takes longer than they save (docs/performance.md)."""


def preprocess(
    source: Path | Clip,
    store: Path,
    config: PreprocessConfig,
    *,
    dataset: str = "auto",
    key_file: Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    prune: bool = False,
    notify: Callable[[Progress], None] = lambda progress: None,
    tell: Callable[[str], None] = lambda stage: None,
    inform: Callable[[str], None] = lambda line: None,
) -> PreprocessResult:
    """Turn a folder of videos or images into a store.

    Parameters
    ----------
    source : Path or Clip
        Folder to read, or one clip, such as frames in memory.
    store : Path
        Folder to write.
    dataset : str
        Layout of the source; ``auto`` detects it.
    key_file : Path, optional
        Replace the names of subjects, clips and files by pseudonyms of this key, which is made if it does not exist.
    workers, scheduler
        Worker processes of this machine, or the address of a running cluster, see ``connect``. With 0 workers the work
        is done in this process. By default a small run is, and others have one worker per core.
    prune : bool
        Remove recordings from the store that the source does not have.
    notify, tell : callable
        Called with a ``Progress`` whenever it changes, and with the name of each stage that has none.
    inform : callable
        Called before the work with lines on files that are passed over, image sequences, and the disk it will take.

    Raises
    ------
    InputError, SettingError
        If the source has no clip, everyone in it has withdrawn, or pruning would empty the store; or the key cannot be
        used or lies in the source or the store.
    OutputError
        If the store cannot be written or is locked, or holds clips made with other settings, or other kinds of names.
    ClusterError
        If no scheduler answers, or it is lost.

    Examples
    --------
    >>> from tclr.schemas.config import AlignConfig, PreprocessConfig
    >>> result = preprocess(Path("clips"), Path("made"), PreprocessConfig(align=AlignConfig(size=64)), workers=1)
    >>> result.n_subjects, result.n_clips, result.n_frames, result.failures
    (2, 2, 32, ())
    """
    store = real_path(store)
    tell("Looking for clips")
    clip, source = (source, source.path) if isinstance(source, Clip) else (None, real_path(source))
    clips, new_key = ([clip], False) if clip else _look_for_clips(source, store, dataset, key_file, config)
    passed_over = {} if clip else _look_for_others(source, store, clips, config, inform)
    tell("Looking for the detector's models")
    ensure_models(config.detect)
    config = read_subject_face(config, clips[0].pseudonyms)
    tell("Looking at what is done")
    with lock_folder(store) as run:
        wanted = _Wanted.of(store, source, clips, config, prune=prune)
        clips, before = wanted.clips, wanted.before
        _write_record(store, source, clips[0], config, passed_over, "running")
        plans = _plan(store, clips, before, config)
        progress = _progress(plans, len(clips))
        build = StoreBuild(store, run, config, progress, notify)
        if any(plan.todo or plan.has_new for plan in plans):
            n_frames = _forecast(store, plans, config, inform)
            if workers is None and scheduler is None and _is_small(n_frames, progress.n_clips):
                workers = 0
            tell("Loading the detector" if workers == 0 else "Starting workers")
            build.carry_out(plans, workers, scheduler)
        tell("Writing the manifest")
        infos = [info for _, its in sorted((before.stored | build.infos).items()) for info in its]
        _index(store, clips, infos, before, progress.failures)
        _write_record(store, source, clips[0], config, passed_over, "failed" if progress.failures else "done")
    counts = (len({info.subject for info in infos}), len(infos), progress.n_skipped, progress.n_frames)
    warnings, left = _warnings(store, infos, wanted.gone), (wanted.withdrawn, wanted.pruned, passed_over)
    return PreprocessResult(store, clips[0].dataset, *counts, tuple(progress.failures), warnings, new_key, *left)


def preprocess_all(
    source: Path,
    store: Path,
    config: PreprocessConfig,
    *,
    dataset: str = "folder",
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Preprocess as ``preprocess`` does, for recipes that need every clip; ``progress`` has clips done and in total.

    Raises
    ------
    InputError
        If a clip fails.
    TclrError
        As ``preprocess`` does.

    Examples
    --------
    >>> from tclr.schemas.config import AlignConfig, PreprocessConfig
    >>> preprocess_all(Path("clips"), Path("all"), PreprocessConfig(align=AlignConfig(size=64)), dataset="bp4d")
    """
    result = preprocess(
        source,
        store,
        config,
        dataset=dataset,
        workers=workers,
        notify=lambda state: progress(int(state.clips_done), state.n_clips),
    )
    if result.failures:
        raise InputError(f"{result.failures[0].name}: {result.failures[0].reason}")


def _without_withdrawn(clips: Sequence[Clip], listed: Withdrawn, source: Path) -> list[Clip]:
    """Return the clips of a source that nobody has withdrawn from; raise ``InputError`` if none is left."""
    kept = [clip for clip in clips if not listed.covers(clip)]
    if not kept:
        raise InputError(
            f"Expected clips to store, but everyone in {source} has withdrawn from this store. "
            "'tclr remove STORE NAME --readmit' takes a name off its list."
        )
    return kept


def _prune(store: Path, gone: Recordings) -> None:
    """Remove recordings from a store."""
    clips = defaultdict(list)
    for subject, clip in gone:
        clips[subject].append(clip)
    for subject, its in clips.items():
        remove(plan_removal(store, subject, its))


def _progress(plans: Iterable[SubjectPlan], n_clips: int) -> Progress:
    n_todo = sum(len(plan.todo) for plan in plans)
    return Progress(n_clips=n_todo, n_skipped=n_clips - n_todo)


def _warnings(store: Path, infos: Sequence[ClipInfo], gone: Recordings) -> tuple[Failure, ...]:
    """Return what is to be said of the clips of a store at the end of a run."""
    own = [Failure(info.name, info.attrs.warning) for info in infos if info.attrs.warning]
    return (*own, *describe_gone(store, gone, infos), *describe_doubles(infos, gone))


def _look_for_clips(
    source: Path, store: Path, dataset: str, key_file: Path | None, config: PreprocessConfig
) -> tuple[list[Clip], bool]:
    """Return the clips of the source, under pseudonyms if there is a key, and whether the key is new."""
    clips = find_clips(source, dataset, stills=config.stills)
    if key_file is None:
        return clips, False
    pseudonyms, new_key = open_key(key_file, source, store)
    return pseudonymise(clips, pseudonyms), new_key


def _look_for_others(
    source: Path, store: Path, clips: Sequence[Clip], config: PreprocessConfig, inform: Callable[[str], None]
) -> dict[str, int]:
    """Tell what is passed over and what is read as sequences; return the former by group."""
    groups = count_passed_over(source, clips, own=store)
    for line in (describe_passed_over(groups), describe_sequences(clips, config.detect.image_fps)):
        if line:
            inform(line)
    return {name: group.n_files for name, group in groups.items()}


def _forecast(
    store: Path, plans: Iterable[SubjectPlan], config: PreprocessConfig, inform: Callable[[str], None]
) -> int:
    """Tell what disk the clips to do will take, warn if there is less, and return about how many frames they have.

    The number is 0 if no header states it.
    """
    todo = [plan.clip for subject in plans for plan in subject.todo if plan.clip is not None]
    if not todo:
        return 0
    disk_use = forecast_disk_use(store, todo, config)
    inform(disk_use.describe())
    disk_use.check(store)
    return disk_use.n_frames


def _is_small(n_frames: int, n_clips: int) -> bool:
    """Return whether a run is done before workers would have started."""
    return 0 < n_frames <= (SMALL_CLIP_FRAMES if n_clips == 1 else SMALL_RUN_FRAMES)


@dataclass(frozen=True)
class _Before:
    """What a store holds before a run, by subject."""

    known: Mapping[str, Collection[str]]  # clips that the last run left
    stored: dict[str, Sequence[ClipInfo]]  # those that can be read
    unread: Mapping[str, Collection[str]]  # those that cannot
    suspected: Mapping[str, Collection[str]]  # all that may be damaged
    keys: set[str]  # which keys made the pseudonyms in it; "" for names

    @property
    def infos(self) -> list[ClipInfo]:
        """The clips that can be read."""
        return [info for its in self.stored.values() for info in its]

    @classmethod
    def of(cls, store: Path) -> _Before:
        """Look at a store."""
        stored, unread = scan_store(store)
        suspected = defaultdict(set, {subject: set(reasons) for subject, reasons in unread.items()})
        for subject, names in DamageRecord(store).read().items():
            suspected[subject] |= set(names)
        keys = {info.root.pseudonym_key for infos in stored.values() for info in infos}
        with suppress(StoreError):
            keys.add(str(read_json(store / "run.json").get(PSEUDONYM_KEY, "")))
        return cls(known_clips(store), {**stored}, unread, suspected, keys)


@dataclass(frozen=True)
class _Wanted:
    """What of a source a run is to store, and what of the store the source does not have."""

    clips: list[Clip]
    withdrawn: tuple[str, ...]  # clips that are passed over
    gone: Recordings  # of the store alone, and still there
    pruned: tuple[str, ...]  # of the store alone, and removed
    before: _Before

    @classmethod
    def of(cls, store: Path, source: Path, clips: Sequence[Clip], config: PreprocessConfig, *, prune: bool) -> _Wanted:
        """Compare a source with a store, and prune the store; raise if they do not belong together."""
        before, listed = _Before.of(store), Withdrawn.of(store)
        check_key(store, before.keys, clips[0].pseudonyms)
        withdrawn = tuple(clip.name for clip in clips if listed.covers(clip))
        gone, pruned = find_gone(clips, before.infos, listed), tuple[str, ...]()
        clips = _without_withdrawn(clips, listed, source)
        if prune and gone:
            require_common(store, clips, before.infos, gone)
            _prune(store, gone)
            before, gone, pruned = _Before.of(store), {}, tuple("/".join(key) for key in gone)
        check_others(store, clips, before.stored, config, listed.is_partly)
        return cls(clips, withdrawn, gone, pruned, before)


def _plan(store: Path, clips: Iterable[Clip], before: _Before, config: PreprocessConfig) -> list[SubjectPlan]:
    remove_abandoned(store)
    subjects: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        subjects[clip.subject].append(clip)
    stored, suspected, unread = before.stored, before.suspected, before.unread
    return [
        plan_subject(store, name, its, stored.get(name, ()), config, suspected.get(name, ()), unread=name in unread)
        for name, its in subjects.items()
    ]


def _write_record(
    store: Path, source: Path, clip: Clip, config: PreprocessConfig, passed_over: Mapping[str, int], state: str
) -> None:
    """Write ``run.json``; without what may contain names of the source if ``clip``, any of them, has a pseudonym."""
    record = {
        "state": state,
        "source": None if clip.pseudonyms else str(source),
        PSEUDONYM_KEY: clip.pseudonym_key,
        "dataset": clip.dataset,
        "tclr_version": version("tclr-face"),
        "detect": json.loads(config.detect.to_json()),
        "align": json.loads(config.align.to_json()),
        "allow_truncated": config.allow_truncated,
        "stills": config.stills,
        "passed_over": None if clip.pseudonyms else {**passed_over},
    }
    write_json(store / "run.json", record)


def _index(
    store: Path, clips: Sequence[Clip], infos: Sequence[ClipInfo], before: _Before, failures: list[Failure]
) -> None:
    """Write the manifest and tidy up; add remaining damage and lost clips to the failures."""
    damage = _tidy(store, before.suspected)
    withhold = clips[0].pseudonyms is not None
    reasons = {failure.name: WITHHELD if withhold else failure.reason for failure in failures}
    failed = [
        FailedClip(clip.dataset, clip.subject, clip.clip, clip.source, reasons[clip.name])
        for clip in clips
        if clip.name in reasons
    ]
    write_manifest(store, infos, failed, reasons)
    failures += [Failure(name, reason) for name, reason in damage.items() if name not in reasons]
    gone = {subject for subject in before.known if subject in before.unread or subject not in before.stored}
    known = {f"{subject}/{clip}" for subject in gone for clip in before.known[subject]}
    failures += [Failure(name, LOST) for name in sorted(known - {info.name for info in infos} - reasons.keys())]


def _tidy(store: Path, suspected: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Remove leftovers, and return what is still damaged by ``subject/clip``, or ``subject`` for a whole file."""
    remove_abandoned(store)
    for folder in [*(store / "parts").glob("*"), store / "parts"]:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    record = DamageRecord(store)
    noted = record.read()  # again: 'inspect --verify' may have run meanwhile
    left: dict[str, dict[str, str]] = {}
    for subject in sorted({*suspected, *noted}):
        path = subject_path(store, subject)
        names = sorted({*suspected.get(subject, ()), *noted.get(subject, ())})
        infos, unread = scan_file(path)
        there = {WHOLE_FILE, *unread, *(info.clip for info in infos)}
        if infos or unread:
            left[subject] = unread | find_changes(path, [name for name in names if name in there - unread.keys()])
    record.write({subject: list(reasons) for subject, reasons in left.items() if reasons})
    return {
        f"{subject}/{name}" if name else subject: reason
        for subject, reasons in left.items()
        for name, reason in reasons.items()
    }
