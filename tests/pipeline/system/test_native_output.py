import os
import subprocess
import sys

import pytest

from tclr.pipeline.system import caught_stderr
from tclr.pipeline.system.native_output import sifted_stderr, write_stderr_to


def test_what_is_written_to_the_descriptor_is_captured_and_returned(capfd):
    with caught_stderr() as lines:
        os.write(2, b"one\ntwo\n")
        with caught_stderr() as inner:
            os.write(2, b"three\n")
    os.write(2, b"four\n")
    assert (lines, inner) == (["one", "two"], ["three"]) and capfd.readouterr().err == "four\n"


def test_what_is_written_before_an_error_is_shown(capfd):
    with pytest.raises(ZeroDivisionError):
        with caught_stderr():
            os.write(2, b"why it fails\n")
            1 / 0  # noqa: B018
    assert capfd.readouterr().err == "why it fails\n"


def test_closed_standard_error_stays_closed():
    code = "import os\nos.close(2)\nfrom tclr.pipeline.system import caught_stderr\n"
    code += "with caught_stderr() as lines:\n    print('done', lines)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "done []\n"


NOISE = (
    "W0000 00:00:1795959545.122971   15689 inference_runner_litert.cc:1418] Input tensor memory is not aligned",
    "I0000 00:00:1795959545.122971 15689 gl_context.cc:1] GL version",
    "E0000 00:00:1795959545.122971   15689 uploader.cc:72] failed",
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "WARNING: Logging before InitGoogle() is written to STDERR",
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "INFO: [accelerator_registry.cc:43] DestroyAccelerator: ptr=0x7f40a4042900",
)
KEPT = (
    "F0000 00:00:1795959545.122971   15689 check.cc:7] Check failed",
    "Traceback (most recent call last):",
    "tclr: WARNING: something of ours",
    "free(): invalid pointer",
)


RUN = """
import os, sys
import dask
from tclr.pipeline.system import connect

def write(lines, crash):
    os.write(2, "".join(f"{line}\\n" for line in lines).encode())
    print("from Python", file=sys.stderr)
    if crash:
        os.write(2, b"last words")
        os.abort()

if __name__ == "__main__":
    dask.config.set({"distributed.scheduler.allowed-failures": 0})  # a worker that dies is enough
    with connect(1, None) as client:
        client.submit(write, sys.argv[1:], False).result()
        done = client.submit(write, [], True).exception()
    print(type(done).__name__)
"""


def test_lines_that_libraries_log_are_sifted_out_and_all_others_pass(capsys):
    with sifted_stderr() as pipe:
        writer = subprocess.Popen(
            [sys.executable, "-c", "import os; os.write(2, b'x' * 100_000 + b'\\n')"], stderr=open(pipe, "w")
        )
        writer.wait()
        with open(pipe, "w") as stream:
            stream.write("".join(f"{line}\n" for line in (*NOISE, *KEPT)))
    assert capsys.readouterr().err.splitlines() == ["x" * 100_000, *KEPT]
    write_stderr_to(pipe)  # of a run that has ended: nothing happens


def test_workers_of_a_local_cluster_show_their_own_lines_and_last_words(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    command = [sys.executable, str(script), *NOISE, *KEPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "KilledWorker\n"
    for line in (*KEPT, "from Python", "last words"):
        assert line in done.stderr
    assert not any(line in done.stderr for line in NOISE)
