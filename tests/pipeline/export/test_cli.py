"""The commands fit-au and embed, through click, on a small store."""

import pandas as pd
import pytest
from click.testing import CliRunner

from tclr.cli.main import cli
from tclr.pipeline.au import MAPPING_VERSION, load_head
from tclr.pipeline.encoder import EncoderInfo, build_encoder, save_encoder
from tclr.pipeline.system import read_metadata
from tclr.schemas.errors import InputError, ModelError, SettingError, StoreError


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
