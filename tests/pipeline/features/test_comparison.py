from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tclr.pipeline.features.comparison import compare_groups, correct_holm, hedges_g
from tclr.schemas.errors import InputError


@pytest.fixture
def people():
    """Five and six subjects: AU12 differs by much, AU01 does not, AU04 is the same in all."""
    rng = np.random.default_rng(1)
    group = pd.Series(["control"] * 5 + ["patient"] * 6, index=[f"S{i}" for i in range(11)])
    values = pd.DataFrame({"AU12": rng.normal(0.3, 0.1, 11), "AU01": rng.normal(0.5, 0.1, 11)}, index=group.index)
    values.loc[group == "patient", "AU12"] += 0.4
    return values.assign(AU04=0.0), group


def exact_p(a, b):
    """Twice the smaller tail over every split of the pooled subjects."""
    pooled = np.concatenate([a, b])
    differences = []
    for chosen in combinations(range(len(pooled)), len(a)):
        first = np.isin(np.arange(len(pooled)), chosen)
        differences.append(pooled[~first].mean() - pooled[first].mean())
    observed, differences = b.mean() - a.mean(), np.array(differences)
    tails = [(differences >= observed - 1e-12).mean(), (differences <= observed + 1e-12).mean()]
    return min(1, 2 * min(tails))


def test_means_and_p_are_those_of_every_permutation(people):
    values, group = people
    result = compare_groups(values, group, n_resamples=999)
    for name in ("AU12", "AU01"):
        a, b = values.loc[group == "control", name].to_numpy(), values.loc[group == "patient", name].to_numpy()
        row = result.loc[name]
        assert (row["n_control"], row["n_patient"]) == (5, 6)
        assert row["difference"] == pytest.approx(b.mean() - a.mean()) == row["mean_patient"] - row["mean_control"]
        assert row["p"] == pytest.approx(exact_p(a, b))
    assert result.loc["AU12", "p_holm"] < 0.05 < result.loc["AU01", "p_holm"]


def test_hedges_g_is_the_t_statistic_rescaled(people):
    values, group = people
    a, b = (values.loc[group == name, "AU12"].to_numpy() for name in ("control", "patient"))
    t = stats.ttest_ind(b, a).statistic
    assert hedges_g(a, b) == pytest.approx(t * np.sqrt(1 / 5 + 1 / 6) * (1 - 3 / (4 * 9 - 1)))
    result = compare_groups(values, group, n_resamples=999).loc["AU12"]
    assert result["g_low"] < result["hedges_g"] < result["g_high"] and result["g_low"] > 0


def test_the_interval_covers_the_true_effect_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    group = pd.Series(np.repeat(["a", "b"], 30), index=range(60))
    values = pd.DataFrame(rng.normal(size=(60, 60)) + (np.arange(60)[:, None] >= 30) * 0.8, index=group.index)
    result = compare_groups(values, group, n_resamples=300, confidence=0.8)
    covered = ((result["g_low"] < 0.8) & (result["g_high"] > 0.8)).mean()
    assert 0.65 < covered < 0.93


def test_holm_matches_its_definition():
    p = np.array([0.01, 0.04, 0.03, np.nan, 0.005])
    np.testing.assert_allclose(correct_holm(p), [0.03, 0.06, 0.06, np.nan, 0.02])  # 4x, 3x, 2x, 1x, never falling
    assert correct_holm(np.array([0.6, 0.9])).tolist() == [1, 1]
    assert np.isnan(correct_holm(np.array([np.nan]))).all()


def test_what_cannot_be_tested_does_not_count(people):
    values, group = people
    result = compare_groups(values, group, n_resamples=99)
    tested = result.loc["AU04", ["hedges_g", "g_low", "p", "p_holm"]]
    assert tested.isna().all() and result.loc["AU04", "mean_control"] == 0
    assert result.loc["AU12", "p_holm"] == min(1, 2 * result.loc["AU12", "p"])
    values.loc[group[group == "patient"].index[1:], "AU01"] = np.nan
    alone = compare_groups(values, group, n_resamples=99).loc["AU01"]
    assert alone["n_patient"] == 1 and np.isnan(alone["p"])


def test_groups_may_be_numbers_and_name_more_subjects(people):
    values, group = people
    numbers = pd.concat([group.map({"control": 0, "patient": 1}), pd.Series({"X9": 2})])
    renamed = compare_groups(values, numbers, n_resamples=99)
    assert renamed["p"].equals(compare_groups(values, group, n_resamples=99)["p"]) and "n_0" in renamed


def test_compare_refuses_frames_strangers_and_other_numbers_of_groups(people):
    values, group = people
    with pytest.raises(InputError, match="S0 has several"):
        compare_groups(pd.concat([values, values]), group)
    with pytest.raises(InputError, match="S0 has none"):
        compare_groups(values, group.drop("S0"))
    with pytest.raises(InputError, match="but got 1: control"):
        compare_groups(values.iloc[:4], group)
