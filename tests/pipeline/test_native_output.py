import os

import pytest

from tclr.pipeline.native_output import caught_stderr


def test_what_is_written_to_the_descriptor_is_caught_and_given_back(capfd):
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
