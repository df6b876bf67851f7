"""Commands at a tiny size, with --json: their documents have the keys that docs/command-line.md tells, and progress."""

import json
import re
from pathlib import Path

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest

from tclr.cli.main import COMMANDS, run
from tclr.pipeline.au import fitting as fit_au
from tclr.pipeline.au.head import AuScore
from tclr.pipeline.evaluation import ablation
from tclr.pipeline.features import list_files
from tclr.pipeline.pretraining import run as pretrain
from tclr.pipeline.store import Store, write_manifest
from tclr.pipeline.store.checksums import seal_clip
from tclr.pipeline.system import read_metadata
from tclr.pipeline.tools.bench.alignment import AlignmentRow
from tclr.pipeline.tools.bench.rows import BenchRow
from tclr.pipeline.tools.synth import clips as synth
from tclr.pipeline.views.overlay import video as overlay

pytestmark = pytest.mark.usefixtures("one_thread")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/command-line.md"
FOLDS = "subject,fold\nF001,1\nF002,2\nF003,2\n"
EVERY = {"command", "seconds", "warnings", "failures"}


def documented_keys(row):
    """Return the keys that the table of the document gives for a command; those in brackets are of inner objects."""
    (cells,) = re.findall(rf"^\| `{re.escape(row)}` \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    return set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)|: .*", "", cells)))


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_store):
    return make_store(tmp_path_factory.mktemp("documents") / "store", n_subjects=3, n_frames=30)


@pytest.fixture
def told(capfd):
    """Return a function that runs a command with --json and returns its exit status and document."""

    def tell(*args):
        status = run([*map(str, args), "--json"])
        return status, json.loads(capfd.readouterr().out)

    return tell


@pytest.fixture
def instant(monkeypatch):
    """Training that is over at once; what it would have told is made up."""

    def fit(store, encoder, out, config, *, network, labels, neutral, progress, fit_progress):
        progress(90, 90)
        fit_progress(4, 4)
        score = AuScore("AU01", 90, base_rate=0.5, threshold=0.4, f1=0.6, f1_all_positive=0.5, roc_auc=0.7)
        return fit_au.FitResult(out, [score], {"AU12": "it is never present"}, 3, 2, None)

    def train(store, run, config, *, progress, **options):
        progress(10, 10)
        line = {"epoch": 1, "train_loss": 0.1}
        return pretrain.PretrainResult(run, run / "encoder.safetensors", [line], 0, 0, ["F001", "F002", "F003"], [], 40)

    def ablate(store, probe, out, names, seeds, common, *, init, classes, progress):
        for name in names:
            progress(f"{name}, seed 0", 5, 5)
            yield ablation.AblationResult(name, 0, 0.5, 0.6, {"AU01": 0.5}, None, 40)

    def draw(video, out, config, *, store, features, clip, progress):
        progress(2, 2)
        return overlay.OverlayResult(["anna/a", "anna/a#2"], ["anna/a#2"], 2)

    def write(out, *, progress=None, **settings):
        if progress:
            progress(10, 10)
        return synth.SynthResult(out, 1, 1, 10, 10)

    row = BenchRow("preprocess", "decoding", (0.5,))
    monkeypatch.setattr("tclr.pipeline.au.fit_au", fit)
    monkeypatch.setattr("tclr.pipeline.pretraining.pretrain", train)
    monkeypatch.setattr("tclr.pipeline.evaluation.run_ablation", ablate)
    monkeypatch.setattr("tclr.pipeline.views.overlay.overlay", draw)
    monkeypatch.setattr("tclr.pipeline.tools.synth.write_demo", write)
    monkeypatch.setattr(
        "tclr.pipeline.tools.bench.run_groups", lambda names, source, scratch, runs, tell: iter([[row]])
    )
    monkeypatch.setattr(
        "tclr.pipeline.tools.bench.check_alignment", lambda smoothings_s: [AlignmentRow(0.1, 0.2, 0.3, 4.0)]
    )


def test_every_command_has_a_row():
    rows = re.findall(r"^\| `([a-z-]+)[^`]*` \| `?\w", DOCUMENT.read_text(), re.MULTILINE)
    assert set(COMMANDS) <= set(rows)


@pytest.mark.parametrize(
    ("row", "args"),
    [
        ("inspect", ["inspect", "{store}"]),
        ("inspect --verify", ["inspect", "{store}", "--verify"]),
        ("datasets", ["datasets"]),
        ("completion", ["completion", "zsh"]),
        ("embed", ["embed", "{store}", "{out}", "--embedding", "none"]),
        ("fit-au", ["fit-au", "{store}", "--encoder", "random", "-o", "{out}/au.safetensors"]),
        ("report", ["report", "{store}", "-o", "{out}/r.html"]),
        ("pretrain", ["pretrain", "{store}", "{out}"]),
        ("ablate", ["ablate", "{store}", "{store}", "{out}", "--variants", "paper,tclr"]),
        ("overlay", ["overlay", "a.mp4", "-o", "{out}/o.mp4"]),
        ("synth", ["synth", "{out}/clips"]),
        ("bench", ["bench", "--runs", "1"]),
        ("bench --alignment", ["bench", "--alignment"]),
    ],
)
@pytest.mark.usefixtures("instant")
def test_document_has_the_keys_that_are_documented(told, store, tmp_path, row, args):
    status, document = told(*(arg.format(store=store, out=tmp_path) for arg in args))
    assert status == 0 and document["command"] == row.split()[0] and document["seconds"] >= 0  # in ms
    assert set(document) - EVERY == documented_keys(row)
    assert "error" not in document and document["failures"] == []


def test_datasets_tells_what_a_folder_holds(told, tmp_path):
    (tmp_path / "anna").mkdir()
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"anna/{number}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/nobody.csv").write_text("frame,AU01\n0,1\n")
    _, document = told("datasets", tmp_path)
    assert set(document) - EVERY == documented_keys("datasets SOURCE")
    assert (document["dataset"], document["n_subjects"], document["n_labelled"]) == ("folder", 1, 0)
    assert ["nobody.csv" in warning["reason"] for warning in document["warnings"]] == [True]


def test_evaluate_tells_what_it_would_write(told, store, tmp_path):
    scores = tmp_path / "scores.json"
    (tmp_path / "folds.csv").write_text(FOLDS)
    args = ["evaluate", store, "--protocol", tmp_path / "folds.csv", "--encoder", "random", "--methods", "all-positive"]
    status, document = told(*args, "--resamples", "5", "--scores", scores)
    written = json.loads(scores.read_text())
    assert status == 0 and {name: document[name] for name in document if name not in EVERY} == written


def test_numbers_are_those_of_the_store(told, store, tmp_path):
    status, document = told("inspect", store)
    with Store(store) as opened:
        assert document["n_frames"] == sum(info.n_frames for info in opened.clips) == 90
    _, embedded = told("embed", store, tmp_path / "features", "--embedding", "none")
    assert (embedded["n_rows"], embedded["n_clips"], embedded["n_skipped"]) == (90, 3, 0)
    _, again = told("embed", store, tmp_path / "features", "--embedding", "none")
    assert again["n_skipped"] == 3


@pytest.mark.usefixtures("instant")
def test_au_that_is_left_out_is_a_warning(told, store, tmp_path):
    _, document = told("fit-au", store, "--encoder", "random", "-o", tmp_path / "au.safetensors")
    reason = "left out: it is never present in the labels"
    assert document["warnings"] == [{"name": "AU12", "reason": reason}] and document["scores"][0]["f1"] == 0.6


def test_damaged_file_is_a_failure(told, make_store, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=1, n_frames=10)
    (path,) = (store / "subjects").iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    status, document = told("inspect", store, "--verify")
    assert status == 1 and [failure["name"] for failure in document["failures"]] == ["F001"]
    assert document["files"][0]["path"] == str(path) and list(document["files"][0]["damage"]) == [""]


@pytest.mark.parametrize(
    ("args", "stage"),
    [
        (["inspect", "{store}"], "Reading"),
        (["inspect", "{store}", "--verify"], "Verifying"),
        (["report", "{store}", "-o", "{out}/r.html"], "Report"),
        (["embed", "{store}", "{out}/f", "--embedding", "none"], "Embedding"),
        (["fit-au", "{store}", "--encoder", "random", "-o", "{out}/au.safetensors"], "Fitting"),
        (["pretrain", "{store}", "{out}"], "Pretraining"),
        (["ablate", "{store}", "{store}", "{out}", "--variants", "paper,tclr"], "tclr, seed 0"),
        (["overlay", "a.mp4", "-o", "{out}/o.mp4"], "Overlay"),
        (["synth", "{out}/clips"], "Writing demo clips"),
        (
            [
                "evaluate",
                "{store}",
                "--protocol",
                "{out}/folds.csv",
                "--encoder",
                "random",
                "--methods",
                "all-positive",
            ],
            "Evaluating",
        ),
    ],
)
@pytest.mark.usefixtures("instant")
def test_long_commands_show_progress_on_a_terminal_alone(watch, plain, store, tmp_path, args, stage):
    (tmp_path / "folds.csv").write_text(FOLDS)
    given = [arg.format(store=store, out=tmp_path) for arg in args]
    text = plain(watch(lambda: run(given)))
    shown = re.findall(rf"^  {stage} .*?(\d+)/(\d+) ", text, re.MULTILINE)
    assert shown and shown[-1][0] == shown[-1][1] != "0"


def test_inspect_counts_labels_in_natural_order(told, make_store, tmp_path, capfd):
    store = make_store(tmp_path / "store", n_subjects=1, n_clips=11, n_frames=2)
    assert run(["inspect", str(store)]) == 0
    shown = capfd.readouterr().out
    assert "AU labels" in shown and shown.index(" T2 ") < shown.index(" T10 ")
    assert [clip["clip"] for clip in told("inspect", store)[1]["clips"]] == [f"T{i + 1}" for i in range(11)]


def test_the_start_of_a_video_after_its_sound_is_shown_where_there_is_one(told, make_store, tmp_path, capfd):
    store = make_store(tmp_path / "store", n_subjects=2, n_frames=8)
    assert run(["inspect", str(store)]) == 0 and "┃ start ┃" not in capfd.readouterr().out
    with h5py.File(store / "subjects" / "F002.h5", "r+") as file:
        file["clips/T1"].attrs["start_s"] = 0.4
        seal_clip(file["clips/T1"])
    assert run(["inspect", str(store)]) == 0
    shown = capfd.readouterr().out
    assert "┃ start ┃" in shown and "0.400" in shown
    _, document = told("inspect", store)
    assert [clip["start_s"] for clip in document["clips"]] == [0, 0.4]
    told("embed", store, tmp_path / "features", "--embedding", "none")
    starts = [read_metadata(file).get("start_s") for _, file in list_files(tmp_path / "features")]
    assert starts == [None, 0.4]
    with Store(store) as opened:
        write_manifest(store, opened.clips)
    assert pd.read_parquet(store / "manifest.parquet")["start_s"].tolist() == [0, 0.4]
