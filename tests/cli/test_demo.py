"""``tclr demo``: both acts on tiny clips, and what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pandas as pd
import pytest

from tclr.cli import demo
from tclr.cli.main import run
from tclr.pipeline.pretraining import Measure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "demo out"


@pytest.fixture
def tiny(monkeypatch):
    """The first act with half of the frames."""
    steps = demo.demo_steps

    def fewer(out):
        return [[*step, "--size", "320"] if step[0] == "synth" else step for step in steps(out)]

    monkeypatch.setattr(demo, "demo_steps", fewer)


def test_the_first_act_shows_aus_that_follow_their_labels(tiny, out, capfd, monkeypatch):
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    assert run(["demo", str(out)]) == 0
    shown = capfd.readouterr().out
    assert f"$ tclr synth '{out}/clips' --subjects 2" in shown and "AU12  AU15  AU25" in shown
    assert "s of processor time." in shown and f"tclr demo '{out}' --train" in shown
    assert cv2.imread(str(out / "demo.png")).std() > 20 and (out / "report.html").is_file()
    df = pd.read_parquet(out / "features")
    assert df[list(demo.SHOWN_AUS)].notna().all(axis=None)  # the judge of visibility hides none of them
    shares = {au: df.groupby(f"{au}_true")[f"{au}_c"].mean() for au in demo.SHOWN_AUS}
    for au in ("AU12", "AU25", "AU45"):
        assert shares[au][1] > 0.6 and shares[au][0] < 0.2, (au, shares[au])


def test_the_first_act_again_does_nothing_again(tiny, out, capfd):
    before = {path: path.stat().st_mtime_ns for path in (out / "store/subjects").iterdir()}
    assert run(["demo", str(out), "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert [step["command"] for step in document["steps"]] == ["synth", "preprocess", "embed", "report"]
    assert document["picture"] == str(out / "demo.png") and document["features"] == str(out / "features")
    assert {path: path.stat().st_mtime_ns for path in (out / "store/subjects").iterdir()} == before


def method(name, f1, roc_auc):
    return {"method": name, "scores": {"f1": {"folds": {"mean": [f1]}}, "roc_auc": {"folds": {"mean": [roc_auc]}}}}


def evaluated(*methods):
    return {"average": "folds", "methods": [*methods, *OTHERS]}


OTHERS = [method("random", 0.3, 0.7), method("landmarks", 0.6, 0.99)]


def test_training_that_wins_and_training_that_does_not_are_told_apart():
    won = [Measure("AU probe, ROC AUC", 0.8, 0.7, "above the start", "better than its start")]
    text = demo.worth_of_training(won, evaluated(method("encoder", 0.5, 0.8)))
    assert "ROC AUC 0.800" in text and "0.700" in text and demo.WON in text
    level = [Measure("AU probe, ROC AUC", 0.7, 0.705, "above the start", "no better than its start")]
    text = demo.worth_of_training(level, evaluated(method("encoder", 0.5, 0.8)))
    assert demo.ONLY_ITS_START in text and demo.WON not in text and "no better than its start" in text
    assert demo.LOST in demo.worth_of_training(won, evaluated(method("encoder", 0.2, 0.6)))


def test_the_second_act_is_told_from_the_results_of_its_commands(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(demo, "training_steps", lambda out: [])
    results = {
        "pretrain": {"quality": [Measure("AU probe, ROC AUC", 0.8, 0.7, "above the start", "better than its start")]},
        "evaluate": evaluated(method("encoder", 0.5, 0.8)),
    }
    monkeypatch.setattr(demo, "run_steps", lambda commands: ([], results, False))
    assert run(["demo", str(tmp_path), "--train"]) == 0
    shown = capfd.readouterr().out
    assert demo.WON in shown and "part 2" not in shown


def test_activation_is_named_where_the_shell_lacks_it(monkeypatch, tmp_path):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.chdir(tmp_path)
    assert demo.activation_line() == ". .venv/bin/activate"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert demo.activation_line() == f". {tmp_path}/.venv/bin/activate"
    monkeypatch.setenv("VIRTUAL_ENV", "something")
    assert demo.activation_line() == ""


def test_columns_stay_aligned(tmp_path):
    code = "from tclr.cli.output import say; say('a   b\\n  c\\x1b[1m')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout == "a   b\n  c\\x1b[1m\n"
