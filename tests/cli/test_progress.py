"""Progress: what a terminal shows, and that nothing else receives it."""

import logging

import pytest

from tclr.cli.main import cli
from tclr.cli.output import Output, warn
from tclr.cli.progress import progress_bar, show_progress
from tclr.pipeline.views.progress import format_rate


def three_stages():
    with show_progress() as display:
        display.stage("Starting workers")
        clips = display.bar("Detecting", "clips", rate_unit="frames")
        for done in range(8):
            clips(done, 7)
            clips.note(failed=2, per_s=1523.4)
        display.line("a line above")
        warn("odd", "anna")
        update = display.turns("steps")
        update("first fold", 1, 3)
        update("second fold", 2, 4)


@pytest.mark.parametrize("columns", [60, 100])
def test_a_terminal_shows_stage_count_rate_and_failures(watch, plain, columns):
    text = watch(three_stages, columns=columns)
    lines = [line.rstrip() for line in plain(text).splitlines()]
    (last,) = [line for line in lines if line.startswith("  Detecting")][-1:]
    assert last.split("7/7")[1].split() == ["1,523", "frames/s", "00:00", "2", "failed"]
    assert max(map(len, lines)) <= columns and "a line above" in lines and "warning: anna: odd" in lines
    shown = plain(text).rsplit("second fold", 1)
    assert "2/4" in shown[1] and "first fold" not in shown[1] and "Starting workers" not in shown[1]


def test_stage_is_shown_while_it_lasts(watch, plain):
    def work():
        with show_progress() as display:
            display.stage("Starting workers")
            display._progress.refresh()

    assert "Starting workers" in plain(watch(work))


def test_download_is_a_stage(watch, plain):
    logger = logging.getLogger("tclr.pipeline.faces.models")

    def work():
        with show_progress() as display:
            logger.info("Fetching face_landmarker.task: %d MB so far", 4)
            display._progress.refresh()

    assert "Fetching face_landmarker.task: 4 MB so far" in plain(watch(work))
    assert logger.level == logging.NOTSET and logger.handlers == []


def test_no_color_leaves_no_colours(watch, monkeypatch):
    assert "\x1b[3" in watch(three_stages)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not any(f"\x1b[{code}" in watch(three_stages) for code in ("3", "9", "38", "1;3"))


def test_pipe_gets_no_control_character(watch, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as CI sets it
    assert watch(three_stages, columns=None) == "warning: anna: odd\n"


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("RANK", "1")])
def test_no_progress_on_a_dumb_terminal_or_in_a_second_process(watch, monkeypatch, variable, value):
    def work():
        monkeypatch.setenv(variable, value)
        with progress_bar("Embedding", "frames") as update:
            update(1, 2)

    assert watch(work) == ""


def test_synth_shows_progress_on_a_terminal_but_not_if_quiet(watch, plain, tmp_path, capfd):
    def synth(*flags):
        out = tmp_path / f"clips{len(list(tmp_path.iterdir()))}"
        args = ["synth", str(out), "--subjects", "1", "--tasks", "1", "--frames", "10", "--size", "160"]
        cli.main([*args, *flags], standalone_mode=False, obj=Output())

    assert "10/10" in plain(watch(synth))
    capfd.readouterr()
    assert watch(lambda: synth("--quiet")) == "" and capfd.readouterr().out == ""
    assert watch(lambda: synth("--verbose"), columns=None) == ""
    assert "\x1b" not in capfd.readouterr().out
    assert "10/10" in plain(watch(lambda: synth("--json")))  # the document is for a script, the progress for a person


def test_rates_have_two_digits_where_they_are_small():
    rates = [None, 0, 0.2345, 9.87, 1523.4]
    assert [format_rate(rate, "x") for rate in rates] == ["", "", "0.23 x/s", "9.9 x/s", "1,523 x/s"]
