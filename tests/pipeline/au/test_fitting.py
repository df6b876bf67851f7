import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tclr.pipeline.au import collect_frames, embed_rows, fit_au, load_head
from tclr.pipeline.au.fitting import cross_predict, fit_head
from tclr.pipeline.au.learning.thresholds import cross_threshold
from tclr.pipeline.au.readout import column_scale
from tclr.pipeline.encoder import EncoderInfo, TorchEncoder, build_encoder, load_encoder, save_encoder
from tclr.pipeline.store import Store, assign_folds
from tclr.schemas.config import FitAuConfig
from tclr.schemas.errors import InputError, ModelError, OutputError

INFO = EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=1.0)
L2 = FitAuConfig().l2


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def encoder():
    return TorchEncoder(build_encoder(8, seed=0), INFO)


@pytest.fixture(scope="module")
def labelled(make_store, tmp_path_factory):
    """Six subjects; frames 0 and 5 have labels but no face."""
    return make_store(tmp_path_factory.mktemp("labelled"), n_subjects=6, n_frames=24, no_face=(0, 5))


@pytest.fixture(scope="module")
def fitted(labelled, encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("head") / "au.safetensors"
    return fit_au(labelled, encoder, out, FitAuConfig(folds=3))


def frames_of(store, encoder):
    with Store(store) as opened:
        return collect_frames(opened, embed_rows(encoder), 7, lambda done, total: None)


def reference(x, y, l2=L2):
    """Scikit-learn's own pipeline: standardise, then minimise ``mean loss + l2 / 2 |w|^2``, to a tight tolerance."""
    model = LogisticRegression(C=1 / (l2 * len(y)), max_iter=10_000, tol=1e-8)
    return make_pipeline(StandardScaler(), model).fit(x.astype(np.float64), y)


# ---- out of fold


@pytest.fixture(scope="session")
def probabilities(make_frames):
    """Return a function that gives out-of-fold probabilities of one AU."""
    return lambda x, y, folds, l2=L2: cross_predict(make_frames(x, y), folds, FitAuConfig(l2=l2)).probability[:, 0]


def test_cross_predict_matches_scikit_learn_fold_by_fold(probabilities):
    rng = np.random.default_rng(3)
    x = rng.normal(2, 5, (240, 6)).astype(np.float32)
    y = (x[:, 0] + rng.normal(0, 5, 240) > 2).astype(np.int8)
    folds = np.repeat(np.arange(4), 60)
    expected = np.empty(240)
    for fold in range(4):
        inside = folds == fold
        expected[inside] = reference(x[~inside], y[~inside], 0.1).predict_proba(x[inside])[:, 1]
    np.testing.assert_allclose(probabilities(x, y, folds, l2=0.1), expected, atol=1e-3)


def test_cross_predict_leaves_out_folds_that_nothing_can_be_learnt_for(probabilities):
    x, folds = np.random.default_rng(4).normal(size=(30, 3)), np.repeat([0, 1, 2], 10)
    y = np.zeros(30, np.int8)
    y[3:7] = 1  # all positives are in fold 0
    assert np.isfinite(probabilities(x, y, folds)).tolist() == [False] * 10 + [True] * 20


def test_knowing_the_person_does_not_help(probabilities):
    """Embeddings that tell subjects apart, labels that differ by subject: frame-wise folds would score 1."""
    rng = np.random.default_rng(5)
    subjects = np.repeat(np.arange(40), 20)
    x = rng.normal(size=(40, 16))[subjects] + 0.01 * rng.normal(size=(800, 16))
    y = rng.integers(0, 2, 40)[subjects]
    honest = probabilities(x, y, assign_folds(subjects.astype(str), 5, 0), 1.0)
    leaky = probabilities(x, y, rng.integers(0, 5, 800), 1.0)
    assert roc_auc_score(y, leaky) > 0.75
    assert roc_auc_score(y, honest) < 0.65


# ---- the whole fit


def test_fit_au_scores_are_scikit_learns(fitted, labelled, encoder, probabilities):
    frames = frames_of(labelled, encoder)
    folds = assign_folds(frames.subjects, 3, 0)
    for column, score in enumerate(fitted.scores):
        y = frames.labels[:, column]
        p = probabilities(frames.inputs, y, folds)
        assert score.roc_auc == pytest.approx(roc_auc_score(y, p), abs=1e-3)
        assert score.f1 == pytest.approx(f1_score(y, cross_threshold(p, y, folds)), abs=0.02)
        assert score.f1_all_positive == pytest.approx(f1_score(y, np.ones_like(y)))
        assert score.base_rate == pytest.approx(y.mean()) and score.n_frames == 132
    assert (fitted.n_subjects, fitted.n_folds) == (6, 3)


def test_fit_au_learns_what_the_crops_show(fitted):
    """The squares that stand for AUs are plain to see, even for random weights."""
    assert all(score.roc_auc > 0.8 for score in fitted.scores)
    assert all(score.f1 > score.f1_all_positive for score in fitted.scores)


def test_saved_head_predicts_as_scikit_learns_pipeline(fitted, labelled, encoder):
    frames = frames_of(labelled, encoder)
    head = load_head(fitted.path)
    for column in range(2):
        model = reference(frames.inputs, frames.labels[:, column])
        expected = model.predict_proba(frames.inputs.astype(np.float64))[:, 1]
        np.testing.assert_allclose(head.predict(frames.inputs)[:, column], expected, atol=2e-3)
    assert head.predict(frames.inputs).dtype == np.float32


def test_fit_au_masks_unknown_labels_per_au(make_store, tmp_path, encoder, relabel):
    def change(subject, labels):
        labels[::2, 0] = -1

    store = make_store(tmp_path / "store", n_subjects=3, n_frames=20)
    relabel(store, change)
    result = fit_au(store, encoder, tmp_path / "au.safetensors", FitAuConfig(folds=3))
    assert [score.n_frames for score in result.scores] == [30, 60]
    frames = frames_of(store, encoder)
    known = frames.labels[:, 0] >= 0
    expected = reference(frames.inputs[known], frames.labels[known, 0]).predict_proba(frames.inputs)[:, 1]
    np.testing.assert_allclose(load_head(result.path).predict(frames.inputs)[:, 0], expected, atol=5e-3)


def test_fit_au_leaves_out_aus_without_both_classes(make_store, tmp_path, encoder, relabel):
    def change(subject, labels):
        labels[:, 0], labels[:, 2] = 0, 1

    store = make_store(tmp_path / "store", n_subjects=2, n_frames=16, au_names=("AU01", "AU04", "AU12"))
    relabel(store, change)
    result = fit_au(store, encoder, tmp_path / "au.safetensors", FitAuConfig())
    assert [score.name for score in result.scores] == ["AU04"]
    assert result.left_out == {"AU01": "never present", "AU12": "never absent"}
    assert load_head(result.path).au_names == ("AU04",)


def test_fit_au_refuses_labels_that_teach_nothing(make_store, tmp_path, encoder, relabel):
    def change(subject, labels):
        labels[:] = 0

    store = make_store(tmp_path / "store", n_subjects=2, n_frames=8)
    relabel(store, change)
    with pytest.raises(InputError, match="present and absent"):
        fit_au(store, encoder, tmp_path / "au.safetensors", FitAuConfig())
    assert not (tmp_path / "au.safetensors").exists()


def test_fit_au_without_labels_says_what_to_do(make_store, tmp_path, encoder):
    store = make_store(tmp_path / "store", n_subjects=1, n_frames=8, au_names=())
    with pytest.raises(InputError, match="without --au-model"):
        fit_au(store, encoder, tmp_path / "au.safetensors", FitAuConfig())


def test_fit_au_claims_no_score_from_one_subject(make_store, tmp_path, encoder):
    store = make_store(tmp_path / "store", n_subjects=1, n_frames=24)
    result = fit_au(store, encoder, tmp_path / "au.safetensors", FitAuConfig())
    assert [(score.f1, score.roc_auc, score.threshold) for score in result.scores] == [(None, None, 0.5)] * 2


def test_fit_au_is_deterministic(labelled, encoder, fitted, tmp_path):
    again = fit_au(labelled, encoder, tmp_path / "au.safetensors", FitAuConfig(folds=3))
    assert again.scores == fitted.scores
    assert load_head(again.path).digest == load_head(fitted.path).digest


def test_fit_au_reports_an_output_that_cannot_be_written(labelled, encoder, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        fit_au(labelled, encoder, tmp_path / "folder", FitAuConfig(folds=2))


# ---- the file


def test_head_file_says_how_it_came_about(fitted, encoder):
    with safe_open(fitted.path, framework="np") as file:
        info = json.loads(file.metadata()["info"])
    assert info["encoder_digest"] == encoder.digest and info["au_names"] == ["AU01", "AU12"]
    assert [score["f1"] for score in info["scores"]] == [score.f1 for score in fitted.scores]
    assert info["settings"]["folds"] == 3


def test_check_encoder_takes_only_the_encoder_it_was_fitted_on(fitted, encoder, tmp_path):
    head = load_head(fitted.path)
    save_encoder(tmp_path / "same.safetensors", build_encoder(8, seed=0), INFO)
    head.check_encoder(load_encoder(tmp_path / "same.safetensors"))
    with pytest.raises(ModelError, match="fitted on"):
        head.check_encoder(TorchEncoder(build_encoder(8, seed=1), INFO))


def damaged(path, fitted, damage):
    with safe_open(fitted.path, framework="np") as file:
        header, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    match damage:
        case "missing":
            return
        case "text":
            path.write_text("no head")
            return
        case "cut":
            path.write_bytes(fitted.path.read_bytes()[:-20])
            return
        case "foreign":
            header = {"format": "tclr-encoder", "format_version": "1"}
        case "newer":
            header["format_version"] = "3"
        case "narrow":
            tensors["weight"] = tensors["weight"][:, :5].copy()
        case "no bias":
            del tensors["bias"]
        case "no info":
            del header["info"]
        case "bad info":
            header["info"] = '{"au_names": ["AU01"]}'
    save_file(tensors, path, header)


@pytest.mark.parametrize("damage", ["missing", "text", "cut", "foreign", "newer", "narrow", "no bias"])
def test_load_head_refuses_a_damaged_or_foreign_file(fitted, tmp_path, damage):
    path = tmp_path / "au.safetensors"
    damaged(path, fitted, damage)
    with pytest.raises(ModelError, match=r"au\.safetensors"):
        load_head(path)


@pytest.mark.parametrize("damage", ["no info", "bad info"])
def test_load_head_refuses_a_damaged_header(fitted, tmp_path, damage):
    path = tmp_path / "au.safetensors"
    damaged(path, fitted, damage)
    with pytest.raises(ModelError, match=r"au\.safetensors"):
        load_head(path)


def test_column_that_does_not_vary_decides_nothing():
    x = np.random.default_rng(0).normal(0, 1e-4, (50, 3)).astype(np.float32)
    x[:, 1], x[:, 2] = 0.3, 0.0
    mean, std = column_scale(x)
    np.testing.assert_allclose(mean, x.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(std, [x[:, 0].std(), 1, 1], rtol=1e-5)


@pytest.mark.parametrize("spread", [0.0, 1e-4])
def test_saved_head_survives_embeddings_that_hardly_vary(make_store, tmp_path, spread):
    """A dead or nearly collapsed dimension must not swamp the others in rounding errors."""

    class Collapsed(TorchEncoder):
        def embed(self, frames):
            x = super().embed(frames)
            x[:, 0] = 0.37
            x[:, 1:] = 0.2 + spread * x[:, 1:] if spread else x[:, 1:]
            return x

    encoder = Collapsed(build_encoder(8, seed=0), INFO)
    store = make_store(tmp_path / "store", n_subjects=3, n_frames=24)
    result = fit_au(store, encoder, tmp_path / "au.safetensors", FitAuConfig(folds=2))
    frames = frames_of(store, encoder)
    expected = reference(frames.inputs, frames.labels[:, 0]).predict_proba(frames.inputs)[:, 1]
    np.testing.assert_allclose(load_head(result.path).predict(frames.inputs)[:, 0], expected, atol=5e-3)


def test_head_files_of_format_1_can_be_read(fitted, labelled, encoder, tmp_path):
    with safe_open(fitted.path, framework="np") as file:
        info, tensors = json.loads(file.metadata()["info"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    old = {name: info[name] for name in ("au_names", "encoder_digest", "encoder_info", "scores", "settings")}
    for score in old["scores"]:
        del score["icc"], score["mae"]
    header = {"format": "tclr-au-head", "format_version": "1", "info": json.dumps(old)}
    save_file(tensors, tmp_path / "au.safetensors", header)
    head, new = load_head(tmp_path / "au.safetensors"), load_head(fitted.path)
    assert (head.kind, head.digest, head.smooth_s) == ("linear", new.digest, 0)
    embeddings = frames_of(labelled, encoder).inputs
    np.testing.assert_array_equal(head.predict(embeddings), new.predict(embeddings))
    assert np.isnan(head.predict_intensity(embeddings)).all()
    with pytest.raises(ModelError, match="but got 'tclr-au-head'"):
        load_encoder(tmp_path / "au.safetensors")


def test_quiet_raises_thresholds_until_neutral_frames_are_quiet(make_frames):
    rng = np.random.default_rng(0)
    action = np.where(rng.random(300) < 0.4, 0, rng.uniform(0, 5, 300))
    x = action[:, None] + rng.normal(0, 2, (300, 1))
    frames = make_frames(x, action >= 2, intensities=action[:, None], subjects=np.repeat(np.arange(10), 30).astype(str))
    loud, quiet = (fit_head(frames, FitAuConfig(inputs="blendshapes", neutral_share=share)) for share in (1.0, 0.02))
    neutral = action < 0.5
    assert (loud.predict(x)[neutral, 0] >= loud.threshold[0]).mean() > 0.1
    assert (quiet.predict(x)[neutral, 0] >= quiet.threshold[0]).mean() < 0.04
    assert quiet.scores[0].threshold == pytest.approx(quiet.threshold[0]) and quiet.scores[0].f1 == loud.scores[0].f1


def test_thresholds_follow_the_intensity_from_which_an_au_should_be_noticed(make_frames):
    rng = np.random.default_rng(0)
    action = rng.uniform(0, 5, 400)
    subjects = np.repeat(np.arange(10), 40).astype(str)
    frames = make_frames(action[:, None], action >= 2, intensities=action[:, None], subjects=subjects)
    by_label, early = (fit_head(frames, FitAuConfig(inputs="blendshapes", noticed_from=level)) for level in (0.0, 1.0))
    for head, level in ((by_label, 2), (early, 1)):
        called = head.predict(frames.inputs)[:, 0] >= head.threshold[0]
        assert action[called].min() == pytest.approx(level, abs=0.15)
    assert early.scores[0].f1 < by_label.scores[0].f1  # scores are by the labels
    unknown = replace(frames, intensities=np.full_like(frames.intensities, np.nan))
    same = fit_head(unknown, FitAuConfig(inputs="blendshapes", noticed_from=1.0))
    assert same.threshold == fit_head(unknown, FitAuConfig(inputs="blendshapes")).threshold
