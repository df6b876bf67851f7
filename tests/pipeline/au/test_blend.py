"""The blend: an average of regressions that other libraries agree with, on inputs of shape and embedding."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from tclr.pipeline.au import BOX, SHAPE, AuHead, LabelledFrames, load_head, own_head
from tclr.pipeline.au.fitting import fit_head
from tclr.pipeline.au.inputs.shape import BLENDSHAPES, LANDMARKS, LOG_BLENDSHAPES, SHAPE_DIM
from tclr.pipeline.au.learning.blend import fit_blend
from tclr.pipeline.au.mapping import predict_from_blendshapes
from tclr.pipeline.au.readout import Readout
from tclr.pipeline.encoder import EncoderInfo, TorchEncoder, build_encoder
from tclr.schemas.action_units import UNKNOWN
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.config import FitAuConfig
from tclr.schemas.errors import InputError, ModelError, SettingError

CONFIG = FitAuConfig(head="blend", inputs="shape")
N = 240


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def shapes(rng):
    """Inputs of 240 frames: two AUs move a landmark and a blendshape of the brows each."""
    action = rng.random((N, 2))
    x = rng.normal(0, 0.02, (N, SHAPE_DIM))
    x[:, 30], x[:, 60] = action.T
    shapes = rng.uniform(0, 0.05, (N, 52))
    for name, moved in (("browInnerUp", 0), ("browOuterUpLeft", 1), ("browOuterUpRight", 1)):
        shapes[:, BLENDSHAPE_NAMES.index(name)] = 0.6 * action[:, moved] + 0.2 * rng.random(N)
    x[:, BLENDSHAPES], x[:, LOG_BLENDSHAPES] = shapes, np.log(shapes + 0.005)
    return x.astype(np.float32), action


def test_it_ranks_frames_of_people_it_has_not_seen(shapes, make_frames):
    x, action = shapes
    people = np.repeat(np.arange(12), N // 12).astype(str)
    frames = make_frames(x, action > 0.5, intensities=5 * action, subjects=people)
    known = np.arange(N) < N // 2
    predicted = fit_blend(frames.take(known), CONFIG).predict(x[~known])
    for column in range(2):
        assert roc_auc_score(action[~known, column] > 0.5, predicted.probability[:, column]) > 0.95
        assert np.corrcoef(action[~known, column], predicted.intensity[:, column])[0, 1] > 0.9
    rates = (action[~known] > 0.5).mean(axis=0)
    np.testing.assert_allclose(predicted.probability.mean(axis=0), rates, atol=0.12)
    assert predicted.intensity.min() >= 0 and predicted.intensity.max() <= 5


def test_the_average_is_that_of_scikit_learns_ridges_and_the_rules(shapes, make_frames):
    x, action = shapes
    frames = make_frames(x, action > 0.5, intensities=5 * action)
    logit = fit_blend(frames, CONFIG)
    ours = x @ logit.weight[0] + logit.bias[0]
    said = [predict_from_blendshapes(x[:, BLENDSHAPES])[:, 0]]
    for part, penalty in ((LANDMARKS, 0.03), (LOG_BLENDSHAPES, 0.1)):
        said.append(Ridge(alpha=penalty * N).fit(x[:, part], action[:, 0]).predict(x[:, part]))
    theirs = np.mean([(one - one.mean()) / one.std() for one in said], axis=0)
    assert np.corrcoef(ours, theirs)[0, 1] == pytest.approx(1, abs=1e-4)


def test_the_embedding_adds_evidence_where_shape_has_none(shapes, make_frames, rng):
    x, _ = shapes
    furrow = rng.random(N) > 0.5
    embedding = rng.normal(0, 0.1, (N, 40))
    embedding[:, 7] += furrow
    frames = make_frames(np.concatenate([x, embedding], axis=1), furrow)
    readout = fit_blend(frames, FitAuConfig(head="blend", inputs="face"))
    unseen = readout.predict(frames.inputs).probability[:, 0]
    assert roc_auc_score(furrow, unseen) > 0.95
    assert not readout.has_intensity.any()


def own_head_of(*aus, dim=40, intensity=True, digest=""):
    """A fine-tuned head whose nth AU is the embedding's nth number."""
    weight = np.eye(len(aus), dim, dtype=np.float32)
    bias = np.zeros(len(aus), np.float32)
    told = (weight, bias) if intensity else (np.full_like(weight, np.nan), np.full_like(bias, np.nan))
    return AuHead("finetune", aus, Readout(weight, bias, *told), bias, encoder_digest=digest)


@pytest.mark.parametrize("intensity", [True, False])
def test_what_the_network_says_itself_is_one_more_kind_of_evidence(shapes, make_frames, rng, intensity):
    x, action = shapes
    embedding = rng.normal(0, 1, (N, 40))
    frames = make_frames(np.concatenate([x, embedding], axis=1), action > 0.5)
    config = FitAuConfig(head="blend", inputs="face")
    alone = fit_blend(frames, config)
    told = fit_blend(frames, config, network=own_head_of("AU02", "AU09", intensity=intensity))
    np.testing.assert_array_equal(told.weight[0], alone.weight[0])  # it says nothing of AU 1
    said, before = (frames.inputs @ one.weight[1] for one in (told, alone))
    new = np.column_stack([before, embedding[:, 0]])
    fit = np.linalg.lstsq(new - new.mean(axis=0), said - said.mean(), rcond=None)[0]
    explained = (new - new.mean(axis=0)) @ fit
    np.testing.assert_allclose(explained, said - said.mean(), atol=1e-4 * np.abs(said).max())  # nothing else changes
    assert fit[1] > 0


def test_a_network_must_be_that_of_the_embeddings(shapes, make_frames):
    x, action = shapes
    frames = make_frames(np.concatenate([x, np.zeros((N, 8))], axis=1), action > 0.5)
    encoder = TorchEncoder(build_encoder(8, seed=0), EncoderInfo(embedding_dim=8, image_size=32))
    config = FitAuConfig(head="blend", inputs="face", scale_on="1?")
    with pytest.raises(ModelError, match="Expected the encoder that the head was"):
        fit_head(frames, config, encoder, own_head_of("AU01", dim=8, digest="other"))


def test_a_file_of_a_network_has_its_own_head_or_none(tmp_path):
    assert own_head(BOX).au_names == load_head(BOX).au_names and own_head(BOX).encoder is not None
    assert own_head(SHAPE) is None and own_head("random") is None and own_head(tmp_path) is None


def test_people_whom_the_encoder_knows_do_not_set_the_scale(make_frames, rng):
    present, seen = rng.random(N) > 0.5, np.arange(N) < N // 2
    noise = np.where(seen, 0.1, 1.5)  # it knows by heart whom it has learnt from
    embedding = np.column_stack([present + noise * rng.normal(0, 1, N), rng.normal(0, 1, N)])
    frames = make_frames(np.concatenate([rng.normal(0, 0.1, (N, SHAPE_DIM)), embedding], axis=1), present)
    config = FitAuConfig(head="blend", inputs="face")
    careful, fooled = fit_blend(frames, config, seen), fit_blend(frames.take(seen), config)

    def log_loss(readout):
        p = readout.predict(frames.inputs[~seen]).probability[:, 0]
        return -np.log(np.where(present[~seen], p, 1 - p).clip(1e-6)).mean()

    assert log_loss(careful) < 0.7 < log_loss(fooled)


def test_named_people_set_scale_and_thresholds_and_nothing_else(shapes, make_frames):
    x, action = shapes
    people = np.where(np.arange(N) < N // 2, "P1", "Q1")
    taught = people == "P1"
    level = np.where(taught, 1, 0.3)[:, None] * action  # the others move little
    frames = make_frames(x, level > 0.2, intensities=5 * level, subjects=people)
    head = fit_head(frames, CONFIG.model_copy(update={"scale_on": "Q*"}))
    same = fit_blend(frames, CONFIG, taught)
    np.testing.assert_array_equal(head.readout.weight, same.weight)
    said = head.readout.predict(x[~taught])
    np.testing.assert_allclose(said.intensity.mean(axis=0), 5 * level[~taught].mean(axis=0), atol=0.05)
    assert [score.n_frames for score in head.scores] == [N // 2] * 2
    alone = fit_blend(frames.take(taught), CONFIG)  # the same direction, at another scale
    for column in range(2):
        assert np.corrcoef(head.readout.weight[column], alone.weight[column])[0, 1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("X*", "'X\\*' fits none of the labelled people of store: P1, Q1, .* Correct --scale-on"),
        ("P*,Q*", "fits all the labelled people of store. Name fewer"),
    ],
)
def test_a_scale_needs_people_and_leaves_some_to_learn_from(shapes, make_frames, names, message):
    x, action = shapes
    frames = make_frames(x, action > 0.5, subjects=np.where(np.arange(N) < N // 2, "P1", "Q1"))
    with pytest.raises(SettingError, match=message):
        fit_head(frames, CONFIG.model_copy(update={"scale_on": names}))


def test_a_scale_is_set_by_people_whom_the_encoder_has_not_learnt_from(shapes, make_frames, monkeypatch):
    x, action = shapes
    frames = make_frames(x, action > 0.5, subjects=np.where(np.arange(N) < N // 2, "P1", "Q1"))
    monkeypatch.setattr(LabelledFrames, "seen_by", lambda self, encoder: self.subjects == "Q1")
    encoder = TorchEncoder(build_encoder(8, seed=0), EncoderInfo(embedding_dim=8, image_size=32))
    with pytest.raises(InputError, match="learnt from 1 of them, such as Q1; it has not from P1"):
        fit_head(frames, FitAuConfig(head="blend", inputs="face", scale_on="Q*"), encoder)
    with pytest.raises(ValidationError, match="expected '' unless 'head' is blend"):
        FitAuConfig(scale_on="Q*")


def test_an_au_without_any_evidence_is_left_out(shapes, make_frames):
    x, action = shapes
    people = np.where(np.arange(N) < N // 2, "P1", "Q1")
    labels = np.column_stack([action[:, 0] > 0.5, (action[:, 1] > 0.5) & (people == "Q1")])
    frames = replace(make_frames(x, labels, subjects=people), names=["AU01", "AU11"])  # no rule, and never on P1
    head = fit_head(frames, CONFIG.model_copy(update={"scale_on": "Q1"}))
    assert head.au_names == ("AU01",) and "not predictable" in head.left_out["AU11"]


def test_blank_names_are_none():
    assert (
        FitAuConfig(head="blend", inputs="shape", scale_on=" , ").scale_on == FitAuConfig(scale_on=",").scale_on == ""
    )


def test_a_blend_asks_for_inputs_that_it_can_read():
    with pytest.raises(ValidationError, match="expected shape or face where 'head' is blend"):
        FitAuConfig(head="blend")


def test_few_people_who_show_it_against_the_evidence_do_not_turn_it_round(shapes, make_frames):
    x, action = shapes
    seen = np.arange(N) < N // 2
    level = np.where(seen, action[:, 0], 1 - action[:, 0])
    frames = make_frames(x, level > 0.6, intensities=5 * level[:, None])
    readout = fit_blend(frames, CONFIG, seen)
    predicted = readout.predict(x)
    assert np.isnan(predicted.probability).all() and np.isnan(predicted.intensity).all()


def test_an_au_that_the_people_of_the_scale_contradict_is_left_out_with_the_reason(shapes, make_frames):
    x, action = shapes
    people = np.where(np.arange(N) < N // 2, "P1", "Q1")
    level = action.copy()
    level[people == "Q1", 0] = 1 - action[people == "Q1", 0]
    frames = make_frames(x, level > 0.6, intensities=5 * level, subjects=people)
    head = fit_head(frames, CONFIG.model_copy(update={"scale_on": "Q1"}))
    assert head.au_names == ("AU02",) and "not predictable" in head.left_out["AU01"]
    assert head.predict(x).shape == (N, 1) and head.threshold.shape == (1,) == head.rest.logit.shape
    with pytest.raises(InputError, match="No AU of store can be learnt: all are not predictable"):
        fit_head(frames.select(["AU01"]), CONFIG.model_copy(update={"scale_on": "Q1"}))


def test_what_cannot_be_learnt_is_missing_and_unknown_labels_are_left_out(shapes, make_frames):
    x, action = shapes
    labels = np.column_stack([action[:, 0] > 0.5, np.zeros(N)]).astype(np.int8)
    labels[: N // 4, 0] = UNKNOWN
    readout = fit_blend(make_frames(x, labels), CONFIG)
    alone = fit_blend(make_frames(x[N // 4 :], labels[N // 4 :]), CONFIG)
    assert np.isnan(readout.bias[1]) and np.isfinite(readout.bias[0])
    predicted, theirs = (one.predict(x).probability[:, 0] for one in (readout, alone))
    assert np.corrcoef(predicted, theirs)[0, 1] > 0.97


def test_it_reads_shape_or_face():
    with pytest.raises(ValidationError, match="expected shape or face where 'head' is blend"):
        FitAuConfig(head="blend", inputs="embedding")
