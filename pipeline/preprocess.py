"""The Dask graph of preprocessing: extract each clip, assemble each subject, index the store.

Whatever is done under the same settings and from the same source is not done again, so a run that was
interrupted at any point goes on where it stopped. A clip that fails is reported and the others go on.
"""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, as_completed, get_worker

from tclr.pipeline.extract import extract_clip
from tclr.pipeline.files import remove_abandoned, remove_quietly, write_json
from tclr.pipeline.models import find_model
from tclr.pipeline.parquet import write_table
from tclr.pipeline.sources import Clip, find_clips
from tclr.pipeline.store import ClipInfo, assemble_subject, read_clip_infos, root_attrs
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.errors import InputError, NewerFormatError, OutputError, StoreError, TclrError
from tclr.schemas.manifest import MANIFEST_SCHEMA
from tclr.schemas.store import QUALITY_ATTRS

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5
PROGRESS_TOPIC = "tclr-progress"
REPORT_EVERY_S = 0.5
"""Least time between two progress messages of a clip; chosen by us: messages stay far below the work."""


@dataclass(frozen=True)
class PreprocessConfig:
    """Settings of one run; only ``detect`` and ``align`` change what is stored."""

    detect: DetectConfig = field(default_factory=DetectConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    allow_truncated: bool = False


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
class _Outcome:
    """What a task says when it ends; the reason is empty if all went well.

    ``fatal`` tells that the store cannot be written, so that every other task would fail, too.
    """

    subject: str
    clip: str
    n_frames: int = 0
    reason: str = ""
    fatal: bool = False


@dataclass
class _SubjectPlan:
    """The clips of one subject: which are done, where, which are to be extracted, where landmarks are.

    ``kept`` are stored clips to extract again whose old version stays if that fails.
    """

    subject: str
    dataset: str
    path: Path
    sources: dict[str, Path] = field(default_factory=dict)
    todo: list[Clip] = field(default_factory=list)
    detected: dict[str, Path] = field(default_factory=dict)
    kept: dict[str, Path] = field(default_factory=dict)

    @property
    def has_new(self) -> bool:
        """Whether a clip comes from elsewhere than the subject's present file."""
        return any(source != self.path for source in self.sources.values())


def _part_path(store: Path, clip: Clip) -> Path:
    return store / "parts" / clip.subject / f"{clip.clip}.h5"


def subject_path(store: Path, subject: str) -> Path:
    """Return the path of a subject's file."""
    return store / "subjects" / f"{subject}.h5"


def _read_infos(path: Path) -> list[ClipInfo]:
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


def _is_detected(info: ClipInfo | None, clip: Clip, config: PreprocessConfig) -> bool:
    """Tell whether a stored clip's landmarks hold; contents of the source are compared only if dates differ."""
    if info is None or info.root["detect_hash"] != config.detect.digest():
        return False
    if info.attrs["warning"].startswith("truncated") and not config.allow_truncated:
        return False
    if info.attrs["source_fingerprint"] == clip.fingerprint():
        return True
    try:
        return info.attrs["source_sha256"] == clip.sha256()
    except InputError:  # the clip then fails on its worker, with this reason, and the others go on
        return False


def _is_done(info: ClipInfo | None, clip: Clip, config: PreprocessConfig) -> bool:
    """Tell whether a stored clip has the same settings and source."""
    return info is not None and _same_settings(info, config) and _is_detected(info, clip, config)


def _plan_subject(store: Path, subject: str, clips: list[Clip], config: PreprocessConfig) -> _SubjectPlan:
    path = subject_path(store, subject)
    stored = {info.clip: info for info in _read_infos(path)}
    plan = _SubjectPlan(subject, clips[0].dataset, path)
    for clip in clips:
        part = _part_path(store, clip)
        parts = {info.clip: info for info in _read_infos(part)}
        if _is_done(stored.get(clip.clip), clip, config):
            plan.sources[clip.clip] = path
            remove_quietly(part)  # left by a run that was killed just after it assembled the subject
        elif _is_done(parts.get(clip.clip), clip, config):
            plan.sources[clip.clip] = part
        else:
            plan.todo.append(clip)
            for place, infos in ((path, stored), (part, parts)):
                if _is_detected(infos.get(clip.clip), clip, config):
                    plan.detected[clip.clip] = place
            if clip.clip in stored and _same_settings(stored[clip.clip], config):
                plan.kept[clip.clip] = path
    for name in stored.keys() - {clip.clip for clip in clips}:
        plan.sources[name] = path
    return plan


def _check_others(store: Path, subjects: dict[str, list[Clip]], config: PreprocessConfig) -> None:
    """Refuse to mix settings: clips of the store that the source does not have must have the same ones."""
    for path in sorted((store / "subjects").glob("*.h5")):
        wanted = {clip.clip for clip in subjects.get(path.stem, [])}
        for info in _read_infos(path):
            if info.clip not in wanted and not _same_settings(info, config):
                raise OutputError(
                    f"{store} holds {info.name} from another source, made with other settings. "
                    "Use another STORE, or the settings in its run.json."
                )


def _reporter(clip: Clip) -> Callable[[int, int], None]:
    """Return a function that tells the client how many frames of a clip are done."""
    worker = get_worker()
    last_s = time.monotonic()

    def report(n_frames: int, n_expected: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= REPORT_EVERY_S:
            last_s = time.monotonic()
            share = min(n_frames / n_expected, 1.0) if n_expected else 0.0
            worker.log_event(PROGRESS_TOPIC, {"clip": clip.name, "n_frames": n_frames, "share": share})

    return report


def _reason(error: Exception) -> str:
    """Return why a task failed: our own errors speak for themselves, others name their kind."""
    if isinstance(error, TclrError):
        return str(error)
    logger.exception("unexpected error", exc_info=error)
    return f"unexpected {type(error).__name__}: {error}"


def _extract_task(
    clip: Clip, part: Path, config: PreprocessConfig, tclr_version: str, detected: Path | None
) -> _Outcome:
    """Extract one clip, on a worker."""
    import cv2

    cv2.setNumThreads(1)  # one core a worker: Dask already runs one a core
    try:
        extract_clip(
            clip,
            part,
            config.detect,
            config.align,
            tclr_version,
            detected=detected,
            allow_truncated=config.allow_truncated,
            report=_reporter(clip),
        )
        return _Outcome(clip.subject, clip.clip, n_frames=read_clip_infos(part)[0].n_frames)
    except Exception as error:
        return _Outcome(clip.subject, clip.clip, reason=_reason(error), fatal=isinstance(error, OutputError))


def _assemble_task(path: Path, sources: dict[str, Path], attrs: dict[str, Any]) -> _Outcome:
    """Join the clips of a subject, on a worker, and delete the parts."""
    subject = path.stem
    try:
        assemble_subject(path, [(source, clip) for clip, source in sources.items()], attrs)
    except Exception as error:
        return _Outcome(subject, "", reason=_reason(error), fatal=isinstance(error, OutputError))
    for source in set(sources.values()) - {path}:
        remove_quietly(source)
    return _Outcome(subject, "")


@contextmanager
def connect(workers: int | None, scheduler: str | None) -> Iterator[Client]:
    """Start a local Dask cluster of processes, or join a running one.

    Parameters
    ----------
    workers : int or None
        Processes of the local cluster; ``None`` is one a core.
    scheduler : str or None
        Address of a running scheduler, as ``tcp://host:8786``.

    Raises
    ------
    InputError
        If the scheduler does not answer.
    """
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise InputError(
                f"No Dask scheduler answers at {scheduler!r} ({type(error).__name__}). "
                "Start one with 'dask scheduler', or leave out --scheduler."
            ) from error
        with client:
            yield client
        return
    n_workers = workers or CPU_COUNT
    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


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
        self.running: dict[str, dict[str, Any]] = {}
        self.ended: set[str] = set()
        self.finished_frames = 0
        self.finished_clips = 0

    def walk(self, plans: list[_SubjectPlan]) -> None:
        """Run all tasks; failures are collected in ``progress``."""
        by_subject = {plan.subject: plan for plan in plans}
        waiting = {plan.subject: len(plan.todo) for plan in plans}
        clips: dict[Future, Clip | None] = {}
        self.client.subscribe_topic(PROGRESS_TOPIC, self._on_event)
        for plan in plans:
            for clip in plan.todo:
                part = _part_path(self.store, clip)
                future = self.client.submit(
                    _extract_task, clip, part, self.config, self.version, plan.detected.get(clip.clip), pure=False
                )
                clips[future] = clip
        queue = as_completed(clips)
        for plan in plans:
            if plan.has_new and not plan.todo:
                self._finish(plan, clips, queue)
        for future in queue:
            ended = clips.pop(future)
            outcome = self._outcome(future, ended)
            future.release()
            if outcome.fatal:
                self.client.cancel(list(clips))
                raise OutputError(outcome.reason)
            if ended is None:
                continue
            plan = by_subject[outcome.subject]
            if not outcome.reason:
                plan.sources[outcome.clip] = _part_path(self.store, ended)
            elif outcome.clip in plan.kept:
                plan.sources[outcome.clip] = plan.kept[outcome.clip]
            waiting[outcome.subject] -= 1
            if not waiting[outcome.subject]:
                self._finish(plan, clips, queue)
        self.client.unsubscribe_topic(PROGRESS_TOPIC)

    def _finish(self, plan: _SubjectPlan, clips: dict[Future, Clip | None], queue: as_completed) -> None:
        """Assemble a subject if anything of it is new; put aside a file that no setting of this run made."""
        if plan.has_new:
            self._assemble(plan, clips, queue)
        elif not plan.sources and plan.path.is_file():
            old = self.store / "old" / plan.path.name
            old.parent.mkdir(exist_ok=True)
            plan.path.replace(old)
            logger.warning("%s was made with other settings and could not be made again: moved to %s.", plan.path, old)

    def _assemble(self, plan: _SubjectPlan, clips: dict[Future, Clip | None], queue: as_completed) -> None:
        attrs = root_attrs(plan.dataset, plan.subject, self.config.detect, self.config.align, self.version)
        future = self.client.submit(_assemble_task, plan.path, plan.sources, attrs, pure=False, priority=10)
        clips[future] = None
        queue.add(future)

    def _outcome(self, future: Future, clip: Clip | None) -> _Outcome:
        try:
            outcome = future.result()
        except Exception as error:  # tasks catch their own: this is a dead worker or scheduler
            if clip is None:
                raise StoreError(f"A Dask worker died while it assembled a subject: {error}. Run again.") from error
            lost = f"its Dask worker was lost ({type(error).__name__}; out of memory?)"
            outcome = _Outcome(clip.subject, clip.clip, reason=lost)
        if outcome.clip:
            self.finished_clips += 1
            self.finished_frames += outcome.n_frames
            name = f"{outcome.subject}/{outcome.clip}"
            self.ended.add(name)
            self.running.pop(name, None)
        if outcome.reason:
            name = f"{outcome.subject}/{outcome.clip}" if outcome.clip else outcome.subject
            self.progress.failures.append(Failure(name, outcome.reason))
        self._notify()
        return outcome

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        if event[1]["clip"] not in self.ended:
            self.running[event[1]["clip"]] = event[1]
            self._notify()

    def _notify(self) -> None:
        running = list(self.running.values())
        self.progress.n_frames = self.finished_frames + sum(message["n_frames"] for message in running)
        self.progress.clips_done = self.finished_clips + sum(message["share"] for message in running)
        self.notify(self.progress)


def write_manifest(store: Path, clips: list[Clip], failures: list[Failure]) -> list[ClipInfo]:
    """Index the store: one row a clip of its subject files, and one a clip that failed and is not in them.

    Returns
    -------
    list of ClipInfo
        The clips that the store holds.
    """
    infos = [info for path in sorted((store / "subjects").glob("*.h5")) for info in _read_infos(path)]
    reasons = {failure.name: failure.reason for failure in failures}
    stored = {info.name for info in infos}
    rows = [
        {
            "dataset": info.dataset,
            "subject": info.subject,
            "clip": info.clip,
            "state": "done",
            "reason": reasons.get(info.name) or info.attrs["warning"] or None,
            **{key: info.attrs[key] for key in ("source", "source_sha256", "fps", "width", "height", "n_ok")},
            "n_frames": info.n_frames,
            **{name: info.attrs[name] for name in QUALITY_ATTRS},
            "share_ok": info.attrs["n_ok"] / max(info.n_frames, 1),
        }
        for info in infos
    ]
    rows += [
        {"dataset": c.dataset, "subject": c.subject, "clip": c.clip, "state": "failed", "reason": reasons[c.name]}
        | {"source": c.source}
        for c in clips
        if c.name in reasons and c.name not in stored
    ]
    rows.sort(key=lambda row: (row["subject"], row["clip"], row["state"]))
    write_table(store / "manifest.parquet", pa.Table.from_pylist(rows, MANIFEST_SCHEMA), {"format": "tclr-manifest"})
    return infos


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
    find_model()
    subjects: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        subjects[clip.subject].append(clip)
    _check_others(store, subjects, config)
    write_json(store / "run.json", _run_record(source, clips[0].dataset, config, "running"))
    remove_abandoned(store)
    plans = [_plan_subject(store, subject, its_clips, config) for subject, its_clips in subjects.items()]
    n_todo = sum(len(plan.todo) for plan in plans)
    progress = Progress(n_clips=n_todo, n_skipped=len(clips) - n_todo)
    if any(plan.todo or plan.has_new for plan in plans):
        with connect(workers, scheduler) as client:
            _Run(client, store, config, progress, notify).walk(plans)
    _remove_empty_parts(store)
    infos = write_manifest(store, clips, progress.failures)
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
