"""Runs an export on a Dask cluster, one task per clip.

What all clips share, the job and the encoder's weights, is sent once, as the result of a task that all others depend
on. So workers need not see the encoder's file, a change of that file does not matter, and a worker that starts late or
restarts gets the encoder, too. Each process loads it once and compares its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from dask.system import CPU_COUNT

from tclr.pipeline.encoder import LoadedEncoder, open_encoder
from tclr.pipeline.export.clip import export_clip, failed
from tclr.pipeline.export.job import ExportJob
from tclr.pipeline.store import ClipInfo, Store
from tclr.pipeline.system import Dispatcher, TaskOutcome, limit_threads, make_reporter, on_cluster
from tclr.schemas.errors import ModelError, StoreError

GPU = "GPU"
"""Name of the Dask resource that workers with a GPU offer."""
_loading = Lock()
_loaded: dict[str, LoadedEncoder] = {}
"""The encoder that this process loaded last, by its digest."""


@dataclass(frozen=True)
class SharedExport:
    """What the exports of all clips share: the job, and the weights of its encoder, if it has one."""

    job: ExportJob
    weights: dict[str, np.ndarray] | None

    def load(self) -> LoadedEncoder | None:
        """Return the encoder, on this process's device, after a check that it is the one that the run began with."""
        info, digest = self.job.encoder, self.job.encoder_digest
        if self.weights is None or info is None:
            return None
        with _loading:
            if digest not in _loaded:
                encoder = open_encoder(self.weights, info, "the run")
                if encoder.digest != digest:
                    raise ModelError(
                        f"Expected the encoder of this run ({digest[:12]}), but a worker has another one "
                        f"({encoder.digest[:12]}). Install the same tclr on all machines, then run again."
                    )
                _loaded.clear()
                _loaded[digest] = encoder
            return _loaded[digest]


def _share(job: ExportJob, encoder: LoadedEncoder | None) -> SharedExport:
    return SharedExport(job, None if encoder is None else encoder.weights())


def export_task(shared: SharedExport, subject: str, clip: str, n_threads: int | None) -> TaskOutcome:
    """Export a clip on a worker; ``n_threads`` are those of networks, see ``limit_threads``."""
    job = shared.job
    try:
        limit_threads(n_threads)
        encoder = shared.load()
        with Store(job.store, [subject], skip_damaged=True) as store:
            info = next((info for info in store.clips if info.clip == clip), None)
            if info is None:
                raise StoreError(
                    f"Expected clip {subject}/{clip} in {job.store}, but it is no longer there or damaged. "
                    "Run 'tclr preprocess' again."
                )
            return export_clip(job, store, info, encoder, make_reporter())
    except Exception as error:
        return failed(error)


def export_on_cluster(
    job: ExportJob,
    infos: Sequence[ClipInfo],
    encoder: LoadedEncoder | None,
    workers: int | None,
    scheduler: str | None,
    on_frames: Callable[[ClipInfo, int], None],
) -> Iterator[tuple[ClipInfo, TaskOutcome]]:
    """Export clips on a cluster, see ``on_cluster``; yield each as soon as it is finished, in any order.

    Local processes share the machine's cores as threads of their networks. If a worker of a running cluster offers the
    resource GPU, every clip asks for one. ``on_frames`` is called from another thread with a clip that is being
    exported and the number of its finished frames.

    Raises
    ------
    ClusterError
        If no scheduler answers, or it is lost.
    """
    n_threads = None if scheduler is not None else max(1, CPU_COUNT // (workers or CPU_COUNT))

    def on_progress(info: ClipInfo, n_frames: int, share: float) -> None:
        on_frames(info, n_frames)

    tasks: Dispatcher[ClipInfo, TaskOutcome]
    with on_cluster(workers, scheduler, TaskOutcome, on_progress) as tasks:
        shared = tasks.share(_share(job, encoder))
        resources = {GPU: 1} if tasks.offers(GPU) else None

        def begin(info: ClipInfo) -> None:
            tasks.submit(info, export_task, shared, info.subject, info.clip, n_threads, resources=resources)

        yield from tasks.results(infos, begin)
