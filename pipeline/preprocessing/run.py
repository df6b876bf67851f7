"""Preprocessing: plan what is to be done, walk the Dask graph, index the store.

A clip that fails is reported and the others go on. What is to be done is settled before (``pipeline.plan``), what
workers do is in ``pipeline.tasks``, who does what when in ``pipeline.graph``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tclr.pipeline.faces import ensure_models
from tclr.pipeline.preprocessing.layout import scan_file, scan_store, subject_path
from tclr.pipeline.preprocessing.plan import check_others, plan_subject
from tclr.pipeline.preprocessing.scheduling import GraphRun, Progress
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
from tclr.pipeline.system import Failure, connect, lock_folder, read_json, real_path, remove_abandoned, write_json
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import StoreError
from tclr.schemas.store import PSEUDONYM_KEY

__all__ = ["PreprocessConfig", "PreprocessResult", "Progress", "preprocess"]


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


WITHHELD = "withheld, as it may tell names: run 'tclr preprocess' again to see it"
"""What the manifest of a store of pseudonyms has for the reason of a failure."""


def _run_record(source: Path, clip: Clip, config: PreprocessConfig, state: str) -> dict[str, Any]:
    """Return what ``run.json`` holds; without the source where ``clip``, any of them, has a pseudonym."""
    return {
        "state": state,
        "source": None if clip.pseudonyms else str(source),
        PSEUDONYM_KEY: clip.pseudonym_key,
        "dataset": clip.dataset,
        "tclr_version": version("tclr-face"),
        "detect": json.loads(config.detect.to_json()),
        "align": json.loads(config.align.to_json()),
        "allow_truncated": config.allow_truncated,
    }


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
    source, store : Path
        Folder to read and folder to write.
    config : PreprocessConfig
        Settings.
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
    pseudonyms, new_key = (None, False) if key_file is None else open_key(key_file, source, store)
    if pseudonyms is not None:
        clips = pseudonymise(clips, pseudonyms)
    subjects: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        subjects[clip.subject].append(clip)
    tell("Looking at what is done")
    with lock_folder(store) as run:
        known = known_clips(store)
        stored, unread = scan_store(store)
        check_key(store, _known_keys(store, stored), pseudonyms)
        check_others(store, subjects, stored, config)
        write_json(store / "run.json", _run_record(source, clips[0], config, "running"))
        remove_abandoned(store)
        suspected = {subject: list(reasons) for subject, reasons in unread.items()}
        for subject, names in DamageRecord(store).read().items():
            suspected[subject] = sorted({*names, *suspected.get(subject, ())})
        plans = [
            plan_subject(store, subject, its_clips, stored.get(subject, ()), config, suspected.get(subject, ()))
            for subject, its_clips in subjects.items()
        ]
        for plan in plans:
            plan.unread = plan.subject in unread
        n_todo = sum(len(plan.todo) for plan in plans)
        progress = Progress(n_clips=n_todo, n_skipped=len(clips) - n_todo)
        current: dict[str, Sequence[ClipInfo]] = {**stored}
        if any(plan.todo or plan.has_new for plan in plans):
            tell("Starting workers")
            with connect(workers, scheduler) as client:
                graph = GraphRun(client, store, run, config, progress, notify)
                graph.walk(plans)
                current |= graph.infos
        tell("Writing the manifest")
        damage = _tidy(store, suspected)
        reasons = {failure.name: failure.reason for failure in progress.failures}
        infos = [info for _, its in sorted(current.items()) for info in its]
        told = dict.fromkeys(reasons, WITHHELD) if pseudonyms else reasons
        failed = [
            FailedClip(clip.dataset, clip.subject, clip.clip, clip.source, told[clip.name])
            for clip in clips
            if clip.name in told
        ]
        write_manifest(store, infos, failed, told)
        broken = {subject: names for subject, names in known.items() if subject in unread or subject not in stored}
        progress.failures += [Failure(name, reason) for name, reason in damage.items() if name not in reasons]
        progress.failures += _lost(broken, infos, reasons)
        state = "failed" if progress.failures else "done"
        write_json(store / "run.json", _run_record(source, clips[0], config, state))
    warnings = tuple(Failure(info.name, info.attrs.warning) for info in infos if info.attrs.warning)
    return PreprocessResult(
        store,
        clips[0].dataset,
        len({info.subject for info in infos}),
        len(infos),
        progress.n_skipped,
        progress.n_frames,
        tuple(progress.failures),
        warnings,
        new_key,
    )


def _known_keys(store: Path, stored: Mapping[str, Iterable[ClipInfo]]) -> set[str]:
    """Return what tells the keys of a store's pseudonyms apart, of its files and its last run; empty for names."""
    keys = {info.root.pseudonym_key for infos in stored.values() for info in infos}
    try:
        return keys | {str(read_json(store / "run.json").get(PSEUDONYM_KEY, ""))}
    except StoreError:
        return keys


def _lost(known: Mapping[str, Collection[str]], infos: Iterable[ClipInfo], told: Collection[str]) -> list[Failure]:
    """Return the clips that the last run left in the store and that are no longer there, but those told already."""
    names = {f"{subject}/{clip}" for subject, clips in known.items() for clip in clips}
    lost = sorted(names - {info.name for info in infos} - set(told))
    reason = (
        "Expected in the store, as its last run left it there, but its file is gone or cannot be read, and this source "
        "has no clip to make it of. A file that was replaced is kept in old/; run again with the source that has it."
    )
    return [Failure(name, reason) for name in lost]


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
