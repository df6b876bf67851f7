import fcntl
import os
import subprocess
import sys
import threading

import pytest

from tclr.pipeline.system import check_run, lock_folder
from tclr.schemas.errors import OutputError

HOLD = """
import sys, time
from pathlib import Path
from tclr.pipeline.system import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_second_run_is_refused_with_the_name_of_the_holder_until_that_dies(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "s")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(OutputError, match=f"no other run on .*process {holder.pid}, since 20"):
        with lock_folder(tmp_path / "s"):
            pass
    holder.kill()  # SIGKILL: it can tidy up nothing
    holder.wait()
    left = list((tmp_path / "s").iterdir())
    assert len(left) == 2 and not any(path.stat().st_size for path in left)  # polars passes over empty files
    with lock_folder(tmp_path / "s") as run:
        (mark,) = (tmp_path / "s").glob("*.run")
        assert f"~{os.getpid()}~" in mark.name and mark.name.endswith(f"~{run}.run") and mark not in left
    assert list((tmp_path / "s").iterdir()) == []


def test_a_finished_run_releases_the_store(tmp_path):
    runs = set()
    for _ in range(2):
        with lock_folder(tmp_path) as run:
            runs.add(run)
    assert len(runs) == 2


def test_worker_of_a_former_run_gets_an_error(tmp_path):
    with lock_folder(tmp_path) as first:
        check_run(tmp_path, first)
    with pytest.raises(OutputError, match="has ended, or another run has started since"):
        check_run(tmp_path, first)
    with lock_folder(tmp_path), pytest.raises(OutputError, match="another run has started since"):
        check_run(tmp_path, first)


def test_lock_of_an_older_version_is_taken_over_and_removed(tmp_path):
    (tmp_path / ".lock").write_text('{"host": "a", "process": 1}')
    with lock_folder(tmp_path):
        assert not any(path.stat().st_size for path in tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


def test_run_that_locked_a_file_deleted_meanwhile_tries_again(tmp_path, monkeypatch):
    taken = []

    def flock(file, operation, lock=fcntl.flock):
        lock(file, operation)
        if not taken:  # the run before ends between the open and the lock of this one
            (tmp_path / ".lock").unlink()
        taken.append(os.fstat(file.fileno()).st_ino)

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock_folder(tmp_path):
        assert len(taken) == 2 and (tmp_path / ".lock").stat().st_ino == taken[1]


def test_only_one_of_many_runs_holds_a_folder_at_a_time(tmp_path):
    inside, overlaps, held = [], [], []

    def work():
        for _ in range(200):
            try:
                with lock_folder(tmp_path) as run:
                    inside.append(run)
                    overlaps.extend(inside[1:])
                    check_run(tmp_path, run)
                    held.append(run)
                    inside.remove(run)
            except OutputError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) > 4 and not overlaps and list(tmp_path.iterdir()) == []


def test_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    import errno

    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock_folder(tmp_path) as run:
        check_run(tmp_path, run)
    assert "supports no locks" in caplog.text
