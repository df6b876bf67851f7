import subprocess
import sys
import threading

import psutil

from tclr.pipeline.system import leave_with_parent

POOL = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tclr.pipeline.system import leave_with_parent

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), leave_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


def test_a_worker_ends_with_the_process_that_started_it(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as main:
        worker = int(main.stdout.readline())
        assert psutil.pid_exists(worker)
        main.terminate()
    assert psutil.wait_procs([psutil.Process(worker)] if psutil.pid_exists(worker) else [], timeout=20)[1] == []


def test_the_main_process_is_left_alone():
    n_threads = threading.active_count()
    leave_with_parent()
    assert threading.active_count() == n_threads
