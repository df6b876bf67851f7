"""Where AUs and embeddings come from: the bundled network, heads that read blendshapes, a person's own zero."""

import json
import subprocess
import sys
from functools import partial

import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.special import expit

from tclr.cli.main import cli
from tclr.pipeline.au import (
    BOX,
    FACE,
    Prediction,
    blendshape_rows,
    centre,
    collect_frames,
    fit_au,
    load_head,
    resting_level,
)
from tclr.pipeline.au.learning.frozen import fit_linear
from tclr.pipeline.encoder import EncoderInfo, PrecisionChoice, TorchEncoder, build_encoder, load_encoder
from tclr.pipeline.export import embed, rest
from tclr.pipeline.export.au_source import resolve_au_model
from tclr.pipeline.features import load
from tclr.pipeline.store import Store
from tclr.pipeline.system import read_metadata
from tclr.schemas.action_units import au_column
from tclr.schemas.config import EmbedConfig, FitAuConfig
from tclr.schemas.errors import InputError, ModelError, ReplacementError, SettingError, StoreError

pytestmark = pytest.mark.usefixtures("one_thread")
keep_guesses = partial(EmbedConfig, hidden="keep")
"""Settings of an export: painted squares are no faces, of which something could be hidden."""
INFO = EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=1.0)
PREDICTED = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 22, 23, 24, 25, 26, 28, 43)
AUS = [au_column(number) for number in PREDICTED]


@pytest.fixture(scope="module")
def encoder():
    return TorchEncoder(build_encoder(8, 0), INFO)


@pytest.fixture(scope="module")
def store(make_store, tmp_path_factory):
    """Two subjects with two clips of 6 frames; frame 2 has no face."""
    return make_store(tmp_path_factory.mktemp("store"), n_subjects=2, n_clips=2, n_frames=6, no_face=(2,))


@pytest.fixture(scope="module")
def exported(store, tmp_path_factory):
    """The store's features by the command without a model, and what it printed."""
    features = tmp_path_factory.mktemp("out") / "features"
    arguments = ["embed", str(store), str(features), "--hidden", "keep"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return features, result.output


def recut(store, **settings):
    """Have a store say that its crops were cut otherwise."""
    for path in (store / "subjects").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            align = json.loads(file.attrs["align_config"]) | settings
            file.attrs["align_config"] = json.dumps(align)


# ---- the bundled network


def test_embed_without_options_uses_the_bundled_network_where_landmarks_are_others(store, exported):
    features, output = exported
    table = load(features).dropna(subset="score")
    assert "network alone" in output and len(table) == 20
    assert [name for name in table if len(name) == 4 and name.startswith("AU")] == [*AUS, "AU45"]
    with Store(store) as opened:
        crops = np.concatenate([opened.read_crops(info, 0, 6)[opened.face_mask(info)] for info in opened.clips])
    embedding = load_encoder(BOX).embed(crops)
    np.testing.assert_allclose(table.filter(like="emb_"), embedding, atol=1e-5)
    head = load_head(BOX)
    logit = embedding.astype(np.float64) @ head.readout.weight.T + head.readout.bias
    np.testing.assert_allclose(table[AUS], expit(logit), atol=1e-4)
    metadata = read_metadata(features / "subject=F001" / "T1.parquet")
    assert metadata["au_source"] == f"box:{head.digest}" and metadata["encoder"]["supervised"] is True


def test_box_and_face_belong_together_and_are_small():
    box, face = load_head(BOX), load_head(FACE)
    box.check_encoder(load_encoder(BOX))
    face.check_encoder(load_encoder(BOX))
    assert list(box.au_names) == list(face.au_names) == AUS
    assert box.readout.has_intensity.all() and face.readout.has_intensity.all()
    assert (box.inputs, face.inputs, face.encoder) == ("embedding", "face", None)
    assert box.rest is not None and face.rest is not None
    assert BOX.stat().st_size < 3e6 and FACE.stat().st_size < 1e6


def test_models_are_in_the_wheel():
    """As an installed package finds them: beside the module."""
    code = "import tclr.pipeline.au.bundled as b; print(b.BOX.is_file() and b.FACE.is_file() and b.SIGHT.is_file())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"
    assert "tclr.pipeline.au.bundled = *.safetensors, NOTICE.txt" in (BOX.parents[3] / "setup.cfg").read_text()


@pytest.mark.parametrize("name", ["box", "blendshapes"])
def test_named_models_share_the_embedding_of_the_box(store, exported, tmp_path, name):
    result = embed(store, tmp_path, None, keep_guesses(), au_model=name)
    assert result.au_source.split(":")[0] == name
    table, expected = load(tmp_path), load(exported[0])
    pd.testing.assert_frame_equal(table.filter(like="emb_"), expected.filter(like="emb_"))
    assert ("AU09" in table) == ("AU14_r" in table) == (name != "blendshapes")


def test_auto_takes_what_the_store_allows(store, make_store, tmp_path):
    bare = make_store(tmp_path / "bare", n_subjects=1, n_frames=4, frames=False)
    other = make_store(tmp_path / "other", n_subjects=1, n_frames=4)
    recut(other, template="arcface")
    without = make_store(tmp_path / "without", n_subjects=1, n_frames=4)
    for path in (without / "subjects").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            del file["clips/T1/blendshapes"]
    for folder, has_encoder, expected in (
        (store, False, BOX),
        (store, True, None),
        (bare, False, None),
        (other, False, None),
        (without, False, BOX),
    ):
        with Store(folder) as opened:
            assert resolve_au_model(opened, "auto", has_encoder) == expected
    with Store(other) as opened, pytest.raises(StoreError, match="Expected crops of template tclr"):
        resolve_au_model(opened, "box", False)
    with Store(without) as opened, pytest.raises(StoreError, match="Give --au-model box"):
        resolve_au_model(opened, "face", False)
    with Store(store) as opened, pytest.raises(SettingError, match="Leave --encoder out"):
        resolve_au_model(opened, "box", True)


def test_a_store_that_the_box_cannot_read_still_asks_for_an_encoder(make_store, tmp_path):
    other = make_store(tmp_path / "store", n_subjects=1, n_frames=4)
    recut(other, margin=1.5)
    with pytest.raises(SettingError, match="Give --encoder"):
        embed(other, tmp_path / "features", None, keep_guesses())
    assert embed(other, tmp_path / "features", None, keep_guesses(embedding="none")).au_source.startswith("blendshapes")


# ---- the encoder's arithmetic


def test_auto_precision_is_measured_once_kept_by_the_next_run_and_told(store, encoder, tmp_path, monkeypatch):
    measured = []

    def choose(which, crops):
        measured.append(crops.shape)
        return PrecisionChoice("bf16", 1.7, 0.0009)

    monkeypatch.setattr("tclr.pipeline.export.plan.choose_precision", choose)
    auto, plain = keep_guesses(precision="auto"), keep_guesses()
    result = embed(store, tmp_path, encoder, auto)
    assert result.precision == PrecisionChoice("bf16", 1.7, 0.0009) and measured == [(5, 32, 32, 3)]
    table = load(tmp_path).dropna(subset="score")
    with Store(store) as opened:
        crops = np.concatenate([opened.read_crops(info, 0, 6)[opened.face_mask(info)] for info in opened.clips])
    np.testing.assert_array_equal(table.filter(like="emb_"), encoder.with_precision("bf16").embed(crops))
    assert read_metadata(tmp_path / "subject=F001" / "T1.parquet")["encoder"]["precision"] == "bf16"

    (tmp_path / "subject=F001" / "T1.parquet").unlink()
    again = embed(store, tmp_path, encoder, auto)
    assert (again.n_skipped, again.precision, len(measured)) == (3, None, 1)
    assert embed(store, tmp_path, encoder, keep_guesses(precision="bf16")).n_skipped == 4
    with pytest.raises(ReplacementError, match="made with precision bf16"):
        embed(store, tmp_path, encoder, plain)
    assert embed(store, tmp_path, encoder, plain, replace=True).n_skipped == 0
    assert "precision" not in read_metadata(tmp_path / "subject=F001" / "T1.parquet")["encoder"]
    arguments = ["embed", str(store), str(tmp_path / "b"), "--encoder", "random", "--precision", "auto"]
    said = CliRunner().invoke(cli, arguments, catch_exceptions=False).output
    assert "Encoder in bf16: bf16 was 1.7 times as fast" in said and "0.0009" in said


# ---- heads that read blendshapes


@pytest.fixture(scope="module")
def labelled(make_store, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("labelled"), n_subjects=4, n_frames=24, intensity=True, no_face=(3,))


def test_a_head_on_blendshapes_is_the_linear_head_on_them_and_needs_no_encoder(labelled, tmp_path):
    arguments = ["fit-au", str(labelled), "--inputs", "blendshapes", "-o", str(tmp_path / "au.safetensors")]
    fitted = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert "features/ --au-model" in fitted.output.replace("\n", "")
    with Store(labelled) as opened:
        frames = collect_frames(opened, blendshape_rows, 7)
    expected = fit_linear(frames, FitAuConfig()).predict(frames.inputs)
    embed(labelled, tmp_path / "features", None, keep_guesses(embedding="none"), au_model=tmp_path / "au.safetensors")
    table = load(tmp_path / "features").dropna(subset="score")
    np.testing.assert_allclose(table[["AU01", "AU12"]], expected.probability, atol=1e-5)
    np.testing.assert_allclose(table[["AU01_r", "AU12_r"]], expected.intensity, atol=1e-4)


def test_a_head_on_both_reads_embedding_then_blendshapes(labelled, encoder, tmp_path):
    fitted = fit_au(labelled, encoder, tmp_path / "au.safetensors", FitAuConfig(inputs="both"))
    head = load_head(fitted.path)
    assert head.inputs == "both" and head.readout.n_inputs == 8 + 52 and head.encoder_digest == encoder.digest
    with Store(labelled) as opened:
        shapes = collect_frames(opened, blendshape_rows, 50).inputs
    embed(labelled, tmp_path / "features", encoder, keep_guesses(), au_model=fitted.path)
    table = load(tmp_path / "features").dropna(subset="score")
    x = np.concatenate([table.filter(like="emb_").to_numpy(), shapes], axis=1)
    np.testing.assert_allclose(table[["AU01", "AU12"]], head.predict(x), atol=1e-5)
    with pytest.raises(SettingError, match="Give --encoder"):
        embed(labelled, tmp_path / "none", None, keep_guesses(embedding="none"), au_model=fitted.path)


def test_heads_that_cannot_have_what_they_read_are_refused(labelled, encoder, make_store, tmp_path):
    with pytest.raises(ValueError, match="head"):
        FitAuConfig(head="finetune", inputs="both")
    for config in (FitAuConfig(), FitAuConfig(inputs="both"), FitAuConfig(head="finetune")):
        with pytest.raises(SettingError, match="Give --encoder"):
            fit_au(labelled, None, tmp_path / "au.safetensors", config)
    without = make_store(tmp_path / "without", n_subjects=2, n_frames=12)
    for path in (without / "subjects").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            del file["clips/T1/blendshapes"]
    with pytest.raises(StoreError, match="Give --inputs embedding"):
        fit_au(without, encoder, tmp_path / "au.safetensors", FitAuConfig(inputs="both"))
    head = fit_au(labelled, None, tmp_path / "au.safetensors", FitAuConfig(inputs="blendshapes")).path
    result = embed(without, tmp_path / "features", encoder, keep_guesses(), au_model=head)
    assert len(result.failures) == 2 and "only landmarker and mediapipe give them" in result.failures[0].reason


# ---- centring


def test_centring_moves_a_clip_or_a_person_to_the_level_of_those_the_head_knows(
    labelled, encoder, make_store, tmp_path
):
    head = load_head(fit_au(labelled, encoder, tmp_path / "au.safetensors", FitAuConfig()).path)
    store = make_store(tmp_path / "store", n_subjects=1, n_clips=2, n_frames=9, no_face=(0,), seed=5)
    tables = {}
    for name in ("none", "clip", "subject"):
        embed(store, tmp_path / name, encoder, keep_guesses(centre=name), au_model=tmp_path / "au.safetensors")
        tables[name] = load(tmp_path / name).dropna(subset="score")
    raw = head.readout.predict(tables["none"].filter(like="emb_").to_numpy())
    clip = (tables["none"]["clip"] == "T1").to_numpy()

    def part(mask):
        return Prediction(raw.probability[mask], raw.intensity[mask])

    person = centre(raw, resting_level(raw), head.rest).probability
    np.testing.assert_allclose(tables["subject"][["AU01", "AU12"]], person, atol=1e-5)
    for mask in (clip, ~clip):
        expected = centre(part(mask), resting_level(part(mask)), head.rest).probability
        np.testing.assert_allclose(tables["clip"].loc[mask, ["AU01", "AU12"]], expected, atol=1e-5)
    assert not np.allclose(tables["clip"]["AU01"], tables["subject"]["AU01"], atol=1e-3)
    assert read_metadata(tmp_path / "clip" / "subject=F001" / "T1.parquet")["settings"]["centre"] == "clip"


def test_a_persons_level_comes_from_frames_spread_over_all_clips_and_is_found_once(
    labelled, encoder, make_store, tmp_path, monkeypatch
):
    fit_au(labelled, encoder, tmp_path / "au.safetensors", FitAuConfig())
    store = make_store(tmp_path / "store", n_subjects=1, n_clips=3, n_frames=10)
    seen = []
    predict_rows = rest.predict_rows
    monkeypatch.setattr(rest, "REST_FRAMES", 6)
    monkeypatch.setattr(
        rest,
        "predict_rows",
        lambda s, store, info, rows, e: seen.append(rows) or predict_rows(s, store, info, rows, e),
    )
    embed(store, tmp_path / "features", encoder, keep_guesses(centre="subject"), au_model=tmp_path / "au.safetensors")
    assert [rows.tolist() for rows in seen if len(rows) < 10] == [[0, 6], [2, 7], [3, 9]]


@pytest.mark.parametrize("without", [{"T1"}, {"T1", "T2"}])
def test_a_clip_without_a_face_has_a_person_whose_level_is_of_the_others(store, tmp_path, monkeypatch, without):
    face_mask = Store.face_mask
    monkeypatch.setattr(Store, "face_mask", lambda self, info: face_mask(self, info) & (info.clip not in without))
    result = embed(store, tmp_path, None, keep_guesses(centre="subject"), au_model="box")
    assert not result.failures
    table = load(tmp_path)
    assert table.groupby("clip", observed=True)["AU12"].count().to_dict() == {
        clip: 0 if clip in without else 10 for clip in ("T1", "T2")
    }


def test_centring_needs_a_head_that_knows_a_level(store, encoder, tmp_path):
    with pytest.raises(SettingError, match="--centre clip"):
        embed(store, tmp_path, encoder, keep_guesses(centre="clip"), au_model="blendshapes")


def test_given_neutral_frames_become_the_persons_zero(labelled, encoder, make_store, tmp_path):
    head = load_head(fit_au(labelled, encoder, tmp_path / "au.safetensors", FitAuConfig()).path)
    store = make_store(tmp_path / "store", n_subjects=2, n_clips=2, n_frames=9, seed=5)
    table = tmp_path / "neutral.csv"
    table.write_text("subject,clip,first,last\nF001,T1,2,4\nF001,T2,8,\n")
    for name, neutral in (("raw", None), ("moved", table)):
        embed(store, tmp_path / name, encoder, keep_guesses(), au_model=tmp_path / "au.safetensors", neutral=neutral)
    raw, moved = load(tmp_path / "raw"), load(tmp_path / "moved")
    person = (raw["subject"] == "F001").to_numpy()
    frame, clip = raw["frame"].to_numpy(), raw["clip"].to_numpy()
    zero = person & np.where(clip == "T1", (frame >= 2) & (frame <= 4), frame >= 8)
    said = head.readout.predict(raw.filter(like="emb_").to_numpy())
    own = resting_level(Prediction(said.probability[zero], said.intensity[zero]), 1.0)
    expected = centre(Prediction(said.probability[person], said.intensity[person]), own, head.rest)
    np.testing.assert_allclose(moved.loc[person, ["AU01", "AU12"]], expected.probability, atol=1e-5)
    pd.testing.assert_frame_equal(moved[~person], raw[~person])  # nobody said what the other is like at rest
    table.write_text("subject,clip,first,last\nF001,T1,,\n")
    head_file = tmp_path / "au.safetensors"
    again = embed(store, tmp_path / "moved", encoder, keep_guesses(), au_model=head_file, neutral=table, replace=True)
    assert again.n_skipped == 2  # those of the other person


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("person,clip\nF001,T1\n", "Expected the columns subject, clip, first, last"),
        ("subject,first\nF001,x\n", "whole numbers of frames, but got 'x' and '' in line 2"),
        ("subject\nF999\n", "subjects of the store in .*such as 'F001', but got 'F999'"),
        ("subject\n", "but got none"),
    ],
)
def test_tables_of_neutral_frames_are_checked(store, tmp_path, text, message):
    (tmp_path / "neutral.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        embed(store, tmp_path / "f", None, keep_guesses(), au_model="box", neutral=tmp_path / "neutral.csv")


def test_head_files_from_before_have_no_level_and_read_embeddings(labelled, encoder, tmp_path):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = fit_au(labelled, encoder, tmp_path / "au.safetensors", FitAuConfig()).path
    with safe_open(path, "numpy") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    info = json.loads(header["info"])
    del info["inputs"]
    old = {name: value for name, value in tensors.items() if not name.startswith("rest_")}
    save_file(old, tmp_path / "old.safetensors", header | {"info": json.dumps(info)})
    head = load_head(tmp_path / "old.safetensors")
    assert head.rest is None and head.inputs == "embedding"
    wrong = tensors | {"rest_logit": np.zeros(5, np.float32)}
    save_file(wrong, tmp_path / "wrong.safetensors", header)
    with pytest.raises(ModelError, match="Expected weights and header"):
        load_head(tmp_path / "wrong.safetensors")
