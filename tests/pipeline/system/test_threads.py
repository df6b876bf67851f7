import os
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from tclr.pipeline.system import begun, run_ahead


@pytest.mark.parametrize("n_ahead", [0, 1, 3])
def test_items_come_in_order_and_are_read_in_their_own_thread(n_ahead):
    threads = set()

    def items():
        for i in range(50):
            threads.add(threading.current_thread())
            yield i

    assert list(run_ahead(items(), n_ahead)) == list(range(50))
    assert (threads == {threading.current_thread()}) == (n_ahead == 0) and len(threads) == 1


@pytest.mark.parametrize("n_ahead", [1, 3])
def test_no_more_items_are_read_ahead_than_wanted(n_ahead):
    read, enough = [], threading.Event()

    def items():
        for i in range(50):
            read.append(i)
            if i == n_ahead:
                enough.set()
            yield i

    with closing(run_ahead(items(), n_ahead)) as ahead:
        for taken in range(5):
            next(ahead)
            assert enough.wait(5)
            assert len(read) <= taken + 1 + n_ahead


@pytest.mark.parametrize("n_ahead", [0, 2])
def test_errors_come_after_the_items_before(n_ahead):
    def items():
        yield 1
        yield 2
        raise KeyError("third")

    taken = []
    with pytest.raises(KeyError, match="third"):
        for item in run_ahead(items(), n_ahead):
            taken.append(item)
    assert taken == [1, 2]


@pytest.mark.parametrize("n_ahead", [0, 2])
def test_closing_ends_the_thread_and_the_generator(n_ahead):
    ended = []

    def items():
        try:
            yield from range(1000)
        finally:
            ended.append(threading.current_thread())

    before = threading.active_count()
    with closing(run_ahead(items(), n_ahead)) as ahead:
        assert next(ahead) == 0
    assert len(ended) == 1 and threading.active_count() == before


def test_chained_steps_are_closed_from_the_last_one():
    before = threading.active_count()
    with closing(run_ahead(range(1000), 2)) as first, closing(run_ahead((2 * i for i in first), 2)) as second:
        assert [next(second) for _ in range(3)] == [0, 2, 4]
    assert threading.active_count() == before


@pytest.mark.parametrize("n_ahead", [0, 1])
def test_a_call_returns_its_result_when_it_is_requested(n_ahead):
    threads = []

    def call():
        threads.append(threading.current_thread())
        return 7

    with begun(call, n_ahead) as result:
        assert result() == 7
    assert (threads == [threading.current_thread()]) == (n_ahead == 0) and len(threads) == 1


@pytest.mark.parametrize("n_ahead", [0, 1])
def test_a_failed_call_raises_where_its_result_is_requested(n_ahead):
    def call():
        raise KeyError("lost")

    with begun(call, n_ahead) as result, pytest.raises(KeyError, match="lost"):
        result()


def test_an_unused_result_is_not_waited_for():
    release = threading.Event()
    with pytest.raises(KeyError, match="elsewhere"), begun(lambda: release.wait(60), 1):
        raise KeyError("elsewhere")
    assert not release.is_set()
    release.set()


def test_networks_use_the_limit_or_what_pytorch_uses():
    code = (
        "import os\nfrom tclr.pipeline.system import count_threads, limit_threads\n"
        "print(count_threads(), limit_threads(5), count_threads(), limit_threads(None), count_threads())\n"
        "import torch\ntorch.set_num_threads(4)\nprint(count_threads())"
    )
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    for wanted, expected in (("3", 3), ("", n_cores), ("0", n_cores), ("many", n_cores)):
        environment = {**os.environ, "OMP_NUM_THREADS": wanted}
        told = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        ).stdout
        assert told.split() == [str(expected), "None", "5", "5", str(expected), "4"]
