import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open

from tclr.cli.main import cli
from tclr.pipeline.store import ClipLayout, assemble_subject, root_attrs, write_part
from tclr.schemas.config import AlignConfig, DetectConfig
from tclr.schemas.errors import TclrError
from tclr.schemas.store import CLIP_FIELDS, RecordingAttrs

SMALL = ("--recipe", "paper", "--image-size", "32", "--n-following", "3", "--embedding-dim", "8", "--epochs", "1")
N_FRAMES = 8


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run_tclr(*args):
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def error_of(result):
    """The expected error that ``main`` shows as one line (tests/cli/test_main.py)."""
    assert isinstance(result.exception, TclrError)
    return str(result.exception)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two subjects of one clip, 8 frames of 32 pixels that grow brighter."""
    path = tmp_path_factory.mktemp("cli") / "store"
    detect, align = DetectConfig(), AlignConfig(size=32)
    layout = ClipLayout(align, 68)
    block = {
        name: np.full((N_FRAMES, *shape), 0.5 if CLIP_FIELDS[name].missing is not None else 0, CLIP_FIELDS[name].dtype)
        for name, shape in layout.shapes().items()
    }
    block["source_frame"], block["timestamp"] = np.arange(N_FRAMES), np.arange(N_FRAMES) / 25
    block["frames"] = np.tile(np.arange(40, 40 + 20 * N_FRAMES, 20, np.uint8)[:, None, None, None], (1, 32, 32, 3))
    media = {"source": "a", "source_sha256": "a", "source_fingerprint": "a", "fps": 25.0, "width": 64, "height": 64}
    for subject in ("S1", "S2"):
        attrs = root_attrs("folder", subject, detect, align, "0")
        part = path / "parts" / f"{subject}.h5"
        with write_part(part, attrs) as file:
            writer = file.add_clip("clip", layout)
            writer.append(block)
            made = {"detector": "none", "warning": "", "source_clip": "clip", "n_people": 1, "reduction": 1}
            writer.finish(RecordingAttrs(**media, **made))
        assemble_subject(path / "subjects" / f"{subject}.h5", {"clip": (part,)}, attrs)
    return path


def test_pretrain_writes_a_run_and_prints_its_scores_and_the_next_command(store, tmp_path):
    run = tmp_path / "run"
    first = run_tclr("pretrain", store, run, *SMALL)
    assert (first.exit_code, first.stderr) == (0, "")
    line = json.loads((run / "log.jsonl").read_text())
    assert f"Epoch 1: training loss {line['train_loss']:.4f}; 1 held-out subject: loss" in first.stdout
    assert f"ranking accuracy {line['val_accuracy']:.3f} (chance 0.5)" in first.stdout
    assert f"Encoder: {run}/encoder.safetensors" in first.stdout
    kept = json.loads((run / "quality.json").read_text())["measures"]
    assert [measure["name"] for measure in kept] == ["ranking accuracy", "spread", "effective rank"]  # no labels
    assert "Is it any good?" in first.stdout and all(measure["verdict"] in first.stdout for measure in kept)
    assert f"tclr fit-au {store} --encoder {run} -o au.safetensors" in first.stdout
    assert f"tclr embed {store} features/ --encoder {run}" in first.stdout
    with safe_open(run / "encoder.safetensors", framework="np") as file:
        assert file.get_tensor("fc1.weight").shape == (8, 512)
        assert json.loads(file.metadata()["info"])["image_size"] == 32


def test_the_same_command_resumes_and_reports_it(store, tmp_path):
    assert run_tclr("pretrain", store, tmp_path, *SMALL).exit_code == 0
    again = run_tclr("pretrain", store, tmp_path, *SMALL)
    assert again.exit_code == 0 and "Nothing to do: " in again.stdout and "Raise --epochs" in again.stdout
    more = run_tclr("pretrain", store, tmp_path, *SMALL, "--epochs", "2")
    assert more.exit_code == 0 and "Resumed after epoch 1." in more.stdout and "Epoch 2:" in more.stdout
    changed = run_tclr("pretrain", store, tmp_path, *SMALL, "--epochs", "2", "--margin", "0.5")
    assert "setting 'margin' was 0.03 and is now 0.5" in error_of(changed)
    afresh = run_tclr("pretrain", store, tmp_path, *SMALL, "--margin", "0.5", "--no-resume")
    assert afresh.exit_code == 0 and "Resumed" not in afresh.stdout
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def test_no_held_out_subject_is_reported(store, tmp_path):
    result = run_tclr("pretrain", store, tmp_path, *SMALL, "--val-share", "0")
    assert result.exit_code == 0 and "no subject held out\n" in result.stdout and "accuracy" not in result.stdout


def test_error_for_short_clips_names_the_needed_length(store, tmp_path):
    message = error_of(run_tclr("pretrain", store, tmp_path, *SMALL, "--spacing", "4"))
    assert "Expected clips with 14 frames with a face in a row, but the longest run of S" in message
    assert "has 8. Lower --spacing" in message


def test_initial_weights_that_are_absent_are_named(store, tmp_path):
    message = error_of(run_tclr("pretrain", store, tmp_path, *SMALL, "--init", tmp_path / "absent.pth"))
    assert str(tmp_path / "absent.pth") in message and "no file or run folder is there" in message


def test_run_of_another_architecture_is_embedded(store, tmp_path):
    assert run_tclr("pretrain", store, tmp_path / "run", *SMALL, "--arch", "mobilenet_v2").exit_code == 0
    result = run_tclr("embed", store, tmp_path / "features", "--encoder", tmp_path / "run")
    assert (result.exit_code, len(list((tmp_path / "features").rglob("*.parquet")))) == (0, 2)


def test_architectures_are_listed_and_others_refused(store, tmp_path):
    assert "[resnet18|resnet50|densenet121|mobilenet_v2|facemesh]" in run_tclr("pretrain", "--help").output
    refused = run_tclr("pretrain", store, tmp_path, *SMALL, "--arch", "vgg16")
    assert refused.exit_code == 2 and "'vgg16' is not one of" in refused.output


def test_settings_of_a_long_run_are_options(store, tmp_path):
    flags = ["--optimizer", "adamw", "--schedule", "cosine", "--warmup-epochs", "0.5"]
    flags += ["--grad-clip", "1", "--precision", "bf16", "--batch-size", "4", "--accumulate", "2", "--no-compile"]
    result = run_tclr("pretrain", store, tmp_path, *SMALL, *flags, "--checkpoint-every-s", "0")
    assert result.exit_code == 0 and f"Distance over time: {tmp_path}/distance.png" in result.stdout
    kept = json.loads((tmp_path / "config.json").read_text())
    assert (kept["schedule"], kept["accumulate"], kept["precision"]) == ("cosine", 2, "bf16")


def test_micro_batches_that_do_not_divide_a_step_are_one_error(store, tmp_path):
    message = error_of(run_tclr("pretrain", store, tmp_path, *SMALL, "--accumulate", "5"))
    assert "batch_size divisible by processes x micro-batches (1 x 5), but got 48" in message


def test_collapse_is_a_warning_on_standard_error(store, tmp_path, monkeypatch):
    monkeypatch.setattr("tclr.pipeline.pretraining.run.COLLAPSE_STD", 2.0)
    result = run_tclr("pretrain", store, tmp_path, *SMALL)
    assert result.exit_code == 0 and result.stderr.startswith("warning: the embeddings have nearly collapsed to one")
    assert result.stderr.count("warning") == 1


def test_help_shows_the_defaults_of_both_recipes_and_a_run_follows_its_own(store, tmp_path):
    text = " ".join(run_tclr("pretrain", "--help").output.split())
    assert "[default: adamw; paper: sgd]" in text and "[default: 48]" in text
    result = run_tclr("pretrain", store, tmp_path, *SMALL)
    assert result.exit_code == 0
    with safe_open(tmp_path / "encoder.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["info"])["recipe"] == "paper"
    kept = json.loads((tmp_path / "config.json").read_text())
    assert (kept["optimizer"], kept["direction"], kept["geometry_weight"]) == ("sgd", "forward", 0)
