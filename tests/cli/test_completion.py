"""Completion by Tab: commands, options, choices and files, without heavy packages."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from tclr.cli.main import COMMANDS, cli, run


def complete(*words):
    *args, incomplete = words
    return [item.value for item in ShellComplete(cli, {}, "tclr", "_TCLR_COMPLETE").get_completions(args, incomplete)]


def test_commands_options_and_choices_are_completed():
    assert complete("") == list(COMMANDS)
    assert complete("pre") == ["preprocess", "pretrain"]
    assert sorted(complete("--ver")) == ["--verbose", "--version"]
    assert complete("preprocess", "--codec", "z") == ["zstd"]
    assert complete("preprocess", "--cod") == ["--codec"]
    assert complete("-q", "pretrain", "store", "run", "--js") == ["--json"]
    assert complete("completion", "") == ["bash", "zsh", "fish"]
    assert complete("no-such-command", "--a") == []


@pytest.mark.parametrize(
    "words", [("inspect", "sto"), ("embed", "s", "f", "--encoder", "ru"), ("pretrain", "s", "r", "--config", "t")]
)
def test_files_are_left_to_the_shell(words):
    *args, incomplete = words
    (item,) = ShellComplete(cli, {}, "tclr", "_TCLR_COMPLETE").get_completions(args, incomplete)
    assert item.type == "file" and item.value == incomplete


def test_completing_imports_nothing_heavy():
    code = "import sys, atexit; atexit.register(lambda: print(*sys.modules)); from tclr.cli.main import main; main()"
    environment = os.environ | {"_TCLR_COMPLETE": "bash_complete", "COMP_WORDS": "tclr fit-au --he", "COMP_CWORD": "2"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    first, modules = done.stdout.splitlines()[0], done.stdout.split()
    assert first == "plain,--head" and {"torch", "numpy", "pandas", "h5py", "mediapipe"}.isdisjoint(modules)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_is_for_the_shell_and_for_tclr(shell, capsys):
    assert run(["completion", shell, "--quiet"]) == 0
    script = capsys.readouterr().out
    assert f"_TCLR_COMPLETE={shell}_complete" in script and script.count("\n") > 5
    if path := shutil.which(shell):
        subprocess.run([path, "-n"], input=script, text=True, check=True)
    assert run(["completion", shell, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["script"] + "\n" == script
