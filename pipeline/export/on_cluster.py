"""Runs an export on a Dask cluster, a task a clip.

The encoder goes to the workers as a hidden file in the features folder, which they must see anyway: so it may come from
anywhere, is what the run began with to the end, and a worker that starts late or again reads it like the others. It is
loaded once a process and checked against its digest. The rest of the job, some 100 kB, is a task of its own that all
others depend on: Dask keeps it once and makes it again if the worker that holds it dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from dask.system import CPU_COUNT
from distributed import Client, Future, as_completed, wait
from distributed.comm import CommClosedError

from tclr.pipeline.encoder import LoadedEncoder, load_encoder, save_encoder
from tclr.pipeline.export.clip import ExportJob, export_clip, failed
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import MOST_TASKS, TaskOutcome, connect, following, make_reporter, remove_quietly, result_of
from tclr.schemas.errors import ModelError, StoreError

GPU = "GPU"
"""Name of the Dask resource that workers with a GPU offer."""
_loading = Lock()


@contextmanager
def _shared(features: Path, encoder: LoadedEncoder | None) -> Iterator[Path | None]:
    """Put an encoder where workers find it, and take it away at the end."""
    for left in features.glob(".encoder-*.safetensors"):  # of a run that was killed
        remove_quietly(left)
    if encoder is None:
        yield None
        return
    path = features / f".encoder-{encoder.digest}.safetensors"
    try:
        save_encoder(path, encoder.model, encoder.info)
        yield path
    finally:
        remove_quietly(path)


@lru_cache(maxsize=1)
def _load(path: Path, digest: str) -> LoadedEncoder:
    encoder = load_encoder(path)
    if encoder.digest != digest:
        raise ModelError(
            f"Expected the encoder of this run ({digest[:12]}), but got another one ({encoder.digest[:12]}) in {path}. "
            "Run the same command again."
        )
    return encoder


def _same(job: ExportJob) -> ExportJob:
    return job


def export_task(
    job: ExportJob, subject: str, clip: str, encoder_path: Path | None, n_threads: int | None, key: str
) -> TaskOutcome:
    """Export a clip on a worker; ``n_threads`` are torch's, by default as many as the worker was started with."""
    try:
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        encoder = None
        if encoder_path is not None:
            with _loading:
                encoder = _load(encoder_path, job.encoder_digest)
        with Store(job.store, [subject], skip_damaged=True) as store:
            info = next((info for info in store.clips if info.clip == clip), None)
            if info is None:
                raise StoreError(
                    f"Expected clip {subject}/{clip} in {job.store}, but it is no longer there or damaged. "
                    "Run 'tclr preprocess' again."
                )
            return export_clip(job, store, info, encoder, make_reporter(key))
    except Exception as error:
        return failed(error)


def _offer_gpus(client: Client) -> bool:
    """Return whether some worker offers the resource; called when there is at least one."""
    try:
        workers = client.scheduler_info()["workers"].values()
    except OSError as error:
        raise CommClosedError(str(error)) from error
    return any(worker["resources"].get(GPU, 0) >= 1 for worker in workers)


def export_on_cluster(
    job: ExportJob,
    infos: Sequence[ClipInfo],
    encoder: LoadedEncoder | None,
    workers: int | None,
    scheduler: str | None,
    on_frames: Callable[[ClipInfo, int], None],
) -> Iterator[tuple[ClipInfo, TaskOutcome]]:
    """Export clips on a cluster; yields each as it is through, in any order.

    Parameters
    ----------
    job : ExportJob
        What to write.
    infos : sequence of ClipInfo
        The clips.
    encoder : LoadedEncoder or None
        The job's.
    workers, scheduler
        See ``connect``. Local processes share the machine's cores as torch's threads. If a worker of a running cluster
        offers the resource GPU, every clip asks for one of it.
    on_frames : callable
        Called, from another thread, with a clip that is being done and how many of its frames are.

    Raises
    ------
    ClusterError
        If no scheduler answers, or it is lost.
    OutputError
        If the folder cannot be written.
    """
    clips = {f"{job.run}/{info.name}": info for info in infos}
    n_threads = None if scheduler is not None else max(1, CPU_COUNT // (workers or CPU_COUNT))

    def on_message(message: dict[str, Any]) -> None:
        if message["key"] in clips:
            on_frames(clips[message["key"]], message["n_frames"])

    with _shared(job.features, encoder) as path, connect(workers, scheduler) as client, following(client, on_message):
        shared_job = client.submit(_same, job, pure=False)
        wait(shared_job)  # until a worker has joined
        resources = {GPU: 1} if _offer_gpus(client) else None
        backlog = iter(clips.items())
        futures: dict[Future, ClipInfo] = {}
        queue = as_completed()

        def hand_in(n_tasks: int) -> None:
            for key, info in islice(backlog, n_tasks):
                task = (shared_job, info.subject, info.clip, path, n_threads, key)
                future = client.submit(export_task, *task, pure=False, resources=resources)
                futures[future] = info
                queue.add(future)

        hand_in(MOST_TASKS)
        for future in queue:
            yield futures.pop(future), result_of(future, TaskOutcome)
            future.release()
            hand_in(1)
