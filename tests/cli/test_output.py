"""What a command prints, and where: prose, one JSON document, warnings, errors, exit statuses."""

import importlib
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pytest

from tclr.cli import main as cli_main
from tclr.cli.main import COMMANDS, cli, run
from tclr.cli.output import Command, Output, fail, say, show, warn

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Result:
    path: Path
    share: float
    counts: np.ndarray
    rate: np.float32
    warnings: tuple = ("are collected elsewhere",)


@pytest.fixture
def noisy(monkeypatch):
    """The command ``tclr synth``, replaced by one with every kind of output."""

    @click.command("synth", cls=Command)
    @click.option("--how", default="well")
    def command(how):
        say("prose")
        show("a table")
        os.write(1, b"from C\n")
        print("from a library")
        subprocess.run(["echo", "from a child"], check=True)
        warn("odd", "anna")
        logging.getLogger("tclr.pipeline.x").warning("logged %s", "oddity")
        logging.getLogger("tclr.pipeline.x").info("a detail")
        if how == "badly":
            fail("broken", "anna/smile")
        return Result(Path("a/b"), float("nan"), np.arange(3), np.float32(0.5))

    monkeypatch.setattr(importlib.import_module("tclr.cli.synth"), "command", command)
    return command


def test_json_is_one_document_whatever_others_write(noisy, capfd):
    assert run(["synth", "--json"]) == 0
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert document.pop("seconds") >= 0
    assert document == {
        "command": "synth",
        "path": "a/b",
        "share": None,
        "counts": [0, 1, 2],
        "rate": 0.5,
        "warnings": [{"name": "anna", "reason": "odd"}, {"name": "", "reason": "logged oddity"}],
        "failures": [],
    }
    assert all(f"from {who}\n" in err for who in ("C", "a library", "a child"))
    assert not any(word in out + err for word in ("prose", "table", "warning:"))


def test_prose_goes_to_standard_output_and_warnings_to_standard_error(noisy, capfd):
    assert run(["synth"]) == 0
    out, err = capfd.readouterr()
    assert "prose\na table\n" in out and "a detail" not in out + err
    assert err == "warning: anna: odd\nwarning: logged oddity\n"


def test_quiet_still_prints_failures(noisy, capfd):
    assert run(["--quiet", "synth", "--how", "badly"]) == 1
    out, err = capfd.readouterr()
    assert "prose" not in out and "a table" not in out and err == "failed: anna/smile: broken\n"


def test_verbose_logs_details(noisy, capfd):
    assert run(["synth", "-v"]) == 0
    assert "tclr.pipeline.x: a detail\n" in capfd.readouterr().err


@pytest.mark.parametrize("flags", [("-q",), ("--json",), ("-v",), ("-q", "--json")])
def test_options_may_precede_or_follow_the_command(noisy, capfd, flags):
    outputs = []
    for args in ([*flags, "synth"], ["synth", *flags]):
        assert run(args) == 0
        outputs.append([line for text in capfd.readouterr() for line in text.splitlines() if '"seconds"' not in line])
    assert outputs[0] == outputs[1]


def test_a_part_that_failed_is_in_the_document_beside_the_result(noisy, capfd):
    assert run(["synth", "--how", "badly", "--json"]) == 1
    document = json.loads(capfd.readouterr().out)
    assert document["path"] == "a/b" and document["failures"] == [{"name": "anna/smile", "reason": "broken"}]


def test_only_the_first_of_several_processes_prints(noisy, capfd, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    for flags in ([], ["--json"]):
        assert run(["synth", *flags]) == 0
        out, err = capfd.readouterr()
        assert not any(word in out + err for word in ("prose", "table", "warning:", "{"))


def raising(error):
    @click.command("synth", cls=Command)
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("args", "error", "kind", "status"),
    [
        (["inspect", "absent-store", "--json"], None, "StoreError", 1),
        (["--json", "inspect", "--no-such-option"], None, "UsageError", 2),
        (["inspect", "--no-such-option", "--json"], None, "UsageError", 2),
        (["--json", "no-such-command"], None, "UsageError", 2),
        (["synth", "--json"], KeyboardInterrupt(), "Interrupted", 130),
        (["synth", "--json"], RuntimeError("a defect"), "RuntimeError", 1),
    ],
)
def test_errors_are_documents_too(args, error, kind, status, capfd, monkeypatch):
    monkeypatch.setattr(importlib.import_module("tclr.cli.synth"), "command", raising(error))
    assert run(args) == status
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert document["error"]["type"] == kind and document["error"]["message"]
    assert ("Traceback" in err) == (kind == "RuntimeError") and "tclr: " not in err


@pytest.mark.parametrize(
    ("error", "status", "printed"),
    [(KeyboardInterrupt(), 130, "tclr: Interrupted.\n"), (RuntimeError("a defect"), 1, "RuntimeError: a defect\n")],
)
def test_errors_are_printed_on_standard_error(error, status, printed, capfd, monkeypatch):
    monkeypatch.setattr(importlib.import_module("tclr.cli.synth"), "command", raising(error))
    assert run(["synth", "--quiet"]) == status
    out, err = capfd.readouterr()
    assert out == "" and err.endswith(printed) and ("Traceback" in err) == (status == 1)


def test_a_closed_pipe_is_not_an_error():
    script = f"{sys.executable} -m tclr.cli.main datasets --json | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stderr == ""


def test_warnings_of_libraries_are_shown_with_verbose_only(tmp_path):
    (tmp_path / "noise.py").write_text(
        "import sys, warnings\nfrom tclr.cli import main, synth\n"
        "import click\nfrom tclr.cli.output import Command\n"
        "@click.command('synth', cls=Command)\ndef command():\n    warnings.warn('a library grumbles')\n"
        "synth.command = command\nmain.main()\n"
    )
    for flags, shown in ([], False), (["-v"], True):
        args = [sys.executable, str(tmp_path / "noise.py"), "synth", *flags]
        done = subprocess.run(args, capture_output=True, text=True, check=True)
        assert ("a library grumbles" in done.stderr) == shown


def test_nested_commands_follow_the_output_options_of_the_outer_one(monkeypatch, capfd, tmp_path):
    from tclr.cli import demo

    steps = {"synth": [], "inspect": ["--verify"]}
    monkeypatch.setattr(demo, "demo_steps", lambda out: [[name, str(out), *more] for name, more in steps.items()])
    monkeypatch.setattr(demo, "show_features", lambda features: say("rows"))
    monkeypatch.setattr(demo, "draw_expressions", lambda out: say("Parquet: there"))

    @click.command("synth", cls=Command)
    @click.argument("out")
    def works(out):
        say("prose of a step")
        warn("odd", "anna")
        return {"out": out}

    @click.command("inspect", cls=Command)
    @click.argument("out")
    @click.option("--verify", is_flag=True)
    def fails(out, verify):
        fail("broken", "anna/smile")
        return {}

    monkeypatch.setattr(importlib.import_module("tclr.cli.synth"), "command", works)
    monkeypatch.setattr(importlib.import_module("tclr.cli.path.inspect"), "command", fails)
    assert run(["demo", str(tmp_path), "--json"]) == 1
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert [step["command"] for step in document["steps"]] == ["synth"] and "prose of a step" not in err
    assert document["warnings"] == [{"name": "anna", "reason": "odd"}]
    assert document["failures"] == [{"name": "anna/smile", "reason": "broken"}]
    assert run(["demo", str(tmp_path)]) == 1
    out, _ = capfd.readouterr()
    assert "prose of a step" in out and "Parquet:" not in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_goes_through_the_one_mechanism(name):
    assert isinstance(cli.get_command(None, name), Command)
    path = ROOT / f"{cli_main.MODULES[name].removeprefix('tclr.').replace('.', '/')}.py"
    if name not in ("view", "completion"):  # what they print is all that they are for, even with --quiet
        assert not any(
            call in path.read_text() for call in ("click.echo", "click.secho", "print(", "sys.exit", "Console(")
        )


def test_help_shows_each_command_once_by_what_it_is_for():
    names = [name for commands in cli_main.STAGES.values() for name in commands]
    assert len(names) == len(set(names)) == len(COMMANDS)
    files = {path.stem.replace("_", "-") for path in (ROOT / "cli").rglob("*.py")}
    assert files - {"--init--", "main", "options", "output", "progress"} == set(COMMANDS)


def test_document_without_a_result_is_complete():
    assert set(json.loads(Output(command="x").document({}))) == {"command", "seconds", "warnings", "failures"}
