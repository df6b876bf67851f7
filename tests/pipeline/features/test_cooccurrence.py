import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import jaccard_score, matthews_corrcoef, precision_score

from tclr.pipeline.features.cooccurrence import measure_cooccurrence
from tclr.schemas.errors import InputError

AUS = ["AU01_c", "AU06_c", "AU12_c"]


@pytest.fixture
def table():
    """Three subjects of unlike length; AU06 comes with AU12, some frames are unknown."""
    rng = np.random.default_rng(0)
    smile = rng.random(600) < 0.4
    values = np.stack([rng.random(600) < 0.3, np.where(rng.random(600) < 0.8, smile, ~smile), smile], axis=1)
    table = pd.DataFrame(values.astype(int), columns=AUS).astype("Int8")
    table.iloc[::7, 1] = pd.NA
    table["subject"] = pd.Categorical(np.repeat(["a", "b", "c"], [400, 150, 50]))
    return table


def pairs(table, by):
    return measure_cooccurrence(table, AUS, by=by).set_index(["given", "au"])


def test_pooled_measures_are_those_of_scikit_learn(table):
    result = pairs(table, None)
    for given, au in result.index:
        both = table[[given, au]].loc[:, ~pd.Index([given, au]).duplicated()].dropna().astype(int)
        x, y = both[given], both[au]
        row = result.loc[(given, au)]
        assert row["n_frames"] == len(both) and row["n_both"] == ((x == 1) & (y == 1)).sum()
        assert row["conditional"] == pytest.approx(precision_score(y, x))  # of the frames with given
        assert row["jaccard"] == pytest.approx(jaccard_score(x, y))
        assert row["phi"] == pytest.approx(matthews_corrcoef(x, y))


def test_each_subject_counts_the_same(table):
    result = pairs(table, "subject")
    single = [pairs(rows, None) for _, rows in table.groupby("subject", observed=True)]
    for name in ("conditional", "jaccard", "phi"):
        np.testing.assert_allclose(result[name], np.mean([one[name] for one in single], axis=0))
    assert (result["n_groups"] == 3).all() and not np.allclose(result["phi"], pairs(table, None)["phi"])


def test_a_subject_without_the_au_says_nothing_about_it(table):
    table.loc[table["subject"] == "c", "AU12_c"] = 0
    result, others = pairs(table, "subject"), pairs(table[table["subject"] != "c"], "subject")
    assert result.loc[("AU12_c", "AU06_c"), "conditional"] == others.loc[("AU12_c", "AU06_c"), "conditional"]
    assert result.loc[("AU12_c", "AU06_c"), "n_groups"] == 2
    assert result.loc[("AU06_c", "AU12_c"), "conditional"] < others.loc[("AU06_c", "AU12_c"), "conditional"]


def test_an_au_that_never_comes_has_no_measures(table):
    table["AU01_c"] = 0
    result = pairs(table, "subject")
    assert result.loc[("AU01_c", "AU12_c"), ["conditional", "phi"]].isna().all()
    assert result.loc[("AU12_c", "AU01_c"), "conditional"] == 0 == result.loc[("AU12_c", "AU01_c"), "jaccard"]


def test_measure_refuses_probabilities_and_unknown_columns(table):
    with pytest.raises(InputError, match="AU12 has other values"):
        measure_cooccurrence(table.assign(AU12=0.4), ["AU12"])
    with pytest.raises(InputError, match="column 'AU99_c'"):
        measure_cooccurrence(table, ["AU99_c"])
