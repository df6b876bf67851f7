"""Builds a store on a cluster or here: extracts clips and segments, joins subjects, redoes what is damaged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tclr.pipeline.preprocessing.layout import file_attrs, old_folder, part_path, read_infos, segment_paths
from tclr.pipeline.preprocessing.plan import ClipPlan, SubjectPlan
from tclr.pipeline.preprocessing.tasks import ClipTask, Outcome, assemble_task, extract_task
from tclr.pipeline.store import ClipInfo
from tclr.pipeline.system import ITEMS_AHEAD, Failure, Tasks, dispatching, remove_quietly, set_aside
from tclr.schemas.config import DetectConfig, PreprocessConfig
from tclr.schemas.errors import OutputError

logger = logging.getLogger(__name__)

CLIPS_ON_GPU = 8
"""Clips that a process works on at once with a GPU, so that a call of the network has a face of each; chosen by us."""


def clips_at_once(detect: DetectConfig) -> int:
    """Return how many clips a process works on at once.

    >>> clips_at_once(DetectConfig())
    1
    """
    return CLIPS_ON_GPU if detect.detector == "landmarker" and detect.device != "cpu" else 1


@dataclass
class Progress:
    """How far a run is: passed to the callback of ``preprocess``."""

    n_clips: int  # to do in this run
    n_skipped: int
    clips_done: float = 0  # running ones count by the share of their frames
    n_frames: int = 0
    failures: list[Failure] = field(default_factory=list)
    n_subjects: int = 0  # to assemble
    subjects_done: int = 0
    started_s: float = field(default_factory=time.monotonic)  # when the work began

    def fail(self, name: str, reason: str) -> None:
        """Add a failure."""
        self.failures.append(Failure(name, reason))


@dataclass(eq=False)
class StoreBuild:
    """A store that is being built: what its subjects and clips share, and how far they are."""

    store: Path
    run: str  # that locks the store, see ``lock_folder``
    config: PreprocessConfig
    progress: Progress
    notify: Callable[[Progress], None]  # called with ``progress`` whenever it changes
    infos: dict[str, Sequence[ClipInfo]] = field(default_factory=dict)  # by subject, of files that were written
    tasks: Tasks[Extraction | SubjectBuild, Outcome] = field(init=False)
    cores: tuple[int, int] = (0, 0)  # numbers of tasks at once and of cores
    under_way: set[ClipBuild] = field(default_factory=set)  # clips that are partly done
    _through: tuple[int, int] = (0, 0)  # clips done, and their frames

    def carry_out(self, plans: Sequence[SubjectPlan], workers: int | None, scheduler: str | None) -> None:
        """Run all tasks on workers, see ``dispatching``, and collect failures in ``progress``.

        An error ends the run only if the store cannot be written or the cluster is lost.
        """
        subjects = [SubjectBuild(self, plan) for plan in plans if plan.todo or plan.has_new]
        backlog = [ClipBuild(subject, plan) for subject in subjects for plan in subject.plan.todo]
        threads = clips_at_once(self.config.detect) if scheduler is None and workers != 0 else 1
        with dispatching(workers, scheduler, Outcome, self._take_report, threads) as self.tasks:
            n_workers, n_cores = self.tasks.count_cores()
            self.cores = n_workers * threads, n_cores
            self.progress.started_s = time.monotonic()
            self.progress.n_subjects = len(subjects)
            for subject in subjects:
                subject.assemble_if_complete()
            self._tell()
            for job, outcome in self.tasks.results(backlog, ClipBuild.begin):
                if outcome.fatal:
                    raise OutputError(outcome.reason)
                job.settle(outcome)
                self._tell()

    def extract(self, extraction: Extraction) -> None:
        """Submit a clip or segment; its steps run in separate threads if cores would be idle."""
        n_workers, n_cores = self.cores
        n_busy = min(n_workers, self.tasks.n_open + 1)
        task = replace(extraction.task, n_ahead=ITEMS_AHEAD if n_cores >= 2 * max(n_busy, 1) else 0)
        # segments go first, so that few clips, each with its timeline, are in segments at a time
        self.tasks.submit(extraction, extract_task, task, priority=1 if task.segment else 0)

    def end_clip(self, clip: ClipBuild, n_frames: int) -> None:
        """Count a clip as done."""
        self.under_way.discard(clip)
        self._through = (self._through[0] + 1, self._through[1] + n_frames)

    def _take_report(self, job: Extraction | SubjectBuild, n_frames: int, share: float) -> None:
        """Record how far a task is; called from another thread."""
        if isinstance(job, Extraction) and job.outcome is None:
            job.n_frames, job.share = n_frames, share
            self.under_way.add(job.clip)
            self._tell()

    def _tell(self) -> None:
        clips = [clip.extractions for clip in list(self.under_way)]
        n_clips, n_frames = self._through
        self.progress.n_frames = n_frames + sum(one.n_frames for clip in clips for one in clip)
        self.progress.clips_done = n_clips + sum(one.share / len(clip) for clip in clips for one in clip)
        self.notify(self.progress)


@dataclass(eq=False)
class Extraction:
    """A task of a clip, how far it is, and its outcome."""

    clip: ClipBuild
    task: ClipTask
    n_frames: int = 0
    share: float = 0.0  # of its frames that are done, 0..1
    outcome: Outcome | None = None

    def settle(self, outcome: Outcome) -> None:
        """Record the outcome."""
        self.outcome, self.n_frames, self.share = outcome, outcome.n_frames, 1.0
        self.clip.settle()


@dataclass(eq=False)
class ClipBuild:
    """A clip that is being extracted: in one task, or in one per segment."""

    subject: SubjectBuild
    plan: ClipPlan
    extractions: Sequence[Extraction] = ()

    def begin(self) -> None:
        """Extract the clip; its first task may return the segments to extract it in."""
        if self.plan.clip is not None:
            build = self.subject.build
            self._extract([ClipTask(self.plan.clip, build.store, build.config, self.plan.detected)])

    def _extract(self, tasks: Iterable[ClipTask]) -> None:
        self.extractions = [Extraction(self, task) for task in tasks]
        for extraction in self.extractions:
            self.subject.build.extract(extraction)

    def settle(self) -> None:
        """When all tasks are done, extract the segments, or the clip in one piece after all, or end it."""
        outcomes = [one.outcome for one in self.extractions if one.outcome is not None]
        if len(outcomes) < len(self.extractions):
            self.subject.build.under_way.add(self)
            return
        task = self.extractions[0].task
        if outcomes[0].segments:
            self._extract(replace(task, segment=segment) for segment in outcomes[0].segments)
        elif task.segment is not None and any(outcome.uncut for outcome in outcomes):
            self._extract([replace(task, segment=None, whole=True)])
        else:
            self._end(task, outcomes)

    def _end(self, task: ClipTask, outcomes: Sequence[Outcome]) -> None:
        subject, n_frames = self.subject, 0
        if reason := next((outcome.reason for outcome in outcomes if outcome.reason), ""):
            subject.build.progress.fail(task.clip.name, reason)
            subject.plan.keep(self.plan)
        else:
            n_frames = sum(outcome.n_frames for outcome in outcomes)
            files = tuple(one.task.part for one in self.extractions)
            self.plan.files = dict.fromkeys(outcomes[0].names, files)
            for stale in {part_path(task.store, task.clip), *segment_paths(task.store, task.clip)} - set(files):
                remove_quietly(stale)
        subject.build.end_clip(self, n_frames)
        subject.n_waiting -= 1
        subject.assemble_if_complete()


@dataclass(eq=False)
class SubjectBuild:
    """A subject whose clips are being extracted, joined and, if damaged, redone."""

    build: StoreBuild
    plan: SubjectPlan

    def __post_init__(self) -> None:
        self.n_waiting = len(self.plan.todo)

    def assemble_if_complete(self) -> None:
        """Join the clips if all are done and anything is new; set aside a file of which nothing is valid."""
        plan, build = self.plan, self.build
        if self.n_waiting:
            return
        if plan.has_new:
            clip = next(one.clip for one in plan.clips.values() if one.clip is not None)
            where = (plan.path, plan.files, file_attrs(clip, build.config), set(plan.accepted), build.store, build.run)
            build.tasks.submit(self, partial(assemble_task, *where, keep_old=plan.unread), priority=10)
            return
        build.progress.subjects_done += 1
        if not plan.files and plan.path.is_file():
            old = set_aside(plan.path, old_folder(build.store))
            plan.path.unlink()
            build.infos[plan.subject] = ()
            reason = "is damaged or was made with other settings, and could not be rebuilt"
            logger.warning("%s %s: moved to %s.", plan.path, reason, old)

    def settle(self, outcome: Outcome) -> None:
        """Delete the parts of an assembled subject, or redo the clips that are damaged."""
        plan, build = self.plan, self.build
        if outcome.damaged:
            self._repair(outcome.damaged)
            return
        build.progress.subjects_done += 1
        if outcome.reason:
            build.progress.fail(plan.subject, outcome.reason)
            build.infos[plan.subject] = read_infos(plan.path)
            return
        build.infos[plan.subject] = outcome.infos
        for name, reason in outcome.lost.items():
            lost = f"left out of {plan.path}, the former file is in old/. {reason}"
            build.progress.fail(f"{plan.subject}/{name}", lost)
        for file in {file for files in plan.files.values() for file in files} - {plan.path}:
            remove_quietly(file)

    def _repair(self, damaged: Mapping[str, str]) -> None:
        """Redo damaged clips, each once; of the others keep what the present file has."""
        plan, again = self.plan, []
        for _, clip in sorted(plan.clips.items()):
            reasons = {name: damaged[name] for name in clip.files if name in damaged}
            if not reasons:
                continue
            logger.warning("%s", " ".join(reasons.values()))
            is_lost = clip.clip is None or clip.is_damaged
            clip.drop(plan.path)
            if not is_lost:
                again.append(ClipBuild(self, clip))
                continue
            plan.keep(clip)
            for name, reason in reasons.items():
                self.build.progress.fail(f"{plan.subject}/{name}", reason)
        self.n_waiting = len(again)
        self.build.progress.n_clips += len(again)
        for clip_build in again:
            clip_build.begin()
        self.assemble_if_complete()
