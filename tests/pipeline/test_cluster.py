import logging

import pytest

from tclr.pipeline import cluster
from tclr.schemas.errors import ClusterError


class Opened:
    """A cluster or client that cannot be closed in time, as on a machine that is too busy."""

    def __init__(self, *args, **options):
        self.is_closed = False

    def close(self):
        self.is_closed = True
        raise TimeoutError


@pytest.mark.parametrize("scheduler", [None, "tcp://127.0.0.1:1"])
def test_work_that_is_done_does_not_fail_because_dask_cannot_close(monkeypatch, caplog, scheduler):
    monkeypatch.setattr(cluster, "LocalCluster", Opened)
    monkeypatch.setattr(cluster, "Client", Opened)
    with cluster.connect(1, scheduler) as client:
        assert not client.is_closed
    assert client.is_closed and "could not close" in caplog.text
    with pytest.raises(ZeroDivisionError):  # what went wrong before matters more
        with cluster.connect(1, scheduler):
            1 / 0  # noqa: B018


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_workers_log_what_their_client_logs(monkeypatch, level):
    plugins = []
    monkeypatch.setattr(Opened, "register_plugin", lambda self, plugin: plugins.append(plugin), raising=False)
    monkeypatch.setattr(cluster, "LocalCluster", Opened)
    monkeypatch.setattr(cluster, "Client", Opened)
    logger = logging.getLogger("tclr")
    logger.setLevel(level)
    with cluster.connect(1, None):
        pass
    assert len(plugins) == (level == "INFO")
    for plugin in plugins:
        logger.setLevel(logging.NOTSET)
        plugin.setup(None)
        assert logger.level == logging.INFO and len(logger.handlers) == 1


def test_workers_that_do_not_start_are_one_clear_error(monkeypatch):
    def refuse(**options):
        raise RuntimeError("Nanny failed to start")

    monkeypatch.setattr(cluster, "LocalCluster", refuse)
    with pytest.raises(ClusterError, match="start 3 Dask workers.*Nanny failed to start. Run the same command again"):
        with cluster.connect(3, None):
            pass
