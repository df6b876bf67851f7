"""Tasks in this process: in order, with reports, and without Dask."""

import subprocess
import sys

import pytest

from tclr.pipeline.system import Tasks, dispatching, make_reporter
from tclr.pipeline.system import dispatch as module
from tclr.pipeline.system.dispatch import HereTasks


def test_results_come_in_order_the_most_urgent_first_and_begin_is_lazy():
    began, seen = [], []
    with dispatching(0, None, str, print) as tasks:

        def begin(job):
            began.append(job)
            tasks.submit(job, str.upper, job)

        for job, result in tasks.results("abc", begin):
            seen.append((job, result, "".join(began), tasks.n_open))
            if job == "a":
                tasks.submit("later", str.upper, "later")
                tasks.submit("urgent", str.upper, "urgent", priority=5)
    assert seen == [
        ("a", "A", "a", 2),
        ("urgent", "URGENT", "a", 3),
        ("later", "LATER", "a", 2),
        ("b", "B", "ab", 1),
        ("c", "C", "abc", 0),
    ]


def report_twice(word):
    report = make_reporter()
    for n_frames in (3, 6):
        report(n_frames, 12)
    make_reporter()(1, 0)
    return word


def test_reports_reach_their_job(monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY_S", 0)
    heard = []
    with dispatching(0, None, str, lambda *report: heard.append(report)) as tasks:
        tasks.submit("job", report_twice, "word")
        assert list(tasks.results((), print)) == [("job", "word")]
    assert heard == [("job", 3, 0.25), ("job", 6, 0.5), ("job", 1, 0.0)]


def test_an_error_of_a_task_is_not_hidden_and_the_reporter_is_gone_after_it():
    tasks: Tasks = HereTasks(print)
    tasks.submit("job", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(tasks.results((), print))
    assert module._reporter.get() is None


def test_there_is_one_worker_with_the_cores_of_this_process():
    n_workers, n_cores = HereTasks(print).count_cores()
    assert n_workers == 1 and n_cores >= 1


def test_dask_is_not_loaded():
    code = "import sys\nfrom tclr.pipeline.system import dispatching\n"
    code += "with dispatching(0, None, str, print) as tasks:\n"
    code += "    print(list(tasks.results('a', lambda job: tasks.submit(job, str.upper, job))))\n"
    code += "print('dask' in sys.modules, 'distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[('a', 'A')]", "False False"]
