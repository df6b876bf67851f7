"""The commands fit-au and embed, through click, on a small store."""

import json
import re

import click
import pandas as pd
import pytest
from click.testing import CliRunner

from tclr.cli.main import cli
from tclr.cli.output import can_ask
from tclr.pipeline.au import BOX, MAPPING_VERSION, load_head
from tclr.pipeline.encoder import EncoderInfo, build_encoder, load_encoder, save_encoder
from tclr.pipeline.system import read_metadata
from tclr.schemas.errors import InputError, ModelError, OutputError, ReplacementError, SettingError, StoreError


@pytest.fixture(scope="module")
def work(make_store, tmp_path_factory):
    """A folder with a labelled store, an encoder, another encoder and a head made by the command."""
    folder = tmp_path_factory.mktemp("work")
    make_store(folder / "store", n_subjects=3, n_frames=20, no_face=(2,))
    for seed, name in enumerate(("encoder", "other")):
        info = EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=1.0)
        save_encoder(folder / f"{name}.safetensors", build_encoder(8, seed), info)
    fitted = run(
        "fit-au", folder / "store", "--encoder", folder / "encoder.safetensors", "-o", folder / "au.safetensors"
    )
    (folder / "fit.txt").write_text(fitted.output)
    return folder


def run(*arguments):
    """Run a command; errors come through."""
    result = CliRunner().invoke(
        cli, [str(argument) for argument in arguments], catch_exceptions=False, standalone_mode=False
    )
    if result.exception is not None:
        raise result.exception
    return result


def test_fit_au_prints_a_row_an_au_with_honest_columns(work):
    text = (work / "fit.txt").read_text()
    assert "3 subjects, 3 subject-exclusive folds" in text
    for word in ("AU01", "Inner Brow Raiser", "AU12", "Lip Corner Puller", "F1 all positive", "ROC AUC", "mean"):
        assert word in text


def test_fit_au_names_the_next_command(work):
    assert f"--au-model {work / 'au.safetensors'}" in (work / "fit.txt").read_text().replace("\n", " ")


def test_fit_au_on_a_random_encoder_repeats_its_seed_in_the_next_command(work, tmp_path):
    arguments = ("--encoder", "random:mobilenet_v2", "--seed", 3, "-o", tmp_path / "au.safetensors")
    text = run("fit-au", work / "store", *arguments).output
    assert "--encoder random:mobilenet_v2 --seed 3" in text.replace("\n", " ")


def test_embed_with_a_head_writes_what_pandas_reads(work, tmp_path):
    encoder, head = work / "encoder.safetensors", work / "au.safetensors"
    result = run("embed", work / "store", tmp_path / "features", "--encoder", encoder, "--au-model", head)
    table = pd.read_parquet(tmp_path / "features")
    assert len(table) == 60 and {"AU01", "AU12_c", "emb_007"} <= set(table)
    assert f"60 rows, 3 clips (0 were done before), {len(table.columns)} columns" in result.output
    assert "the given head" in result.output and "pandas.read_parquet" in result.output


def test_embed_without_a_head_uses_blendshapes_and_settings(work, tmp_path):
    config = tmp_path / "tclr.toml"
    config.write_text("[embed]\nblendshapes = true\nbatch_size = 7\n")
    arguments = ("embed", work / "store", tmp_path / "features", "--encoder", work / "encoder.safetensors")
    result = run(*arguments, "--config", config)
    assert "blendshapes" in result.output
    assert "bs_jawOpen" in pd.read_parquet(tmp_path / "features")
    assert "3 were done before" in run(*arguments, "--blendshapes").output
    metadata = read_metadata(tmp_path / "features" / "subject=F001" / "T1.parquet")
    assert metadata["au_source"] == f"blendshapes:v{MAPPING_VERSION}" and metadata["settings"]["blendshapes"] is True


def test_embed_random_gives_a_baseline_of_256_numbers(make_store, tmp_path):
    make_store(tmp_path / "store", n_subjects=1, n_frames=2)
    run("embed", tmp_path / "store", tmp_path / "features", "--encoder", "random")
    assert "emb_255" in pd.read_parquet(tmp_path / "features")


def test_embed_refuses_a_head_of_another_encoder(work, tmp_path):
    other, head = work / "other.safetensors", work / "au.safetensors"
    with pytest.raises(ModelError, match="fitted on"):
        run("embed", work / "store", tmp_path / "features", "--encoder", other, "--au-model", head)


def test_fit_au_without_labels_points_to_embed(make_store, work, tmp_path):
    make_store(tmp_path / "store", n_subjects=1, n_frames=4, au_names=())
    with pytest.raises(InputError, match="tclr embed"):
        run("fit-au", tmp_path / "store", "--encoder", work / "encoder.safetensors", "-o", tmp_path / "au.safetensors")


@pytest.mark.parametrize("command", ["fit-au", "embed"])
def test_a_missing_encoder_or_store_is_named(work, tmp_path, command):
    out = ["-o", tmp_path / "au"] if command == "fit-au" else [tmp_path / "features"]
    with pytest.raises(ModelError, match=r"none\.safetensors"):
        run(command, work / "store", *out, "--encoder", tmp_path / "none.safetensors")
    with pytest.raises(StoreError, match="tclr preprocess"):
        run(command, tmp_path / "nothing", *out, "--encoder", work / "encoder.safetensors")


def test_a_setting_out_of_range_is_one_line(work, tmp_path):
    with pytest.raises(SettingError, match="folds"):
        run("fit-au", work / "store", "--encoder", "random", "-o", tmp_path / "au", "--folds", "1")


def test_smooth_has_a_short_flag_in_both_commands(work, tmp_path):
    encoder, head = work / "encoder.safetensors", tmp_path / "au.safetensors"
    options = ("--head", "mlp", "--epochs", 2, "--smooth", 0.1)
    fitted = run("fit-au", work / "store", "--encoder", encoder, "-o", head, *options)
    assert "3 subjects, 3 subject-exclusive folds" in fitted.output and load_head(head).smooth_s == 0.1
    out = tmp_path / "features"
    run("embed", work / "store", out, "--encoder", encoder, "--au-model", head, "--smooth", 0.2, "--columns", "AU*")
    metadata = read_metadata(out / "subject=F001" / "T1.parquet")
    assert (metadata["au_smooth_s"], metadata["au_head"]["kind"], metadata["au_head"]["smooth_s"]) == (0.2, "mlp", 0.1)


def test_fine_tuning_says_who_is_held_out_and_names_its_own_file(work, make_store, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=3, n_frames=12, intensity=True)
    head = tmp_path / "au.safetensors"
    options = ("--head", "finetune", "--epochs", 1, "--batch-size", 8, "--folds", 3)
    text = run("fit-au", store, "--encoder", work / "encoder.safetensors", "-o", head, *options).output
    assert "3 subjects, 1 of them held out" in text and "ICC(3,1)" in text
    assert f"--encoder {head} --au-model {head}" in text.replace("\n", " ")
    run("embed", store, tmp_path / "features", "--encoder", head, "--au-model", head)
    assert {"AU01_r", "emb_007"} <= set(pd.read_parquet(tmp_path / "features"))


@pytest.mark.parametrize("command", ["fit-au", "embed"])
def test_help_has_an_example(command):
    text = run(command, "--help").output
    assert "Example:" in text and f"tclr {command} store/" in text


@pytest.fixture
def asked(work, tmp_path, monkeypatch):
    """Return a function that embeds with other columns into finished features, answering a question, if any."""
    arguments = ["embed", work / "store", tmp_path / "f", "--au-model", "blendshapes", "--embedding", "none"]
    run(*arguments)

    def answer(text, *options, can_ask=True):
        monkeypatch.setattr("tclr.cli.path.embed.can_ask", lambda: can_ask)
        whole = [str(argument) for argument in (*arguments, "--columns", "AU*", *options)]
        result = CliRunner().invoke(cli, whole, input=text, standalone_mode=False)
        return result, "pitch" not in pd.read_parquet(tmp_path / "f")

    return answer


def test_embed_asks_before_it_replaces_other_columns(asked):
    refused, replaced = asked("n\n")
    assert isinstance(refused.exception, OutputError) and "Nothing was replaced" in str(refused.exception)
    assert "3 of its files were made with all columns" in refused.stderr and "Replace them? [y/N]" in refused.stderr
    assert not replaced
    agreed, replaced = asked("y\n")
    assert agreed.exception is None and replaced
    again, _ = asked("")  # the same settings: nothing to ask
    assert again.exception is None and "3 were done before" in again.stdout and "Replace" not in again.stderr


@pytest.mark.parametrize("option", ["--replace", "--yes"])
def test_embed_does_not_ask_where_nobody_is_there_or_all_was_said(asked, option):
    refused, replaced = asked("y\n", can_ask=False)
    assert isinstance(refused.exception, ReplacementError) and "--replace" in str(refused.exception) and not replaced
    agreed, replaced = asked("", option, can_ask=False)
    assert agreed.exception is None and replaced


def test_a_pipe_is_nobody_to_ask():
    assert not can_ask()


def test_the_bundled_encoder_has_a_name_in_every_command(make_store, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=3, n_frames=12, size=64)
    run("embed", store, tmp_path / "f", "--encoder", "box", "--au-model", "blendshapes")
    metadata = read_metadata(tmp_path / "f" / "subject=F001" / "T1.parquet")
    assert metadata["encoder"]["digest"] == load_encoder(BOX).digest
    (tmp_path / "folds.csv").write_text("subject,fold\nF001,1\nF002,2\nF003,3\n")
    arguments = ("--protocol", tmp_path / "folds.csv", "--methods", "encoder", "--resamples", 0)
    run("evaluate", store, *arguments, "--encoder", "box", "--scores", tmp_path / "scores.json")
    scored = json.loads((tmp_path / "scores.json").read_text())
    assert metadata["encoder"]["digest"] in json.dumps(scored)
    with pytest.raises(ModelError, match="--arch facemesh"):
        run("pretrain", store, tmp_path / "run", "--init", "box")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "{store}", "{out}", "--encoder", "bxo"], "Known names: box, face, random.*Did you mean 'box'"),
        (["embed", "{store}", "{out}", "--encoder", "random:resnet17"], "resnet18, resnet50.*Did you mean 'resnet18'"),
        (
            ["embed", "{store}", "{out}", "--au-model", "fase"],
            "auto, face, shape, box, blendshapes.*Did you mean 'face'",
        ),
        (["embed", "{store}", "{out}", "--encoder", "shape"], "'shape' reads no pictures.*Known names: box, face"),
        (["fit-au", "{store}", "-o", "{out}", "--encoder", "boxx"], "Known names: box, .*Did you mean 'box'"),
        (["pretrain", "{store}", "{out}", "--init", "facemseh"], "box, face, facemesh, .*Did you mean 'facemesh'"),
        (["pretrain", "{store}", "{out}", "--arch", "resnet8"], "'resnet18', 'resnet50'.*Did you mean 'resnet18'"),
        (["pretrain", "{store}", "{out}", "--recipe", "papre"], "'tclr', 'paper'.*Did you mean 'paper'"),
        (["preprocess", "{store}", "{out}", "--template", "arcfaec"], "'tclr', 'arcface'.*Did you mean 'arcface'"),
        (["preprocess", "{store}", "{out}", "--dataset", "bpd4"], "auto, bp4d, disfa.*Did you mean 'bp4d'"),
        (["evaluate", "{store}", "--protocol", "bp4d-3fols", "--encoder", "box"], "Did you mean 'bp4d-3fold'"),
        (["evaluat"], "Known commands: .*evaluate.*Did you mean 'evaluate'"),
    ],
)
def test_a_wrong_name_lists_the_right_ones(work, tmp_path, arguments, message):
    places = {"store": work / "store", "out": tmp_path / "out"}
    with pytest.raises((ModelError, SettingError, click.ClickException)) as caught:
        run(*(argument.format(**places) for argument in arguments))
    said = caught.value
    assert re.search(message, said.format_message() if isinstance(said, click.ClickException) else str(said))
