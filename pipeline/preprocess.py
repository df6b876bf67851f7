"""The Dask graph of preprocessing: extract each clip, assemble each subject, index the store.

A long clip is done in segments, side by side. A clip that fails is reported and the others go on. What is to be done
is settled before (``pipeline.plan``).
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distributed import Client, Future, as_completed, get_worker

from tclr.pipeline.cluster import connect
from tclr.pipeline.extract import Rows, extract_clip, plan_segments
from tclr.pipeline.faces import check_models
from tclr.pipeline.files import remove_abandoned, remove_quietly, write_json
from tclr.pipeline.manifest import write_manifest
from tclr.pipeline.plan import (
    PreprocessConfig,
    SubjectPlan,
    check_others,
    is_done,
    part_path,
    plan_subject,
    read_infos,
    segment_paths,
)
from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.store import assemble_subject, root_attrs
from tclr.schemas.errors import OutputError, StoreError, TclrError, TimelineError

logger = logging.getLogger(__name__)

PROGRESS_TOPIC = "tclr-progress"
REPORT_EVERY_S = 0.5
"""Least time between two progress messages of a clip; chosen by us: messages stay far below the work."""


@dataclass(frozen=True)
class Failure:
    """A clip or subject that could not be done, and why."""

    name: str
    reason: str


@dataclass
class Progress:
    """How far a run is; handed to the caller's callback.

    ``n_clips`` are to be done in this run; ``clips_done`` counts running ones by the share of their frames.
    """

    n_clips: int
    n_skipped: int
    clips_done: float = 0
    n_frames: int = 0
    failures: list[Failure] = field(default_factory=list)


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


@dataclass(frozen=True)
class _Task:
    """A clip, or a segment of it, to be extracted on a worker.

    ``whole`` forbids to do it in segments; ``detected`` is a file with its landmarks.
    """

    clip: Clip
    store: Path
    config: PreprocessConfig
    version: str
    detected: Path | None = None
    rows: Rows | None = None
    whole: bool = False

    @property
    def key(self) -> str:
        """Name for progress messages."""
        return self.clip.name if self.rows is None else f"{self.clip.name}~{self.rows[0]}"


@dataclass(frozen=True)
class _Outcome:
    """What a task says when it ends.

    Attributes
    ----------
    names : tuple of str
        Clips that it made for the store.
    n_frames : int
        Rows of them.
    segments : tuple of (int, int)
        Instead: the segments that the clip is to be done in.
    reason : str
        Why it failed; empty if all went well.
    fatal : bool
        The store cannot be written, so that every other task would fail, too.
    uncut : bool
        The clip cannot be done in segments.
    """

    names: tuple[str, ...] = ()
    n_frames: int = 0
    segments: tuple[Rows, ...] = ()
    reason: str = ""
    fatal: bool = False
    uncut: bool = False


def _reporter(key: str) -> Callable[[int, int], None]:
    """Return a function that tells the client how many frames of a task are done."""
    worker = get_worker()
    last_s = time.monotonic()

    def report(n_frames: int, n_expected: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= REPORT_EVERY_S:
            last_s = time.monotonic()
            share = min(n_frames / n_expected, 1.0) if n_expected else 0.0
            worker.log_event(PROGRESS_TOPIC, {"key": key, "n_frames": n_frames, "share": share})

    return report


def _failed(error: Exception) -> _Outcome:
    """Return why a task failed: our own errors speak for themselves, others name their kind."""
    if isinstance(error, TclrError):
        fatal, uncut = isinstance(error, OutputError), isinstance(error, TimelineError)
        return _Outcome(reason=str(error), fatal=fatal, uncut=uncut)
    logger.exception("unexpected error", exc_info=error)
    return _Outcome(reason=f"unexpected {type(error).__name__}: {error}")


def _extract_task(task: _Task) -> _Outcome:
    """Extract one clip or segment, or tell which segments a clip is to be done in."""
    import cv2

    cv2.setNumThreads(1)  # one core a worker: Dask already runs one a core
    clip, config = task.clip, task.config
    part = part_path(task.store, clip, task.rows)
    try:
        if task.rows is None and not task.whole and (segments := plan_segments(clip, config.detect)):
            return _Outcome(segments=tuple(segments))
        if task.rows is None or not is_done(read_infos(part), clip, config, task.rows):
            extract_clip(
                clip,
                part,
                config.detect,
                config.align,
                task.version,
                detected=task.detected,
                rows=task.rows,
                allow_truncated=config.allow_truncated,
                report=_reporter(task.key),
            )
        infos = read_infos(part)
        return _Outcome(tuple(info.clip for info in infos), n_frames=infos[0].n_frames)
    except Exception as error:
        return _failed(error)


def _assemble_task(path: Path, sources: Mapping[str, tuple[Path, ...]], attrs: Mapping[str, Any]) -> _Outcome:
    """Join the clips of a subject, on a worker, and delete the parts."""
    try:
        assemble_subject(path, sources, attrs)
    except Exception as error:
        return _failed(error)
    for file in {file for files in sources.values() for file in files} - {path}:
        remove_quietly(file)
    return _Outcome()


@dataclass
class _ClipState:
    """How far a clip is: the segments it is done in, if any, and what has come of them."""

    task: _Task
    plan: SubjectPlan
    segments: tuple[Rows, ...] = ()
    outcomes: list[_Outcome] = field(default_factory=list)


class _Run:
    """Walks the graph: extract tasks, and a subject's assembly as soon as its clips are through."""

    def __init__(
        self,
        client: Client,
        store: Path,
        config: PreprocessConfig,
        progress: Progress,
        notify: Callable[[Progress], None],
    ) -> None:
        self.client = client
        self.store = store
        self.config = config
        self.version = version("tclr-face")
        self.progress = progress
        self.notify = notify
        self.queue = as_completed()
        self.tasks: dict[Future, tuple[_ClipState, _Task] | SubjectPlan] = {}
        self.weights: dict[str, float] = {}  # by key of a task whose clip is not through, its share of the clip
        self.messages: dict[str, dict[str, Any]] = {}
        self.n_frames = 0
        self.n_clips = 0

    def walk(self, plans: list[SubjectPlan]) -> None:
        """Run all tasks; failures are collected in ``progress``."""
        waiting = {plan.subject: len(plan.todo) for plan in plans}
        self.client.subscribe_topic(PROGRESS_TOPIC, self._on_event)
        for plan in plans:
            for clip in plan.todo:
                task = _Task(clip, self.store, self.config, self.version, plan.detected.get(clip.clip))
                self._submit(_ClipState(task, plan), task)
            if plan.has_new and not plan.todo:
                self._finish(plan)
        for future in self.queue:
            of = self.tasks.pop(future)
            outcome = self._outcome(future, of)
            future.release()
            if outcome.fatal:
                self.client.cancel(list(self.tasks))
                raise OutputError(outcome.reason)
            if isinstance(of, SubjectPlan):
                if outcome.reason:
                    self._fail(of.subject, outcome.reason)
            elif self._settle(*of, outcome):
                plan = of[0].plan
                waiting[plan.subject] -= 1
                if not waiting[plan.subject]:
                    self._finish(plan)
            self._notify()
        self.client.unsubscribe_topic(PROGRESS_TOPIC)

    def _submit(self, state: _ClipState, task: _Task) -> None:
        self.weights[task.key] = 1 / max(len(state.segments), 1)
        future = self.client.submit(_extract_task, task, pure=False)
        self.tasks[future] = (state, task)
        self.queue.add(future)

    def _settle(self, state: _ClipState, task: _Task, outcome: _Outcome) -> bool:
        """Take in what came of a task; return whether its clip is through."""
        if outcome.segments:
            self._forget(state)
            state.segments = outcome.segments
            for rows in outcome.segments:
                self._submit(state, replace(task, rows=rows))
            return False
        if task.rows is not None:
            self.messages[task.key] = {"n_frames": outcome.n_frames, "share": 1.0}
            state.outcomes.append(outcome)
            if len(state.outcomes) < len(state.segments):
                return False
            if any(one.uncut for one in state.outcomes):
                self._forget(state)
                state.outcomes.clear()
                self._submit(state, replace(state.task, whole=True))
                return False
            outcome = next((one for one in state.outcomes if one.reason), outcome)
        self._end_clip(state, outcome)
        return True

    def _forget(self, state: _ClipState) -> None:
        """Drop the progress of a clip's tasks, and its segments."""
        for rows in (None, *state.segments):
            key = replace(state.task, rows=rows).key
            self.weights.pop(key, None)
            self.messages.pop(key, None)
        state.segments = ()

    def _end_clip(self, state: _ClipState, outcome: _Outcome) -> None:
        clip, plan = state.task.clip, state.plan
        self.n_clips += 1
        if outcome.reason:
            self._fail(clip.name, outcome.reason)
            plan.sources |= plan.kept.get(clip.clip, {})
        else:
            rows = state.segments or (None,)
            files = tuple(part_path(self.store, clip, one) for one in rows)
            plan.sources |= dict.fromkeys(outcome.names, files)
            self.n_frames += sum(one.n_frames for one in state.outcomes) or outcome.n_frames
            for stale in {part_path(self.store, clip), *segment_paths(self.store, clip)} - set(files):
                remove_quietly(stale)
        self._forget(state)

    def _finish(self, plan: SubjectPlan) -> None:
        """Assemble a subject if anything of it is new; put aside a file that no setting of this run made."""
        if plan.has_new:
            attrs = root_attrs(plan.dataset, plan.subject, self.config.detect, self.config.align, self.version)
            future = self.client.submit(_assemble_task, plan.path, plan.sources, attrs, pure=False, priority=10)
            self.tasks[future] = plan
            self.queue.add(future)
        elif not plan.sources and plan.path.is_file():
            old = self.store / "old" / plan.path.name
            old.parent.mkdir(exist_ok=True)
            plan.path.replace(old)
            logger.warning("%s was made with other settings and could not be made again: moved to %s.", plan.path, old)

    def _outcome(self, future: Future, of: tuple[_ClipState, _Task] | SubjectPlan) -> _Outcome:
        try:
            return future.result()
        except Exception as error:  # tasks catch their own: this is a dead worker or scheduler
            if isinstance(of, SubjectPlan):
                raise StoreError(f"A Dask worker died while it assembled a subject: {error}. Run again.") from error
            return _Outcome(reason=f"its Dask worker was lost ({type(error).__name__}; out of memory?)")

    def _fail(self, name: str, reason: str) -> None:
        self.progress.failures.append(Failure(name, reason))

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        if event[1]["key"] in self.weights:
            self.messages[event[1]["key"]] = event[1]
            self._notify()

    def _notify(self) -> None:
        messages = list(self.messages.items())
        self.progress.n_frames = self.n_frames + sum(message["n_frames"] for _, message in messages)
        done = sum(message["share"] * self.weights.get(key, 0) for key, message in messages)
        self.progress.clips_done = self.n_clips + done
        self.notify(self.progress)


def _run_record(source: Path, dataset: str, config: PreprocessConfig, state: str) -> dict[str, Any]:
    return {
        "state": state,
        "source": str(source),
        "dataset": dataset,
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
    workers: int | None = None,
    scheduler: str | None = None,
    notify: Callable[[Progress], None] = lambda progress: None,
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
    workers, scheduler
        See ``connect``.
    notify : callable
        Called with a ``Progress`` whenever something has moved.

    Raises
    ------
    InputError
        If the source has no clip.
    OutputError
        If the store cannot be written, or holds other subjects made with other settings.
    """
    source, store = source.resolve(), store.resolve()
    clips = find_clips(source, dataset)
    check_models(config.detect)
    subjects: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        subjects[clip.subject].append(clip)
    check_others(store, subjects, config)
    write_json(store / "run.json", _run_record(source, clips[0].dataset, config, "running"))
    remove_abandoned(store)
    plans = [plan_subject(store, subject, its_clips, config) for subject, its_clips in subjects.items()]
    n_todo = sum(len(plan.todo) for plan in plans)
    progress = Progress(n_clips=n_todo, n_skipped=len(clips) - n_todo)
    if any(plan.todo or plan.has_new for plan in plans):
        with connect(workers, scheduler) as client:
            _Run(client, store, config, progress, notify).walk(plans)
    _remove_empty_parts(store)
    reasons = {failure.name: failure.reason for failure in progress.failures}
    infos = write_manifest(store, clips, reasons)
    state = "failed" if progress.failures else "done"
    write_json(store / "run.json", _run_record(source, clips[0].dataset, config, state))
    warnings = tuple(Failure(info.name, info.attrs["warning"]) for info in infos if info.attrs["warning"])
    return PreprocessResult(
        store,
        clips[0].dataset,
        len({info.subject for info in infos}),
        len(infos),
        progress.n_skipped,
        progress.n_frames,
        tuple(progress.failures),
        warnings,
    )


def _remove_empty_parts(store: Path) -> None:
    """Remove the folders of parts that nothing is left in."""
    for folder in [*(store / "parts").glob("*"), store / "parts"]:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
