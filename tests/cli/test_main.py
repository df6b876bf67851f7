import subprocess
import sys

import pytest
from click.testing import CliRunner

from tclr.cli.main import COMMANDS, cli


def run_tclr(*args):
    return subprocess.run([sys.executable, "-m", "tclr.cli.main", *map(str, args)], capture_output=True, text=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_in_80_columns(name):
    result = CliRunner().invoke(cli, [name, "--help"], terminal_width=80)
    assert result.exit_code == 0
    assert "Example:" in result.output and f"tclr {name}" in result.output
    assert max(map(len, result.output.splitlines())) <= 80 and "[default: ]" not in result.output


def test_help_lists_every_command_in_a_line_of_80_columns():
    lines = CliRunner().invoke(cli, ["--help"], terminal_width=80).output.splitlines()
    assert all(any(line.startswith(f"  {name} ") and line.endswith(".") for line in lines) for name in COMMANDS)
    assert max(map(len, lines)) <= 80


def test_unknown_command_lists_the_known_ones():
    result = run_tclr("preproces")
    assert (
        result.returncode == 2
        and "Known commands: ablate, bench, box, completion, datasets, demo, doctor" in result.stderr.replace("\n", " ")
    )


def test_expected_error_is_one_line_and_a_failing_exit_status(tmp_path):
    result = run_tclr("preprocess", tmp_path / "absent", tmp_path / "store")
    assert result.returncode == 1
    assert result.stderr.startswith("tclr: Expected a folder of videos, or a video, but found nothing")
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr


def test_unknown_setting_in_a_file_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    config = tmp_path / "tclr.toml"
    config.write_text("[align]\nsise = 96\n")
    result = run_tclr("preprocess", tmp_path / "in", tmp_path / "store", "--config", config)
    assert result.returncode == 1 and "Unknown setting 'sise' in [align] of" in result.stderr
    config.write_text("[aling]\nsize = 96\n")
    result = run_tclr("preprocess", tmp_path / "in", tmp_path / "store", "--config", config)
    assert result.returncode == 1 and "Unknown table or setting 'aling'" in result.stderr


def test_settings_of_a_file_are_judged_together_with_the_command_line(tmp_path):
    config = tmp_path / "tclr.toml"
    config.write_text("[pretrain]\nsupervision_weight = 1.0\n")
    alone = run_tclr("pretrain", tmp_path / "absent", tmp_path / "run", "--config", config)
    assert "Setting 'supervision_weight' in [pretrain] of" in alone.stderr
    joined = run_tclr("pretrain", tmp_path / "absent", tmp_path / "run", "--config", config, "--geometry-weight", "0")
    assert joined.returncode == 1 and "Setting" not in joined.stderr and "absent" in joined.stderr


def test_setting_out_of_range_is_one_line(tmp_path):
    (tmp_path / "in").mkdir()
    result = run_tclr("preprocess", tmp_path / "in", tmp_path / "store", "--size", "3")
    assert result.returncode == 1 and "Setting 'size'" in result.stderr and result.stderr.count("\n") == 1
