import numpy as np
import pytest
from sklearn.metrics import f1_score

from tclr.pipeline.au import blendshape_rows, fit_au, load_head
from tclr.pipeline.au.learning.thresholds import choose_threshold, cross_threshold, quiet_threshold
from tclr.pipeline.store import Store
from tclr.schemas.config import FitAuConfig


def test_choose_threshold_finds_the_best_f1_of_all_cuts():
    rng = np.random.default_rng(1)
    for base_rate in (0.05, 0.5, 0.9):
        y = (rng.random(200) < base_rate).astype(np.int8)
        p = np.clip(0.3 * y + 0.5 * rng.random(200), 0, 1).round(2)  # rounded: ties
        best = max(f1_score(y, p >= cut) for cut in np.unique(p))
        assert f1_score(y, p >= choose_threshold(p, y)) == pytest.approx(best)


def test_choose_threshold_is_a_half_without_a_positive():
    assert choose_threshold(np.array([0.1, 0.9]), np.array([0, 0])) == 0.5


def test_cross_threshold_is_blind_to_the_fold_it_decides():
    rng = np.random.default_rng(2)
    y, folds = rng.integers(0, 2, 300), np.repeat([0, 1, 2], 100)
    p = np.clip(0.4 * y + 0.6 * rng.random(300), 0, 1)
    decision = cross_threshold(p, y, folds)
    for fold in range(3):
        inside = folds == fold
        other = np.where(inside, 1 - y, y)
        assert (cross_threshold(p, other, folds)[inside] == decision[inside]).all()
        threshold = choose_threshold(p[~inside], y[~inside])
        assert (decision[inside] == (p[inside] >= threshold)).all()


@pytest.mark.parametrize("share", [0, 0.1, 0.25, 0.5])
def test_quiet_threshold_is_the_lowest_that_leaves_neutral_frames_quiet(share):
    rng = np.random.default_rng(0)
    probability, neutral = rng.random(200).round(2), rng.random(200) > 0.6
    threshold = quiet_threshold(probability, neutral, share)
    assert (probability[neutral] >= threshold).mean() <= share
    lower = np.max(probability[probability < threshold])
    assert (probability[neutral] >= lower).mean() > share or not (neutral & (probability == lower)).any()


def test_quiet_threshold_knows_nothing_without_neutral_frames():
    assert quiet_threshold(np.array([0.2, 0.9]), np.array([False, False]), 0.0) == 0
    assert quiet_threshold(np.array([0.2, 0.9]), np.array([True, True]), 1.0) == 0


def test_faces_of_another_store_at_rest_become_quiet_too(make_store, tmp_path):
    labelled = make_store(tmp_path / "labelled", n_subjects=4, n_frames=24, intensity=True)
    at_rest = make_store(tmp_path / "at_rest", n_subjects=3, n_frames=20, seed=7)
    config = FitAuConfig(inputs="blendshapes", neutral_share=0.1)
    plain, quiet = (
        load_head(fit_au(labelled, None, tmp_path / f"{name}.safetensors", config, neutral=neutral).path)
        for name, neutral in (("plain", None), ("quiet", at_rest))
    )
    with Store(at_rest) as store:
        shapes = np.concatenate([blendshape_rows(store, info, 0, info.n_frames) for info in store.clips])
    present = plain.predict(shapes) >= quiet.threshold
    assert (present.mean(axis=0) <= 0.1).all() and (quiet.threshold >= plain.threshold).all()
    assert (quiet.threshold > plain.threshold).any()
    assert [score.threshold for score in quiet.scores] == pytest.approx(quiet.threshold.tolist())
