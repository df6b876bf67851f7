import numpy as np
import pytest
import torch
from torch.nn import functional

from tclr.pipeline.pretraining.data import choose_targets
from tclr.pipeline.pretraining.geometry import clip_targets, mirror_index, n_targets
from tclr.pipeline.pretraining.losses import aggregate_ranking_loss
from tclr.pipeline.pretraining.objective import Objective
from tclr.pipeline.store import Store
from tclr.pipeline.tuples import TupleBatch
from tclr.schemas.config import PretrainConfig, parse_settings
from tclr.schemas.errors import SettingError

OFF = {"ranking_weight": 0, "geometry_weight": 0}
N_POINTS = n_targets(68)


def unit(*shape, seed=0):
    return functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def batch(n_tuples=3, n_frames=6, n_numbers=0, seed=0, step_s=0.2):
    generator = torch.Generator().manual_seed(seed)
    seconds = step_s * torch.arange(n_frames, dtype=torch.float32).expand(n_tuples, -1)
    draws = torch.rand(n_tuples, n_frames, 24, generator=generator)
    targets = torch.randn(n_tuples, n_frames, n_numbers, generator=generator)
    return TupleBatch(torch.zeros(n_tuples, n_frames, 8, 8, 3, dtype=torch.uint8), seconds, draws, targets)


def test_loss_is_the_weighted_sum_of_its_parts():
    weights = {"ranking_weight": 0.5, "geometry_weight": 0.25}
    objective = Objective(PretrainConfig(embedding_dim=8, **weights), N_POINTS)
    losses = objective(unit(3, 6, 8), batch(n_numbers=N_POINTS))
    assert set(losses) == {"loss", "ranking", "geometry"}
    expected = sum(weights[f"{name}_weight"] * value for name, value in losses.items() if name != "loss")
    torch.testing.assert_close(losses["loss"], expected)


def test_part_of_weight_zero_is_not_computed():
    ranking = Objective(PretrainConfig(embedding_dim=8, **{**OFF, "ranking_weight": 1.0}), N_POINTS)
    assert set(ranking(unit(3, 6, 8), batch(n_numbers=N_POINTS))) == {"loss", "ranking"}
    assert not list(ranking.parameters())
    geometry = Objective(PretrainConfig(embedding_dim=8, **{**OFF, "geometry_weight": 1.0}), N_POINTS)
    assert set(geometry(unit(3, 6, 8), batch(n_numbers=N_POINTS))) == {"loss", "geometry"}


def test_paper_recipe_is_the_aggregate_ranking_loss_and_nothing_else():
    objective, embeddings = Objective(PretrainConfig(recipe="paper", embedding_dim=8), 0), unit(3, 12, 8)
    losses = objective(embeddings, batch(n_frames=12))
    assert set(losses) == {"loss", "ranking"}
    assert losses["loss"].item() == pytest.approx(aggregate_ranking_loss(embeddings, 0.03).item(), rel=1e-6)


def test_losses_of_tuples_do_not_depend_on_the_rest_of_the_batch():
    weights = {"ranking_weight": 0.5, "geometry_weight": 0.25}
    objective, embeddings = Objective(PretrainConfig(embedding_dim=8, **weights), N_POINTS), unit(4, 6, 8)
    whole = batch(4, 6, N_POINTS, step_s=0.3)
    whole.seconds = whole.seconds * torch.tensor([[1.0], [0.01], [2.0], [0.5]])
    whole.targets[2, 1:] = torch.nan
    parts = [
        objective(embeddings[i : i + 2], TupleBatch(*(tensor[i : i + 2] for tensor in whole.tensors)))["loss"]
        for i in (0, 2)
    ]
    torch.testing.assert_close(objective(embeddings, whole)["loss"], sum(parts) / 2)


def whitened(n_frames=400, seed=0):
    """An objective whose targets vary as the sample does, and the sample."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(N_POINTS, N_POINTS, generator=generator) * torch.logspace(0.5, -1, N_POINTS)
    sample = torch.randn(n_frames, N_POINTS, generator=generator) @ mixing.T + 2
    sample[7, 3] = torch.nan
    objective = Objective(PretrainConfig(embedding_dim=8, **{**OFF, "geometry_weight": 1.0}, flip=0.5), N_POINTS)
    objective.fit_targets(sample)
    return objective, sample


def test_targets_are_whitened_so_that_small_movements_count():
    objective, sample = whitened()
    known = sample[sample.isfinite().all(dim=1)]
    out = (known - objective.target_mean) @ objective.target_basis
    assert out.shape == (399, 48)
    covariance = torch.cov(out.T, correction=0)
    torch.testing.assert_close(covariance.diagonal()[:20], torch.ones(20), rtol=0.1, atol=0)
    assert (covariance - covariance.diag().diag()).abs().max() < 0.01
    whole = torch.linalg.eigvalsh(torch.cov(known.T)).flip(0)
    assert covariance.diagonal()[-1] < 1.001 and whole[47] < whole[0] / 20  # small ones were blown up


def test_geometry_is_the_smooth_l1_error_over_known_frames_and_mirrored_with_the_picture():
    objective, sample = whitened()
    one = batch(2, 3, N_POINTS)
    one.targets[:] = sample[20:26].view(2, 3, -1)
    one.targets[1, 2, 5] = torch.nan
    one.draws[0, 0, 0], one.draws[1, 0, 0] = 0.1, 0.9  # the first tuple is mirrored
    embeddings = unit(2, 3, 8)
    index, sign = mirror_index(N_POINTS)
    for training in (True, False):
        objective.train(training)
        wanted = one.targets.clone()
        if training:
            wanted[0] = wanted[0][:, index] * torch.from_numpy(sign)
        wanted = ((wanted - objective.target_mean) @ objective.target_basis).clamp(-4, 4)
        predicted = objective.geometry_head(4 * embeddings)
        known = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
        errors = {place: functional.smooth_l1_loss(predicted[place], wanted[place]).item() for place in known}
        by_tuple = [np.mean([value for place, value in errors.items() if place[0] == i]) for i in (0, 1)]
        assert objective(embeddings, one)["geometry"].item() == pytest.approx(np.mean(by_tuple), rel=1e-5)
    one.targets[:] = torch.nan
    assert objective(embeddings, one)["loss"].item() == 0


def test_supervision_is_the_cross_entropy_of_known_labels():
    config = PretrainConfig(embedding_dim=8, **OFF, supervision_weight=1.0)
    objective, one, embeddings = Objective(config, 2), batch(1, 2, 2), unit(1, 2, 8)
    one.targets[:] = torch.tensor([[[1.0, torch.nan], [0.0, 1.0]]])
    logits = objective.label_head(4 * embeddings)[0].tolist()
    probability = 1 / (1 + np.exp(-np.array(logits)))
    expected = -np.mean(np.log([probability[0, 0], 1 - probability[1, 0], probability[1, 1]]))
    assert objective(embeddings, one)["supervision"].item() == pytest.approx(expected, rel=1e-4)


def test_targets_are_what_the_recipe_needs(tmp_path, make_store):
    assert choose_targets(PretrainConfig(recipe="paper"), ["AU01"]) is None
    assert choose_targets(PretrainConfig(), ["AU01"]) is clip_targets
    labels = choose_targets(PretrainConfig(geometry_weight=0, supervision_weight=1), ["AU01", "AU07", "AU12"])
    with Store(make_store(tmp_path / "store", n_subjects=1, n_frames=12)) as store:
        info = store.clips[0]
        assert store.names(info, "au") == ["AU01", "AU12"]
        targets = labels(store, info)
        np.testing.assert_array_equal(targets[:, [0, 2]], store.read(info, "au"))
        assert np.isnan(targets[:, 1]).all()
    with Store(make_store(tmp_path / "bare", n_subjects=1, n_frames=12, au_names=())) as store:
        assert np.isnan(labels(store, store.clips[0])).all() and labels(store, store.clips[0]).shape == (12, 3)


def test_labels_and_geometry_together_are_refused():
    with pytest.raises(SettingError, match="'supervision_weight'.*'geometry_weight' is 0"):
        parse_settings(PretrainConfig, {"supervision_weight": 1.0}, "the command line")


def test_heads_start_the_same_whatever_was_drawn_before():
    config = PretrainConfig(embedding_dim=8)
    first = Objective(config, N_POINTS)
    torch.rand(5)
    assert torch.equal(first.geometry_head.weight, Objective(config, N_POINTS).geometry_head.weight)
