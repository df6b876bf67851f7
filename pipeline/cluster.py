"""Where the work is done: processes of this machine, or a Dask cluster that sees the same files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dask.system import CPU_COUNT
from distributed import Client, LocalCluster

from tclr.schemas.errors import ClusterError

CONNECT_TIMEOUT_S = 5


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
    ClusterError
        If the scheduler does not answer.
    """
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
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
            silence_logs=logging.CRITICAL,  # what is lost with a worker is told by who waits for it
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client
