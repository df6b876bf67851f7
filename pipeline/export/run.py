"""The exporter: per-frame embeddings and AU predictions from a store to Parquet, clip by clip.

AU predictions come from the model in the box, a head of the user's, or mediapipe's blendshapes by a documented mapping,
or, where the store allows none of them, there are no AU columns; the metadata of every file say which. A clip whose
file carries the same provenance is not done again; one that fails is reported, and the others go on. What the export of
a clip is stands in ``pipeline.clip_export``; here is settled what is to be done, and who does it: this process, or a
Dask cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tclr.pipeline.au import BOX
from tclr.pipeline.encoder import LoadedEncoder, PrecisionChoice, choose_precision, load_encoder
from tclr.pipeline.export.au_source import AUTO, NAMES, AuSource, choose_au_source, knows_crops, resolve_au_model
from tclr.pipeline.export.clip import ExportJob, export_clip, subject_folder
from tclr.pipeline.export.table import with_pandas_types
from tclr.pipeline.features import choose_columns
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import Failure, TaskOutcome, lock_folder, real_path, remove_abandoned
from tclr.schemas.config import EmbedConfig
from tclr.schemas.errors import OutputError, SettingError, StoreError
from tclr.schemas.features import EMBEDDING, KEYS, features_schema

TRIED_FRAMES = 32
"""Crops that the encoder's arithmetic is chosen on; chosen by us: seconds at 224 px."""


@dataclass(frozen=True)
class EmbedResult:
    """What an export did; rows and clips are those whose files are there now and up to date.

    ``precision`` is what was measured, where it was.
    """

    features: Path
    n_rows: int
    n_clips: int
    n_skipped: int
    n_columns: int
    au_source: str
    failures: tuple[Failure, ...]
    precision: PrecisionChoice | None = None


@dataclass
class EmbedProgress:
    """How far an export is; handed to the caller's callback. Frames of clips that failed or were done before count."""

    n_frames_total: int
    n_frames: int = 0
    failures: list[Failure] = field(default_factory=list)


class _Tracker:
    """Adds up the frames of clips that are through and of those that are being done."""

    def __init__(self, progress: EmbedProgress, notify: Callable[[EmbedProgress], None]) -> None:
        self.progress = progress
        self.notify = notify
        self.n_through = progress.n_frames
        self.running: dict[str, int] = {}
        self.through: set[str] = set()

    def add_frames(self, info: ClipInfo, n_frames: int) -> None:
        """Take in how many frames of a clip are done; may be called from another thread."""
        if info.name not in self.through:
            self.running[info.name] = n_frames
            self._tell()

    def end_clip(self, info: ClipInfo) -> None:
        """Take in that a clip is through."""
        self.through.add(info.name)
        self.running.pop(info.name, None)
        self.n_through += info.n_frames
        self._tell()

    def _tell(self) -> None:
        self.progress.n_frames = self.n_through + sum(list(self.running.values()))
        self.notify(self.progress)


def _leave_out_damaged(store: Store) -> list[Failure]:
    """Leave clips out of a store whose description cannot be read; returns all that are left out, with the reason."""
    failures = [Failure(name, reason) for name, reason in store.damage.items()]
    for info in list(store.clips):
        try:
            for name in ("au", "blendshapes"):
                store.names(info, name)
        except StoreError as error:
            store.clips.remove(info)
            failures.append(Failure(info.name, str(error)))
    if failures and not store.clips:
        raise StoreError(failures[0].reason)
    return failures


def _check_others(job: ExportJob, infos: Sequence[ClipInfo], damaged: Sequence[Failure]) -> None:
    """Refuse to write beside Parquet files of anything that the store does not have: pandas would mix them."""
    wanted = {job.path(info) for info in infos}
    names = [failure.name.partition("/") for failure in damaged]
    wanted |= {subject_folder(job.features, subject) / f"{clip}.parquet" for subject, _, clip in names}
    whole = {subject_folder(job.features, subject) for subject, _, clip in names if not clip}
    others = sorted(path for path in job.features.rglob("*.parquet") if path not in wanted and path.parent not in whole)
    if others:
        raise OutputError(
            f"{job.features} holds Parquet files of clips that are not in the store, as {others[0]}. "
            "Use another FEATURES folder, or delete those files."
        )


def embed(
    store_path: Path,
    features: Path,
    encoder: LoadedEncoder | None,
    config: EmbedConfig,
    *,
    au_model: str | Path = AUTO,
    workers: int = 0,
    scheduler: str | None = None,
    notify: Callable[[EmbedProgress], None] = lambda progress: None,
) -> EmbedResult:
    """Export a store.

    Parameters
    ----------
    store_path, features : Path
        Store to read; folder to write, see ``tclr.schemas.features``.
    encoder : LoadedEncoder or None
        The encoder; without it, that of a fine-tuned head or of the model in the box. It is not run where no column
        needs it.
    config : EmbedConfig
        Settings.
    au_model : str or Path
        A head that ``tclr fit-au`` wrote, or a name, see ``resolve_au_model``.
    workers : int
        Processes of a local Dask cluster; 0: in this process.
    scheduler : str, optional
        Address of a running Dask cluster instead, whose workers see both folders under the same paths.
    notify : callable
        Called whenever something has moved, perhaps from another thread.

    Raises
    ------
    StoreError, ModelError
        If no clip of the store or not the head can be read, the head does not belong to the encoder, or there is no
        such column.
    SettingError
        If an encoder is needed and there is none.
    OutputError
        If the folder cannot be written, is held by another run, or holds features of other clips.
    ClusterError
        If no scheduler answers, or it is lost.
    """
    store_path, features = real_path(store_path), real_path(features)
    with Store(store_path, skip_damaged=True) as store:
        damaged = _leave_out_damaged(store)
        head_file = resolve_au_model(store, au_model, encoder is not None)
        source = choose_au_source(store, head_file, config.smooth_s)
        if source.head is not None:
            encoder = encoder or source.head.encoder  # a fine-tuned head brings its own
            source = replace(source, head=replace(source.head, encoder=None))
        if encoder is None and str(au_model) in NAMES and store.has_frames and knows_crops(store):
            encoder = load_encoder(BOX)
        if source.head is not None and source.needs_encoder and encoder is not None:
            source.head.check_encoder(encoder)
        _check_centring(source, config)
        labelled_aus = sorted({name for info in store.clips for name in store.names(info, "au")})
        schema = features_schema(
            source.au_names,
            labelled_aus,
            encoder.embedding_dim if encoder else 1,  # of any length: it is asked for below
            blendshapes=_wants_blendshapes(store, config),
            files=any("source_name" in store.fields(info) for info in store.clips),
            intensity_aus=source.intensity_aus,
            embedding=config.embedding,
        )
        schema = with_pandas_types(_chosen(schema, config))
        if source.columns.isdisjoint(schema.names):
            source = AuSource("none")
        if not source.needs_encoder and not any(name.startswith(EMBEDDING) for name in schema.names):
            encoder = None  # no column holds what it gives
        else:
            store.require_frames(store.clips)
            if encoder is None:
                raise SettingError("Expected an encoder for the embeddings or the head, but got none. Give --encoder.")
        with lock_folder(features) as run:
            job = ExportJob(
                store_path,
                features,
                run,
                schema,
                tuple(labelled_aus),
                source,
                encoder.info if encoder else None,
                encoder.digest if encoder else "",
                config,
                "fp32" if config.precision == "auto" else config.precision,
            )
            _check_others(job, store.clips, damaged)
            choice = None
            if encoder is not None and config.precision == "auto":
                known = _known_precision(job, store.clips)
                choice = None if known else _measure_precision(store, encoder)
                job = replace(job, precision=known or (choice.precision if choice else "fp32"))
            remove_abandoned(features)
            todo = [info for info in store.clips if not job.is_done(info)]
            n_rows, n_todo = (sum(info.n_frames for info in infos) for infos in (store.clips, todo))
            progress = EmbedProgress(n_rows, n_rows - n_todo, list(damaged))
            tracker = _Tracker(progress, notify)
            notify(progress)
            for info, outcome in _run(job, store, todo, encoder, workers, scheduler, tracker.add_frames):
                if outcome.fatal:
                    raise OutputError(outcome.reason)
                if outcome.reason:
                    n_rows -= info.n_frames
                    progress.failures.append(_failure(job, info, outcome.reason))
                tracker.end_clip(info)
            remove_abandoned(features)
    n_failed = len(progress.failures) - len(damaged)
    return EmbedResult(
        features,
        n_rows,
        len(store.clips) - n_failed,
        len(store.clips) - len(todo),
        len(schema) + 1,
        source.name,
        tuple(progress.failures),
        choice,
    )


def _known_precision(job: ExportJob, infos: Sequence[ClipInfo]) -> str | None:
    """Return the arithmetic of a run that this one goes on with, so that all files of a folder agree."""
    for precision in ("fp32", "bf16"):
        same = replace(job, precision=precision)
        if any(same.is_done(info) for info in infos):
            return precision
    return None


def _measure_precision(store: Store, encoder: LoadedEncoder) -> PrecisionChoice | None:
    """Choose the encoder's arithmetic on the first crops with a face; None if there are none."""
    for info in store.clips:
        rows = np.flatnonzero(store.face_mask(info))[:TRIED_FRAMES]
        if len(rows):
            return choose_precision(encoder, store.read_crops_at(info, rows))
    return None


def _run(
    job: ExportJob,
    store: Store,
    infos: Sequence[ClipInfo],
    encoder: LoadedEncoder | None,
    workers: int,
    scheduler: str | None,
    on_frames: Callable[[ClipInfo, int], None],
) -> Iterator[tuple[ClipInfo, TaskOutcome]]:
    """Export clips here or on a cluster; yields each as it is through."""
    if infos and (workers or scheduler is not None):
        from tclr.pipeline.export.on_cluster import export_on_cluster  # Dask is not needed otherwise

        yield from export_on_cluster(job, infos, encoder, workers, scheduler, on_frames)
        return
    for info in infos:

        def report(n_frames: int, n_expected: int, info: ClipInfo = info) -> None:
            on_frames(info, n_frames)

        yield info, export_clip(job, store, info, encoder, report)


def _failure(job: ExportJob, info: ClipInfo, reason: str) -> Failure:
    kept = f" {job.path(info)} is of an earlier run." if job.path(info).exists() else ""
    return Failure(info.name, reason + kept)


def _chosen(schema: pa.Schema, config: EmbedConfig) -> pa.Schema:
    """Return the schema with the columns that were asked for, and the keys, in its own order."""
    patterns = [pattern.strip() for pattern in config.columns.split(",") if pattern.strip()]
    if not patterns:
        return schema
    chosen = {*choose_columns(patterns, schema.names), *KEYS}
    return pa.schema([field for field in schema if field.name in chosen])


def _check_centring(source: AuSource, config: EmbedConfig) -> None:
    if config.centre != "none" and (source.head is None or source.head.rest is None):
        raise SettingError(
            f"Expected a head that knows the resting level of people for --centre {config.centre}, but AUs come from "
            f"{source.name}. Give --au-model box or fusion, or fit a head anew with 'tclr fit-au'."
        )


def _wants_blendshapes(store: Store, config: EmbedConfig) -> bool:
    if config.blendshapes:
        store.require_blendshapes("Run again without --blendshapes.")
    return config.blendshapes
