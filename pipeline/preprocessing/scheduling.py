"""Walks the graph of preprocessing on a Dask cluster: clips, segments of long ones, subjects, and what is repaired."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from distributed import Client, Future, as_completed

from tclr.pipeline.preprocessing.layout import old_folder, part_path, read_infos, segment_paths
from tclr.pipeline.preprocessing.plan import SubjectPlan
from tclr.pipeline.preprocessing.segments import Rows
from tclr.pipeline.preprocessing.tasks import ClipTask, Outcome, assemble_task, extract_task
from tclr.pipeline.sources import Clip
from tclr.pipeline.store import ClipInfo, root_attrs
from tclr.pipeline.system import (
    ITEMS_AHEAD,
    MOST_TASKS,
    Failure,
    count_cores,
    following,
    remove_quietly,
    result_of,
    set_aside,
)
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


@dataclass
class ClipState:
    """How far a clip is: the segments it is done in, if any, and what has come of them."""

    task: ClipTask
    plan: SubjectPlan
    segments: tuple[Rows, ...] = ()
    outcomes: list[Outcome] = field(default_factory=list)


class GraphRun:
    """Walks the graph: extract tasks, and a subject's assembly as soon as its clips are through."""

    def __init__(
        self,
        client: Client,
        store: Path,
        run: str,
        config: PreprocessConfig,
        progress: Progress,
        notify: Callable[[Progress], None],
    ) -> None:
        self.client = client
        self.store = store
        self.run = run
        self.config = config
        self.version = version("tclr-face")
        self.progress = progress
        self.notify = notify
        self.queue = as_completed()
        self.backlog: deque[tuple[SubjectPlan, Clip]] = deque()  # not handed to Dask yet
        self.tasks: dict[Future, tuple[ClipState, ClipTask] | SubjectPlan] = {}
        self.weights: dict[str, float] = {}  # by key of a task whose clip is not through, its share of the clip
        self.messages: dict[str, dict[str, Any]] = {}
        self.waiting: dict[str, int] = {}  # by subject, clips that are not through
        self.n_frames = 0
        self.n_clips = 0
        self.infos: dict[str, Sequence[ClipInfo]] = {}  # by subject, the clips of files that may have changed
        self.n_workers, self.n_cores = count_cores(client)

    def walk(self, plans: list[SubjectPlan]) -> None:
        """Run all tasks; failures are collected in ``progress``.

        Raises
        ------
        ClusterError
            If the scheduler is lost.
        OutputError
            If the store cannot be written.
        """
        with following(self.client, self._on_message):
            self._walk(plans)

    def _walk(self, plans: list[SubjectPlan]) -> None:
        self.progress.started_s = time.monotonic()
        self.progress.n_subjects = sum(bool(plan.todo or plan.has_new) for plan in plans)
        for plan in plans:
            self.waiting[plan.subject] = len(plan.todo)
            self.backlog += [(plan, clip) for clip in plan.todo]
            if plan.has_new and not plan.todo:
                self._finish(plan)
        self._hand_in()
        self._notify()
        for future in self.queue:
            of = self.tasks.pop(future)
            outcome = result_of(future, lambda reason: Outcome(reason=reason))
            future.release()
            if outcome.fatal:
                self.client.cancel(list(self.tasks))
                raise OutputError(outcome.reason)
            if isinstance(of, SubjectPlan):
                self._end_subject(of, outcome)
            elif self._settle(*of, outcome):
                self._end_of_clip(of[0].plan)
            self._hand_in()
            self._notify()

    def _hand_in(self) -> None:
        """Give Dask clips until it has enough; they are done in their order."""
        while self.backlog and len(self.tasks) < MOST_TASKS:
            self._begin(*self.backlog.popleft())

    def _begin(self, plan: SubjectPlan, clip: Clip) -> None:
        task = ClipTask(clip, self.store, self.config, self.version, plan.detected.get(clip.clip))
        self._submit(ClipState(task, plan), task)

    def _end_of_clip(self, plan: SubjectPlan) -> None:
        self.waiting[plan.subject] -= 1
        if not self.waiting[plan.subject]:
            self._finish(plan)

    def _end_subject(self, plan: SubjectPlan, outcome: Outcome) -> None:
        """Delete the parts of an assembled subject, or have those clips made again that turned out to be damaged."""
        if outcome.damaged:
            self._repair(plan, outcome.damaged)
            return
        self.progress.subjects_done += 1
        if outcome.reason:
            self._fail(plan.subject, outcome.reason)
            self.infos[plan.subject] = read_infos(plan.path)
        else:
            self.infos[plan.subject] = outcome.infos
            for name, reason in outcome.lost.items():
                self._fail(f"{plan.subject}/{name}", f"left out of {plan.path}, the former file is in old/. {reason}")
            for file in {file for files in plan.sources.values() for file in files} - {plan.path}:
                remove_quietly(file)

    def _repair(self, plan: SubjectPlan, damaged: Mapping[str, str]) -> None:
        """Make damaged clips again, each once; those that cannot be stay as they are."""
        origins = {plan.origins[name] for name in damaged}
        again = [plan.clips[origin] for origin in sorted(origins & plan.clips.keys() - plan.damaged)]
        for name, reason in damaged.items():
            logger.warning("%s", reason)
            if plan.origins[name] not in {clip.clip for clip in again}:
                self._fail(f"{plan.subject}/{name}", reason)
                plan.accepted.add(name)
        self.waiting[plan.subject] = len(again)
        self.progress.n_clips += len(again)
        for clip in again:
            plan.drop(clip.clip)
            self._begin(plan, clip)
        if not again:
            self._finish(plan)

    def _submit(self, state: ClipState, task: ClipTask) -> None:
        self.weights[task.key] = 1 / max(len(state.segments), 1)
        n_busy = min(self.n_workers, len(self.tasks) + len(self.backlog) + 1)
        task = replace(task, n_ahead=ITEMS_AHEAD if self.n_cores >= 2 * max(n_busy, 1) else 0)
        future = self.client.submit(extract_task, task, pure=False)
        self.tasks[future] = (state, task)
        self.queue.add(future)

    def _settle(self, state: ClipState, task: ClipTask, outcome: Outcome) -> bool:
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

    def _forget(self, state: ClipState) -> None:
        """Drop the progress of a clip's tasks, and its segments."""
        for rows in (None, *state.segments):
            key = replace(state.task, rows=rows).key
            self.weights.pop(key, None)
            self.messages.pop(key, None)
        state.segments = ()

    def _end_clip(self, state: ClipState, outcome: Outcome) -> None:
        clip, plan = state.task.clip, state.plan
        self.n_clips += 1
        if outcome.reason:
            self._fail(clip.name, outcome.reason)
            plan.keep(clip.clip)
        else:
            rows = state.segments or (None,)
            files = tuple(part_path(self.store, clip, one) for one in rows)
            plan.sources |= dict.fromkeys(outcome.names, files)
            plan.origins |= dict.fromkeys(outcome.names, clip.clip)
            self.n_frames += sum(one.n_frames for one in state.outcomes) or outcome.n_frames
            for stale in {part_path(self.store, clip), *segment_paths(self.store, clip)} - set(files):
                remove_quietly(stale)
        self._forget(state)

    def _finish(self, plan: SubjectPlan) -> None:
        """Assemble a subject if anything of it is new; put aside a file that no setting of this run made."""
        if plan.has_new:
            settings = (self.config.detect, self.config.align, self.version)
            attrs = root_attrs(plan.dataset, plan.subject, *settings, plan.pseudonym_key)
            task = partial(
                assemble_task,
                plan.path,
                dict(plan.sources),
                attrs,
                set(plan.accepted),
                self.store,
                self.run,
                keep_old=plan.unread,
            )
            future = self.client.submit(task, pure=False, priority=10)
            self.tasks[future] = plan
            self.queue.add(future)
            return
        self.progress.subjects_done += 1
        if not plan.sources and plan.path.is_file():
            old = set_aside(plan.path, old_folder(self.store))
            plan.path.unlink()
            self.infos[plan.subject] = ()
            logger.warning(
                "%s is damaged or was made with other settings, and could not be made again: moved to %s.",
                plan.path,
                old,
            )

    def _fail(self, name: str, reason: str) -> None:
        self.progress.failures.append(Failure(name, reason))

    def _on_message(self, message: dict[str, Any]) -> None:
        if message["key"] in self.weights:
            self.messages[message["key"]] = message
            self._notify()

    def _notify(self) -> None:
        messages = list(self.messages.items())
        self.progress.n_frames = self.n_frames + sum(message["n_frames"] for _, message in messages)
        done = sum(message["share"] * self.weights.get(key, 0) for key, message in messages)
        self.progress.clips_done = self.n_clips + done
        self.notify(self.progress)
