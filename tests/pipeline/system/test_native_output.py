import os
import subprocess
import sys

import pytest

from tclr.pipeline.system import caught_stderr


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
