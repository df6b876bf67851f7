import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from tclr.pipeline.au import collect_frames, embed_rows, fit_au, fit_head, load_head, no_rows
from tclr.pipeline.au.fitting import cross_predict
from tclr.pipeline.au.head import save_head, smooth_clips
from tclr.pipeline.au.learning.thresholds import choose_threshold
from tclr.pipeline.au.learning.training import PATIENCE, train
from tclr.pipeline.encoder import EncoderInfo, TorchEncoder, build_encoder, load_encoder
from tclr.pipeline.export import embed
from tclr.pipeline.features import load
from tclr.pipeline.store import Store, assign_folds, hold_out
from tclr.schemas.config import EmbedConfig, FitAuConfig, parse_settings
from tclr.schemas.errors import InputError, ModelError, SettingError, TclrError

pytestmark = pytest.mark.usefixtures("one_thread")
MLP = FitAuConfig(head="mlp", hidden_dim=32, epochs=40, learning_rate=0.03, batch_size=64, folds=4, dropout=0)
FINETUNE = FitAuConfig(head="finetune", epochs=2, batch_size=16, folds=3, encoder_learning_rate=0.001)


@pytest.fixture(scope="module")
def quadrants(make_frames):
    """What no linear head can tell: AU01 where two numbers have the same sign; AU02's intensity is their product."""
    x = np.random.default_rng(0).uniform(-2, 2, (480, 2))
    y = np.stack([x[:, 0] * x[:, 1] > 0, x[:, 0] > 0], axis=1)
    y = np.where(np.random.default_rng(1).random((480, 2)) < 0.1, -1, y)
    product = np.abs(x[:, :1] * x[:, 1:])
    intensities = np.concatenate([np.full((480, 1), np.nan), product], axis=1)
    return make_frames(x, y, intensities=intensities, subjects=np.repeat([f"S{i}" for i in range(8)], 60))


@pytest.fixture(scope="module")
def encoder():
    return TorchEncoder(build_encoder(8, seed=0), EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=0.9))


@pytest.fixture(scope="module")
def store(make_store, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store"), n_subjects=4, n_frames=16, intensity=True)


@pytest.fixture(scope="module")
def tuned(store, encoder, tmp_path_factory):
    return fit_au(store, encoder, tmp_path_factory.mktemp("head") / "au.safetensors", FINETUNE)


# ---- linear


def test_weighted_linear_head_is_scikit_learns_with_balanced_classes(make_frames):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    y = (x[:, 0] + rng.normal(size=400) > 1.2).astype(int)
    head = fit_head(make_frames(x, y), FitAuConfig(loss="weighted", folds=2))
    weight = {0: 1, 1: (y == 0).sum() / (y == 1).sum()}
    mass = sum(weight[label] for label in y)
    model = LogisticRegression(C=1 / (0.01 * mass), class_weight=weight, tol=1e-8)
    scaled = StandardScaler().fit_transform(x)
    expected = model.fit(scaled, y).predict_proba(scaled)[:, 1]
    np.testing.assert_allclose(head.predict(x)[:, 0], expected, atol=2e-3)
    plain = fit_head(make_frames(x, y), FitAuConfig(folds=2))
    assert head.predict(x).mean() > plain.predict(x).mean() + 0.1


def test_linear_intensity_is_ridge_regression_between_0_and_5(make_frames):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 4))
    y = (x[:, :2] > 0).astype(int)
    intensity = np.stack([np.full(300, np.nan), (2 + 2 * x[:, 1] + rng.normal(size=300)).clip(0, 5)], axis=1)
    intensity[::3] = np.nan
    head = fit_head(make_frames(x, y, intensities=intensity), FitAuConfig(folds=3))
    known = np.isfinite(intensity[:, 1])
    model = make_pipeline(StandardScaler(), Ridge(alpha=0.01 * known.sum())).fit(x[known], intensity[known, 1])
    predicted = head.predict_intensity(x)
    assert np.isnan(predicted[:, 0]).all()
    np.testing.assert_allclose(predicted[:, 1], model.predict(x).clip(0, 5), atol=1e-4)
    assert predicted[:, 1].min() == 0 and head.readout.has_intensity.tolist() == [False, True]
    assert head.scores[0].mae is None and 0.3 < head.scores[1].mae < 1.2 and head.scores[1].icc > 0.6


def test_asymmetric_loss_needs_a_network():
    with pytest.raises(SettingError, match="'loss' in x.toml: expected bce or weighted where 'head' is linear"):
        parse_settings(FitAuConfig, {"loss": "asymmetric"}, "x.toml")
    assert FitAuConfig(head="mlp", loss="asymmetric").loss == "asymmetric"


# ---- MLP


@pytest.mark.parametrize("loss", ["bce", "asymmetric"])
def test_mlp_learns_what_no_linear_head_can(quadrants, loss):
    head = fit_head(quadrants, MLP.model_copy(update={"loss": loss}))
    assert head.kind == "mlp" and head.scores[0].roc_auc > 0.95 and head.scores[0].f1 > 0.85
    linear = fit_head(quadrants, FitAuConfig(folds=4))
    assert linear.scores[0].roc_auc < 0.7
    assert head.scores[1].mae < 0.5 * linear.scores[1].mae
    assert np.isnan(head.predict_intensity(quadrants.inputs)[:, 0]).all()


def test_mlp_is_the_same_again_and_leaves_other_draws_alone(quadrants, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    config = MLP.model_copy(update={"epochs": 3, "dropout": 0.3})
    first, second = (fit_head(quadrants, config) for _ in range(2))
    assert torch.rand(1) == expected
    assert first.digest == second.digest
    other = fit_head(quadrants, config.model_copy(update={"seed": 1}))
    assert other.digest != first.digest
    save_head(tmp_path / "au.safetensors", first, {})
    loaded = load_head(tmp_path / "au.safetensors")
    assert (loaded.kind, loaded.digest, loaded.scores) == ("mlp", first.digest, first.scores)
    np.testing.assert_array_equal(loaded.predict(quadrants.inputs), first.predict(quadrants.inputs))


def test_training_stops_and_goes_back_to_the_best_epoch():
    model, rates = nn.Linear(1, 1, bias=False), iter([3.0, 2.0, 1.0, 1.5, 1.2, 1.1, 1.0, 1.3, 0.1])
    seen = []

    def losses():
        yield model.weight.sum()

    def held_out_loss():
        seen.append(model.weight.item())
        return next(rates)

    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    assert train(model, optimizer, 20, losses, held_out_loss) == 3
    assert len(seen) == 3 + PATIENCE and model.weight.item() == seen[2] and not model.training
    assert train(model, optimizer, 4, losses, None) == 4 and model.weight.item() == pytest.approx(seen[2] - 4)
    with pytest.raises(TclrError, match="none in 3 epochs. Lower the learning rate"):
        train(model, optimizer, 3, losses, lambda: float("nan"))


# ---- thresholds and smoothing


def test_thresholds_are_those_of_smoothed_out_of_fold_predictions(make_frames):
    rng = np.random.default_rng(3)
    y = (np.sin(np.arange(400) / 8) > 0.3).astype(int)
    x = y[:, None] + rng.normal(size=(400, 1))
    subjects, times = np.repeat([f"S{i}" for i in range(4)], 100), np.tile(np.arange(100) / 25, 4)
    frames = make_frames(x, y, subjects=subjects, timestamps=times)
    config = FitAuConfig(folds=4, smooth_s=0.1)
    head, plain = fit_head(frames, config), fit_head(frames, FitAuConfig(folds=4))
    raw = cross_predict(frames, assign_folds(subjects, 4, 0), config)
    smoothed = smooth_clips(raw, frames, 0.1).probability[:, 0]
    assert head.threshold[0] == pytest.approx(choose_threshold(smoothed, y))
    assert head.scores[0].f1 > plain.scores[0].f1 + 0.1 and head.smooth_s == 0.1
    predicted = head.predict_frames(frames)
    steps = [np.abs(np.diff(values[:100, 0])).mean() for values in (predicted.probability, head.predict(x))]
    assert steps[0] < 0.3 * steps[1]
    one = frames.take(subjects == "S1")  # clips of others, which have the same name and times, have no part in it
    np.testing.assert_allclose(head.predict_frames(one).probability, predicted.probability[100:200], atol=1e-6)


# ---- fine-tuning


def test_fine_tuning_trains_a_copy_and_the_file_holds_it(store, encoder, tuned):
    before = encoder.digest
    head = load_head(tuned.path)
    assert head.kind == "finetune" and head.started_from == before
    own = load_encoder(tuned.path)
    assert own.digest == head.encoder_digest == head.encoder.digest != before
    assert TorchEncoder(encoder.model, encoder.info).digest == before
    head.check_encoder(own)
    with pytest.raises(ModelError, match="fitted on"):
        head.check_encoder(encoder)
    assert own.info.subjects == tuple(f"bp4d/F00{i}" for i in (1, 2, 3, 4)) and own.info.supervised
    assert own.info.image_size == 32 and (tuned.n_subjects, tuned.n_held_out) == (4, 2)


def test_fine_tuned_head_reads_crops_with_its_own_encoder(store, tuned):
    head = load_head(tuned.path)
    with Store(store) as opened:
        blind = collect_frames(opened, no_rows, 16)
        seeing = collect_frames(opened, embed_rows(load_encoder(tuned.path)), 7)
    expected = head.readout.predict(seeing.inputs)
    predicted = head.predict_frames(blind)
    np.testing.assert_allclose(predicted.probability, expected.probability, atol=1e-4)
    np.testing.assert_allclose(predicted.intensity, expected.intensity, atol=1e-4)


def test_fine_tuned_thresholds_and_scores_are_of_held_out_subjects(store, tuned):
    head = load_head(tuned.path)
    with Store(store) as opened:
        frames = collect_frames(opened, no_rows, 16)
    held = frames.take(hold_out(frames.subjects, 3, 0))
    probability = head.predict_frames(held).probability
    for column, score in enumerate(head.scores):
        y = held.labels[:, column]
        assert score.n_frames == len(held) == 32
        assert score.roc_auc == pytest.approx(roc_auc_score(y, probability[:, column]), abs=1e-3)
        best = max(f1_score(y, probability[:, column] >= cut) for cut in probability[:, column])
        assert f1_score(y, probability[:, column] >= score.threshold - 1e-6) == pytest.approx(best, abs=0.05)


def test_fine_tuning_lowers_the_loss_on_what_it_sees(store, encoder):
    """Frames of one subject: nobody is held out, and all epochs are done."""
    with Store(store, ["F001"]) as opened:
        frames = collect_frames(opened, embed_rows(encoder), 16)
    linear = fit_head(frames, FitAuConfig(l2=100.0), encoder)  # a start that knows next to nothing
    config = FINETUNE.model_copy(update={"epochs": 20, "l2": 100.0})
    head = fit_head(frames, config, encoder)

    def loss(probability):
        return -np.log(np.where(frames.labels == 1, probability, 1 - probability).clip(1e-6)).mean()

    assert loss(head.predict_frames(frames).probability) < 0.8 * loss(linear.predict_frames(frames).probability)
    assert [score.f1 for score in head.scores] == [None, None] and head.threshold.tolist() == [0.5, 0.5]


def test_half_precision_halves_the_file_and_changes_next_to_nothing(store, encoder, tuned, tmp_path):
    half = fit_au(store, encoder, tmp_path / "half.safetensors", FINETUNE.model_copy(update={"half": True}))
    sizes = [result.path.stat().st_size for result in (half, tuned)]
    assert sizes[0] < 0.51 * sizes[1]
    first, second = load_head(half.path), load_head(tuned.path)
    first.check_encoder(load_encoder(half.path))
    with Store(store) as opened:
        frames = collect_frames(opened, no_rows, 16)
    first, second = (head.predict_frames(frames).probability for head in (first, second))
    assert 0 < np.abs(first - second).max() < 0.02


def test_spoilt_crops_are_learnt_from_the_same_again(store, encoder, tuned, tmp_path):
    config = FINETUNE.model_copy(update={"degrade": 1.0})
    digests = [load_head(fit_au(store, encoder, tmp_path / f"{i}.safetensors", config).path).digest for i in (1, 2)]
    assert digests[0] == digests[1] != load_head(tuned.path).digest


def test_subjects_left_out_are_not_learnt_from(store, encoder, tmp_path):
    config = FINETUNE.model_copy(update={"leave_out": "F001, *4", "epochs": 1})
    result = fit_au(store, encoder, tmp_path / "au.safetensors", config)
    assert load_encoder(result.path).info.subjects == ("bp4d/F002", "bp4d/F003") and result.n_subjects == 2


def test_fine_tuning_needs_an_encoder(make_frames):
    with pytest.raises(SettingError, match="Expected an encoder to fine-tune"):
        fit_head(make_frames(np.zeros((4, 2)), [0, 1, 0, 1]), FINETUNE)
    with pytest.raises(InputError, match="nothing can be learnt"):
        fit_head(make_frames(np.zeros((4, 2)), [0, 0, 0, 0]), FitAuConfig())


def test_embed_takes_the_file_as_encoder_and_as_head(store, tuned, encoder, tmp_path):
    copy = shutil.copy(tuned.path, tmp_path / "au.safetensors")
    embed(store, tmp_path / "features", load_encoder(copy), EmbedConfig(hidden="keep"), au_model=copy)
    table = load(tmp_path / "features")
    embed(store, tmp_path / "alone", None, EmbedConfig(hidden="keep"), au_model=copy)
    pd.testing.assert_frame_equal(load(tmp_path / "alone"), table)
    expected = load_head(copy).readout.predict(table.filter(like="emb_").to_numpy())
    np.testing.assert_allclose(table[["AU01", "AU12"]], expected.probability, atol=1e-5)
    np.testing.assert_allclose(table[["AU01_r", "AU12_r"]], expected.intensity, atol=1e-5)
    with pytest.raises(ModelError, match="fitted on"):
        embed(store, tmp_path / "other", encoder, EmbedConfig(), au_model=copy)
