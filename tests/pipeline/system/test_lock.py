import json
import os
import subprocess
import sys

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
    with lock_folder(tmp_path / "s") as run:
        content = json.loads((tmp_path / "s" / ".lock").read_text())
        assert content["process"] == os.getpid() and content["run"] == run


def test_a_finished_run_releases_the_store(tmp_path):
    runs = set()
    for _ in range(2):
        with lock_folder(tmp_path) as run:
            runs.add(run)
    assert len(runs) == 2


def test_worker_of_a_former_run_gets_an_error(tmp_path):
    with lock_folder(tmp_path) as first:
        check_run(tmp_path, first)
    with lock_folder(tmp_path), pytest.raises(OutputError, match="another run .* has started since"):
        check_run(tmp_path, first)


def test_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    import errno
    import fcntl

    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock_folder(tmp_path) as run:
        check_run(tmp_path, run)
    assert "supports no locks" in caplog.text
