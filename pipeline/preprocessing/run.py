"""A run of preprocessing: find the clips, lock the store, plan what is to be done, do it, index the store, report.

A clip that fails is reported and the others are done.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tclr.pipeline.faces import ensure_models
from tclr.pipeline.preprocessing.layout import scan_file, scan_store, subject_path
from tclr.pipeline.preprocessing.plan import SubjectPlan, check_others, plan_subject
from tclr.pipeline.preprocessing.scheduling import Progress, StoreBuild
from tclr.pipeline.sources import Clip, check_key, find_clips, open_key, pseudonymise
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
from tclr.schemas.errors import StoreError
from tclr.schemas.store import PSEUDONYM_KEY

WITHHELD = "withheld, as it may tell names: run 'tclr preprocess' again to see it"
"""What the manifest of a store of pseudonyms has for the reason of a failure."""
LOST = (
    "Expected in the store, as its last run left it there, but its file is gone or cannot be read, and this source has "
    "no clip to make it of. A file that was replaced is kept in old/; run again with the source that has it."
)


@dataclass(frozen=True)
class PreprocessResult:
    """What a run did."""

    store: Path
    dataset: str
    n_subjects: int
    n_clips: int
    n_skipped: int
    n_frames: int
    failures: tuple[Failure, ...]
    warnings: tuple[Failure, ...]
    new_key: bool = False


def preprocess(
    source: Path,
    store: Path,
    config: PreprocessConfig,
    *,
    dataset: str = "auto",
    key_file: Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    notify: Callable[[Progress], None] = lambda progress: None,
    tell: Callable[[str], None] = lambda stage: None,
) -> PreprocessResult:
    """Run preprocessing on a source folder.

    Parameters
    ----------
    source, store, config
        Folder to read, folder to write, and settings.
    dataset : str
        Layout of the source; ``auto`` recognises it.
    key_file : Path, optional
        Replace the names of subjects, clips and files by pseudonyms of this key, which is made if it is not there.
    workers, scheduler
        See ``connect``.
    notify : callable
        Called with a ``Progress`` whenever something has moved.
    tell : callable
        Called with the name of each stage in which nothing is counted.

    Raises
    ------
    InputError
        If the source has no clip, or the key cannot be used.
    OutputError
        If the store cannot be written, is held by another run, or holds other subjects made with other settings, or
        names of another kind.
    SettingError
        If the key lies in the source or the store.
    ClusterError
        If no scheduler answers, or it is lost.
    """
    source, store = real_path(source), real_path(store)
    tell("Looking for clips")
    clips = find_clips(source, dataset)
    tell("Looking for the detector's models")
    ensure_models(config.detect)
    new_key = False
    if key_file is not None:
        pseudonyms, new_key = open_key(key_file, source, store)
        clips = pseudonymise(clips, pseudonyms)
    tell("Looking at what is done")
    with lock_folder(store) as run:
        before = _look_at(store)
        check_key(store, _known_keys(store, before), clips[0].pseudonyms)
        check_others(store, clips, before.stored, config)
        _write_record(store, source, clips[0], config, "running")
        remove_abandoned(store)
        plans = _plan(store, clips, before, config)
        n_todo = sum(len(plan.todo) for plan in plans)
        progress = Progress(n_clips=n_todo, n_skipped=len(clips) - n_todo)
        build = StoreBuild(store, run, config, progress, notify)
        if any(plan.todo or plan.has_new for plan in plans):
            tell("Starting workers")
            build.carry_out(plans, workers, scheduler)
        tell("Writing the manifest")
        infos = [info for _, its in sorted((before.stored | build.infos).items()) for info in its]
        _index(store, clips, infos, before, progress.failures)
        _write_record(store, source, clips[0], config, "failed" if progress.failures else "done")
    return _report(store, clips[0].dataset, infos, progress, new_key)


@dataclass(frozen=True)
class _Before:
    """What a store holds before a run, by subject."""

    known: Mapping[str, Collection[str]]  # clips that the last run left
    stored: dict[str, Sequence[ClipInfo]]  # those that can be read
    unread: Mapping[str, Collection[str]]  # those that cannot
    suspected: Mapping[str, Collection[str]]  # all that may be damaged


def _look_at(store: Path) -> _Before:
    stored, unread = scan_store(store)
    suspected = defaultdict(set, {subject: set(reasons) for subject, reasons in unread.items()})
    for subject, names in DamageRecord(store).read().items():
        suspected[subject] |= set(names)
    return _Before(known_clips(store), {**stored}, unread, suspected)


def _known_keys(store: Path, before: _Before) -> set[str]:
    """Return what tells the keys of a store's pseudonyms apart, of its files and its last run; empty for names."""
    keys = {info.root.pseudonym_key for infos in before.stored.values() for info in infos}
    try:
        return keys | {str(read_json(store / "run.json").get(PSEUDONYM_KEY, ""))}
    except StoreError:
        return keys


def _plan(store: Path, clips: Iterable[Clip], before: _Before, config: PreprocessConfig) -> list[SubjectPlan]:
    subjects: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        subjects[clip.subject].append(clip)
    stored, suspected, unread = before.stored, before.suspected, before.unread
    return [
        plan_subject(store, name, its, stored.get(name, ()), config, suspected.get(name, ()), unread=name in unread)
        for name, its in subjects.items()
    ]


def _write_record(store: Path, source: Path, clip: Clip, config: PreprocessConfig, state: str) -> None:
    """Write ``run.json``; without the source where ``clip``, any of them, has a pseudonym."""
    record = {
        "state": state,
        "source": None if clip.pseudonyms else str(source),
        PSEUDONYM_KEY: clip.pseudonym_key,
        "dataset": clip.dataset,
        "tclr_version": version("tclr-face"),
        "detect": json.loads(config.detect.to_json()),
        "align": json.loads(config.align.to_json()),
        "allow_truncated": config.allow_truncated,
    }
    write_json(store / "run.json", record)


def _index(
    store: Path, clips: Sequence[Clip], infos: Sequence[ClipInfo], before: _Before, failures: list[Failure]
) -> None:
    """Write the manifest and tidy up; what is still damaged, and clips that are lost, are added to the failures."""
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
    """Remove what killed workers and finished parts leave behind, and note which damage is still there.

    Returns
    -------
    dict of str to str
        By ``subject/clip``, or ``subject`` for a file as a whole, what is still damaged.
    """
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


def _report(
    store: Path, dataset: str, infos: Sequence[ClipInfo], progress: Progress, new_key: bool
) -> PreprocessResult:
    return PreprocessResult(
        store,
        dataset,
        len({info.subject for info in infos}),
        len(infos),
        progress.n_skipped,
        progress.n_frames,
        tuple(progress.failures),
        tuple(Failure(info.name, info.attrs.warning) for info in infos if info.attrs.warning),
        new_key,
    )
