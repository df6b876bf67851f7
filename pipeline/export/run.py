"""The exporter: per-frame embeddings and AU predictions from a store to Parquet, clip by clip.

AU predictions come from the bundled model, a head of the user's, or mediapipe's blendshapes by a documented mapping.
Where the store allows none of them, there are no AU columns. The metadata of every file say which. A clip whose file
has the same provenance is skipped; a clip that fails is reported, and the others are exported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tclr.pipeline.encoder import LoadedEncoder, PrecisionChoice
from tclr.pipeline.export.au_source import AUTO
from tclr.pipeline.export.clip import export_clip
from tclr.pipeline.export.job import ExportJob, describe_choices, subject_folder
from tclr.pipeline.export.neutral import read_neutral
from tclr.pipeline.export.plan import leave_out_damaged, plan_export, settle_precision
from tclr.pipeline.features import FeatureClips, measure_occurrence, measure_sight, sight_warnings
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import Failure, TaskOutcome, lock_folder, real_path, remove_abandoned
from tclr.schemas.config import EmbedConfig
from tclr.schemas.errors import OutputError, ReplacementError


@dataclass(frozen=True)
class EmbedResult:
    """What an export did; rows and clips are those whose files are up to date now.

    ``n_skipped`` clips were up to date before. ``precision`` is None unless it was measured. ``warnings`` name AUs that
    are present so often, or so never, that they are doubtful, and regions of faces that are hidden.
    """

    features: Path
    n_rows: int
    n_clips: int
    n_skipped: int
    n_columns: int
    au_source: str
    failures: tuple[Failure, ...]
    precision: PrecisionChoice | None = None
    warnings: tuple[str, ...] = ()


@dataclass
class EmbedProgress:
    """Progress of an export, for the caller's callback; clips that failed or were up to date count as done."""

    n_frames_total: int
    n_frames: int = 0
    failures: list[Failure] = field(default_factory=list)


class _Tracker:
    """Adds up the frames of finished clips and of those that are being exported."""

    def __init__(self, progress: EmbedProgress, notify: Callable[[EmbedProgress], None]) -> None:
        self.progress = progress
        self.notify = notify
        self.n_through = progress.n_frames
        self.running: dict[str, int] = {}
        self.through: set[str] = set()
        notify(progress)

    def add_frames(self, info: ClipInfo, n_frames: int) -> None:
        """Note how many frames of a clip are done; may be called from another thread."""
        if info.name not in self.through:
            self.running[info.name] = n_frames
            self._tell()

    def end_clip(self, info: ClipInfo) -> None:
        """Note that a clip is finished or has failed."""
        self.through.add(info.name)
        self.running.pop(info.name, None)
        self.n_through += info.n_frames
        self._tell()

    def _tell(self) -> None:
        self.progress.n_frames = self.n_through + sum(list(self.running.values()))
        self.notify(self.progress)


def _check_others(job: ExportJob, infos: Sequence[ClipInfo], damaged: Sequence[Failure]) -> None:
    """Refuse to write beside Parquet files of clips that are not in the store: pandas would mix them."""
    wanted = {job.path(info) for info in infos}
    names = [failure.name.partition("/") for failure in damaged]
    wanted |= {subject_folder(job.features, subject) / f"{clip}.parquet" for subject, _, clip in names}
    whole = {subject_folder(job.features, subject) for subject, _, clip in names if not clip}
    others = sorted(path for path in job.features.rglob("*.parquet") if path not in wanted and path.parent not in whole)
    if others:
        raise OutputError(
            f"{job.features} holds Parquet files of clips that are not in the store, such as {others[0]}. "
            "Use another FEATURES folder, or delete those files."
        )


def _list_todo(job: ExportJob, infos: Sequence[ClipInfo], replace: bool) -> list[ClipInfo]:
    """Return the clips whose files are missing or not what the job would write.

    Raises
    ------
    ReplacementError
        If files of other choices would be replaced, and ``replace`` does not allow it.
    """
    todo, other = [], []
    for info in infos:
        before, now = job.existing(info), job.metadata(info)
        if before != now:
            todo.append(info)
            other += [told] if before is not None and (told := describe_choices(before, now)) else []
    if other and not replace:
        files = f"{len(other)} of its files {'were' if len(other) > 1 else 'was'}"
        raise ReplacementError(
            f"Expected features made with the choices of this run in {job.features}, but {files} made with "
            f"{', '.join(other[0])}. Give another FEATURES folder, or --replace to make them again."
        )
    return todo


def embed(
    store_path: Path,
    features: Path,
    encoder: LoadedEncoder | None,
    config: EmbedConfig,
    *,
    au_model: str | Path = AUTO,
    neutral: Path | None = None,
    workers: int = 0,
    scheduler: str | None = None,
    replace: bool = False,
    notify: Callable[[EmbedProgress], None] = lambda progress: None,
) -> EmbedResult:
    """Export a store to Parquet features; an interrupted export resumes.

    Parameters
    ----------
    store_path, features : Path
        Store and folder to write, see ``tclr.schemas.features``.
    encoder : LoadedEncoder or None
        The encoder; by default that of a fine-tuned head or of the bundled model. It runs only if a column needs it.
    au_model : str or Path
        A head that ``tclr fit-au`` wrote, or ``auto``, ``face``, ``shape``, ``box`` or ``blendshapes``.
    neutral : Path, optional
        Table of frames that show people at rest, see ``read_neutral``: their AUs are measured from there.
    workers, scheduler : int, str
        Processes of a local Dask cluster, 0 for this process; or the address of a running one. ``notify`` may be called
        from another thread.
    replace : bool
        Whether to replace features that were made with another model, other columns or other settings. Those of clips
        that were preprocessed again are always replaced.

    Raises
    ------
    InputError
        If the table of neutral frames cannot be read, or names nobody in the store.
    StoreError, ModelError, SettingError
        If no clip or the head cannot be read, a column is unknown, or the encoder is missing or not the head's.
    ReplacementError
        If features of other choices would be replaced, and ``replace`` is false. Nothing is written then.
    OutputError, ClusterError
        If the folder cannot be written, is locked or has features of other clips, or the scheduler is lost.

    Examples
    --------
    >>> from tclr.schemas.config import EmbedConfig
    >>> embed(Path("store"), Path("exported"), None, EmbedConfig(embedding="none"), au_model="blendshapes").n_rows
    32
    """
    store_path, features = real_path(store_path), real_path(features)
    with Store(store_path, skip_damaged=True) as store:
        damaged = leave_out_damaged(store)
        at_rest = read_neutral(neutral, store.subjects) if neutral else ()
        plan = plan_export(store, encoder, config, au_model, bool(at_rest))
        with lock_folder(features) as run:
            job = plan.job(store_path, features, run, config, at_rest)
            _check_others(job, store.clips, damaged)
            job, choice = settle_precision(job, store, plan.encoder)
            remove_abandoned(features)
            todo = _list_todo(job, store.clips, replace)
            n_rows, n_todo = (sum(info.n_frames for info in infos) for infos in (store.clips, todo))
            tracker = _Tracker(EmbedProgress(n_rows, n_rows - n_todo, list(damaged)), notify)
            for info, outcome in _run(job, store, todo, plan.encoder, workers, scheduler, tracker.add_frames):
                n_rows -= _settle(job, info, outcome, tracker)
            remove_abandoned(features)
    failures = tracker.progress.failures
    return EmbedResult(
        features,
        n_rows,
        n_clips=len(store.clips) - (len(failures) - len(damaged)),
        n_skipped=len(store.clips) - len(todo),
        n_columns=len(job.schema) + 1,
        au_source=job.source.name,
        failures=tuple(failures),
        precision=choice,
        warnings=() if failures else _warnings(FeatureClips(features)),
    )


def _warnings(clips: FeatureClips) -> tuple[str, ...]:
    return (*measure_occurrence(clips).warnings(), *sight_warnings(measure_sight(clips)))


def _settle(job: ExportJob, info: ClipInfo, outcome: TaskOutcome, tracker: _Tracker) -> int:
    """Note that a clip is through; return the number of its frames if it failed, else 0."""
    if outcome.fatal:
        raise OutputError(outcome.reason)
    if outcome.reason:
        kept = f" {job.path(info)} is of an earlier run." if job.path(info).exists() else ""
        tracker.progress.failures.append(Failure(info.name, outcome.reason + kept))
    tracker.end_clip(info)
    return info.n_frames if outcome.reason else 0


def _run(
    job: ExportJob,
    store: Store,
    infos: Sequence[ClipInfo],
    encoder: LoadedEncoder | None,
    workers: int,
    scheduler: str | None,
    on_frames: Callable[[ClipInfo, int], None],
) -> Iterator[tuple[ClipInfo, TaskOutcome]]:
    """Export clips here or on a cluster; yield each as soon as it is finished."""
    if infos and (workers or scheduler is not None):
        from tclr.pipeline.export.on_cluster import export_on_cluster  # Dask is not needed otherwise

        yield from export_on_cluster(job, infos, encoder, workers, scheduler, on_frames)
        return
    for info in infos:

        def report(n_frames: int, n_expected: int, info: ClipInfo = info) -> None:
            on_frames(info, n_frames)

        yield info, export_clip(job, store, info, encoder, report)
