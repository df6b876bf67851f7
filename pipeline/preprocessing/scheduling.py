"""Builds a store on a Dask cluster: clips, segments of long ones, subjects, and what is repaired."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from tclr.pipeline.preprocessing.layout import file_attrs, old_folder, part_path, read_infos, segment_paths
from tclr.pipeline.preprocessing.plan import ClipPlan, SubjectPlan
from tclr.pipeline.preprocessing.tasks import ClipTask, Outcome, assemble_task, extract_task
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import ClipInfo
from tclr.pipeline.system import ITEMS_AHEAD, Dispatcher, Failure, dispatching, remove_quietly, set_aside
from tclr.schemas.config import PreprocessConfig
from tclr.schemas.errors import OutputError

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a run is; handed to the caller's callback.

    ``n_clips`` are to be done in this run; ``clips_done`` counts running ones by the share of their frames.
    ``n_subjects`` have something new and are to be assembled. The work began at ``started_s``.
    """

    n_clips: int
    n_skipped: int
    clips_done: float = 0
    n_frames: int = 0
    failures: list[Failure] = field(default_factory=list)
    n_subjects: int = 0
    subjects_done: int = 0
    started_s: float = field(default_factory=time.monotonic)


class Job(Protocol):
    """What a task is for."""

    def settle(self, outcome: Outcome) -> None:
        """Take in what came of the task, and submit what follows from it."""
        ...


class StoreBuild:
    """A store that is being built: what its subjects and clips share, and how far they are.

    Parameters
    ----------
    store, run, config
        The store, the run that holds it (``lock_folder``), and the settings.
    progress, notify
        What is kept up to date, and what is called with it whenever something has moved.
    """

    tasks: Dispatcher[Job, Outcome]

    def __init__(
        self,
        store: Path,
        run: str,
        config: PreprocessConfig,
        progress: Progress,
        notify: Callable[[Progress], None],
    ) -> None:
        self.store = store
        self.run = run
        self.config = config
        self.progress = progress
        self.infos: dict[str, Sequence[ClipInfo]] = {}  # by subject, the clips of files that may have changed
        self._notify = notify
        self._n_frames = self._n_clips = 0  # that are through
        self._reported: set[Extraction] = set()  # of clips that are not
        self.cores = (0, 0)

    def carry_out(self, plans: Sequence[SubjectPlan], workers: int | None, scheduler: str | None) -> None:
        """Run all tasks, on workers as ``connect`` has them; failures are collected in ``progress``.

        Raises
        ------
        ClusterError
            If no scheduler answers, or it is lost.
        OutputError
            If the store cannot be written.
        """
        subjects = [SubjectBuild(self, plan) for plan in plans if plan.todo or plan.has_new]
        backlog = [ClipBuild(subject, plan) for subject in subjects for plan in subject.plan.todo]
        with dispatching(workers, scheduler, lambda reason: Outcome(reason=reason), self._take_report) as self.tasks:
            self.cores = self.tasks.count_cores()
            self.progress.started_s = time.monotonic()
            self.progress.n_subjects = len(subjects)
            for subject in subjects:
                if not subject.n_waiting:
                    subject.assemble()
            self._tell()
            for job, outcome in self.tasks.results(backlog, ClipBuild.begin):
                if outcome.fatal:
                    raise OutputError(outcome.reason)
                job.settle(outcome)
                self._tell()

    def extract(self, extraction: Extraction) -> None:
        """Hand in a clip or segment; its steps have threads of their own if cores would have nothing to do."""
        n_workers, n_cores = self.cores
        n_busy = min(n_workers, self.tasks.n_open + 1)
        n_ahead = ITEMS_AHEAD if n_cores >= 2 * max(n_busy, 1) else 0
        self.tasks.submit(extraction, extract_task, replace(extraction.task, n_ahead=n_ahead))

    def fail(self, name: str, reason: str) -> None:
        """Report what could not be done."""
        self.progress.failures.append(Failure(name, reason))

    def count_clip(self, n_frames: int) -> None:
        """Count a clip that is through, with the frames that were stored of it."""
        self._n_clips += 1
        self._n_frames += n_frames

    def forget(self, extractions: Sequence[Extraction]) -> None:
        """Count tasks no longer as under way."""
        self._reported.difference_update(extractions)

    def take_in(self, extraction: Extraction, n_frames: int, share: float) -> None:
        """Count a task as under way, and how far it is."""
        extraction.n_frames, extraction.share = n_frames, share
        self._reported.add(extraction)

    def _take_report(self, job: Job, n_frames: int, share: float) -> None:
        """Take in what a task reports, in another thread."""
        if isinstance(job, Extraction) and job.outcome is None:
            self.take_in(job, n_frames, share)
            self._tell()

    def _tell(self) -> None:
        under_way = list(self._reported)
        self.progress.n_frames = self._n_frames + sum(one.n_frames for one in under_way)
        done = sum(one.share / len(one.clip.extractions) for one in under_way)
        self.progress.clips_done = self._n_clips + done
        self._notify(self.progress)


@dataclass(eq=False)
class Extraction:
    """A task of a clip, how many frames of it and which share, 0 to 1, are done, and what came of it."""

    clip: ClipBuild
    task: ClipTask
    n_frames: int = 0
    share: float = 0.0
    outcome: Outcome | None = None

    def settle(self, outcome: Outcome) -> None:
        """Take in what came of the task."""
        self.outcome = outcome
        self.clip.build.take_in(self, outcome.n_frames, 1.0)
        self.clip.settle()


class ClipBuild:
    """A clip that is being extracted: in one task, or in one per segment."""

    def __init__(self, subject: SubjectBuild, plan: ClipPlan) -> None:
        self.subject = subject
        self.build = subject.build
        self.plan = plan
        self.extractions: list[Extraction] = []

    def begin(self) -> None:
        """Extract the clip; its first task tells whether it is done in segments."""
        if self.plan.clip is not None:
            task = ClipTask(self.plan.clip, self.build.store, self.build.config, self.plan.detected)
            self._extract([task])

    def _extract(self, tasks: Sequence[ClipTask]) -> None:
        self.build.forget(self.extractions)
        self.extractions = [Extraction(self, task) for task in tasks]
        for extraction in self.extractions:
            self.build.extract(extraction)

    def settle(self) -> None:
        """Do what follows when all tasks are through: cut the clip, or do it in one piece after all, or end it."""
        outcomes = [one.outcome for one in self.extractions if one.outcome is not None]
        if len(outcomes) < len(self.extractions):
            return
        task = self.extractions[0].task
        if outcomes[0].segments:
            self._extract([replace(task, segment=segment) for segment in outcomes[0].segments])
        elif task.segment is not None and any(outcome.uncut for outcome in outcomes):
            self._extract([replace(task, segment=None, whole=True)])
        else:
            self._end(task.clip, outcomes)

    def _end(self, clip: Clip, outcomes: Sequence[Outcome]) -> None:
        self.build.forget(self.extractions)
        reason = next((outcome.reason for outcome in outcomes if outcome.reason), "")
        if reason:
            self.build.fail(clip.name, reason)
            self.subject.plan.keep(self.plan)
        else:
            files = tuple(one.task.part for one in self.extractions)
            self.plan.files = dict.fromkeys(outcomes[0].names, files)
            for stale in {part_path(self.build.store, clip), *segment_paths(self.build.store, clip)} - set(files):
                remove_quietly(stale)
        self.build.count_clip(0 if reason else sum(outcome.n_frames for outcome in outcomes))
        self.subject.end_clip()


class SubjectBuild:
    """A subject whose clips are being extracted, joined and, where they turn out to be damaged, made again."""

    def __init__(self, build: StoreBuild, plan: SubjectPlan) -> None:
        self.build = build
        self.plan = plan
        self.n_waiting = len(plan.todo)

    def end_clip(self) -> None:
        """Count a clip as through; assemble the subject after the last one."""
        self.n_waiting -= 1
        if not self.n_waiting:
            self.assemble()

    def assemble(self) -> None:
        """Join the clips if anything is new; put aside a file that no setting of this run made."""
        plan, build = self.plan, self.build
        if plan.has_new:
            where = (plan.path, plan.files, file_attrs(plan.first_clip, build.config), set(plan.accepted))
            task = partial(assemble_task, *where, build.store, build.run, keep_old=plan.unread)
            build.tasks.submit(self, task, priority=10)
            return
        build.progress.subjects_done += 1
        if not plan.files and plan.path.is_file():
            old = set_aside(plan.path, old_folder(build.store))
            plan.path.unlink()
            build.infos[plan.subject] = ()
            reason = "is damaged or was made with other settings, and could not be made again"
            logger.warning("%s %s: moved to %s.", plan.path, reason, old)

    def settle(self, outcome: Outcome) -> None:
        """Delete the parts of an assembled subject, or have those clips made again that turned out to be damaged."""
        plan, build = self.plan, self.build
        if outcome.damaged:
            self._repair(outcome.damaged)
            return
        build.progress.subjects_done += 1
        if outcome.reason:
            build.fail(plan.subject, outcome.reason)
            build.infos[plan.subject] = read_infos(plan.path)
            return
        build.infos[plan.subject] = outcome.infos
        for name, reason in outcome.lost.items():
            build.fail(f"{plan.subject}/{name}", f"left out of {plan.path}, the former file is in old/. {reason}")
        for file in {file for files in plan.files.values() for file in files} - {plan.path}:
            remove_quietly(file)

    def _repair(self, damaged: Mapping[str, str]) -> None:
        """Make damaged clips again, each once; those that cannot be stay as they are."""
        owners = {name: self.plan.owner(name) for name in damaged}
        again: dict[str, ClipPlan] = {}
        for name, reason in damaged.items():
            logger.warning("%s", reason)
            owner = owners[name]
            if owner.clip is not None and not owner.is_damaged:
                again[owner.clip.clip] = owner
            else:
                self.build.fail(f"{self.plan.subject}/{name}", reason)
                self.plan.accept(name, owner)
        self.n_waiting = len(again)
        self.build.progress.n_clips += len(again)
        for _, owner in sorted(again.items()):
            self.plan.drop(owner)
            ClipBuild(self, owner).begin()
        if not again:
            self.assemble()
