import numpy as np
import pytest
from sklearn import metrics as reference

from tclr.pipeline.au import Outcomes, Prediction, score


@pytest.fixture(scope="module")
def outcomes():
    """Nine subjects of unequal length in three folds, three AUs; some labels are unknown, some frames not predicted."""
    rng = np.random.default_rng(3)
    subject = np.repeat([f"F{i:03d}" for i in range(9)], rng.integers(15, 40, 9))
    shape = (len(subject), 3)
    label = (rng.random(shape) < (0.1, 0.4, 0.8)).astype(np.int8)
    probability = np.clip(0.3 * label + 0.7 * rng.random(shape), 0, 1).round(2)  # rounded: ties
    decision = (probability > 0.5).astype(np.int8)
    truth = rng.integers(0, 6, shape).astype(np.float32)
    guess = (0.5 * truth + rng.normal(0, 1, shape)).clip(0, 5)
    label[rng.random(shape) < 0.1] = -1
    truth[rng.random(shape) < 0.2] = np.nan
    gone = rng.random(shape) < 0.05
    decision[gone], probability[gone], guess[gone] = -1, np.nan, np.nan
    fold = np.array([int(name[1:]) % 3 for name in subject])
    return Outcomes(label, decision, probability, truth, guess, subject, fold)


def icc_by_anova(table):
    """ICC(3,1) from the mean squares of a two-way table, cell by cell (Shrout and Fleiss, 1979)."""
    n, k = table.shape
    grand, targets, raters = table.mean(), table.mean(axis=1), table.mean(axis=0)
    bms = k * sum((t - grand) ** 2 for t in targets) / (n - 1)
    residual = sum((table[i, j] - targets[i] - raters[j] + grand) ** 2 for i in range(n) for j in range(k))
    ems = residual / ((n - 1) * (k - 1))
    return (bms - ems) / (bms + (k - 1) * ems)


def slow(name, outcomes, rows, column):
    """One metric of one AU on some rows, rows may repeat, by scikit-learn or by hand."""
    label, decision = outcomes.label[rows, column], outcomes.decision[rows, column]
    probability = outcomes.probability[rows, column]
    truth, guess = outcomes.intensity_label[rows, column], outcomes.intensity[rows, column]
    known, rated = (label >= 0) & (decision >= 0), np.isfinite(truth) & np.isfinite(guess)
    match name:
        case "f1":
            return reference.f1_score(label[known], decision[known]) if label[known].any() else np.nan
        case "accuracy":
            return reference.accuracy_score(label[known], decision[known])
        case "roc_auc":
            both = len(set(label[known])) == 2
            return reference.roc_auc_score(label[known], probability[known]) if both else np.nan
        case "icc_3_1":
            return icc_by_anova(np.stack([truth[rated], guess[rated]], axis=1).astype(float))
        case "mae":
            return reference.mean_absolute_error(truth[rated], guess[rated])


METRICS = ("f1", "accuracy", "roc_auc", "icc_3_1", "mae")


@pytest.mark.parametrize("name", METRICS)
def test_scores_are_those_of_scikit_learn_pooled_and_by_fold(outcomes, name):
    scores = score(outcomes, resamples=0)[name]
    everything = np.arange(len(outcomes.subject))
    pooled = [slow(name, outcomes, everything, column) for column in range(3)]
    folds = [[slow(name, outcomes, everything[outcomes.fold == f], column) for f in range(3)] for column in range(3)]
    assert [e.value for e in scores["pooled"].aus] == pytest.approx(pooled, abs=1e-9)
    assert [e.value for e in scores["folds"].aus] == pytest.approx(np.mean(folds, axis=1), abs=1e-9)
    assert scores["folds"].mean.value == pytest.approx(np.mean(folds), abs=1e-9)
    assert np.isnan(scores["pooled"].mean.low)


@pytest.mark.parametrize("way", ["pooled", "folds"])
@pytest.mark.parametrize("name", METRICS)
def test_intervals_are_percentiles_over_resampled_subjects(outcomes, name, way):
    drawn = np.random.default_rng(5).multinomial(9, np.full(9, 1 / 9), 25)
    index = np.unique(outcomes.subject, return_inverse=True)[1]
    values = []
    for counts in drawn:
        rows = np.repeat(np.arange(len(index)), counts[index])  # frames of a subject, as often as it was drawn
        parts = [rows] if way == "pooled" else [part for f in range(3) if len(part := rows[outcomes.fold[rows] == f])]
        by_part = [[slow(name, outcomes, part, column) for column in range(3)] for part in parts]
        values.append(np.nanmean(by_part, axis=0))
    found = score(outcomes, resamples=25, seed=5)[name][way]
    low, high = np.percentile(values, (2.5, 97.5), axis=0)
    assert [e.low for e in found.aus] == pytest.approx(low, abs=1e-9)
    assert [e.high for e in found.aus] == pytest.approx(high, abs=1e-9)
    ends = np.percentile(np.mean(values, axis=1), (2.5, 97.5))
    assert (found.mean.low, found.mean.high) == pytest.approx(tuple(ends), abs=1e-9)


def test_intervals_of_a_subject_metric_cover_the_truth_about_95_times_in_100():
    rng, covered = np.random.default_rng(0), 0
    for trial in range(200):
        skill = rng.beta(16, 4, 40)  # each subject's own accuracy; the mean is 0.8
        right = rng.random((40, 30)) < skill[:, None]
        n = right.size
        ones, blank = np.ones((n, 1), np.int8), np.full((n, 1), np.nan)
        decision, subject = right.reshape(-1, 1).astype(np.int8), np.repeat(np.arange(40), 30)
        outcomes = Outcomes(ones, decision, blank, blank, blank, subject, np.zeros(n))
        found = score(outcomes, resamples=200, seed=trial)["accuracy"]["pooled"].mean
        covered += found.low <= 0.8 <= found.high
    assert 178 <= covered <= 199


def test_what_cannot_be_measured_is_nan_and_left_out_of_the_mean(outcomes):
    label = outcomes.label.copy()
    label[:, 0] = np.where(label[:, 0] == 1, 0, label[:, 0])
    label[:, 1] = -1
    scores = score(Outcomes(**{**vars(outcomes), "label": label}), resamples=10)
    for name in ("f1", "roc_auc"):
        values = [e.value for e in scores[name]["pooled"].aus]
        assert np.isnan(values[:2]).all() and scores[name]["pooled"].mean.value == values[2]
        assert np.isnan(scores[name]["pooled"].aus[0].low)
    assert [np.isnan(e.value) for e in scores["accuracy"]["pooled"].aus] == [False, True, False]


def one(name, label, predicted):
    """One metric of one AU and one subject."""
    codes, numbers = np.full(len(label), -1, np.int8), np.full(len(label), np.nan)
    given = dict.fromkeys(("label", "decision"), codes) | dict.fromkeys(
        ("probability", "intensity_label", "intensity"), numbers
    )
    truth = "intensity_label" if name in ("icc_3_1", "mae") else "label"
    guess = {"f1": "decision", "accuracy": "decision", "roc_auc": "probability"}.get(name, "intensity")
    given |= {truth: np.array(label), guess: np.array(predicted)}
    columns = {key: values[:, None] for key, values in given.items()}
    outcomes = Outcomes(**columns, subject=np.zeros(len(label)), fold=np.zeros(len(label)))
    return score(outcomes, resamples=0)[name]["pooled"].aus[0].value


def test_single_metrics_skip_unknowns():
    label, decision = np.array([1, 1, 0, 0, -1, 1]), np.array([1, 0, 1, 0, 1, -1])
    assert (one("f1", label, decision), one("accuracy", label, decision)) == (0.5, 0.5)
    assert one("roc_auc", [1, 0, 0, -1], [0.5, 0.5, 0.1, 0.9]) == 0.75
    truth, guess = np.array([0, 2, 4, np.nan]), np.array([1, 2, 3, 0.0])
    assert one("mae", truth, guess) == pytest.approx(2 / 3)
    assert one("icc_3_1", truth, guess) == pytest.approx(icc_by_anova(np.array([[0, 1], [2, 2], [4, 3.0]])))
    assert np.isnan(one("icc_3_1", [2.0, 2.0], [2.0, 2.0])) and one("icc_3_1", truth, truth) == pytest.approx(1)
    assert np.isnan([one("f1", label * 0, decision), one("roc_auc", label * 0, decision)]).all()
    assert np.isnan(one("mae", truth * np.nan, guess)) and one("icc_3_1", [0.0, 1, 2], [1.0, 1, 1]) == 0


def test_predictions_and_labels_are_joined_by_name(make_frames):
    frames = make_frames(np.zeros((3, 1)), [[1, 0], [0, -1], [1, 1]])  # AU01, AU02
    predicted = Prediction(np.array([[0.2, 0.9]] * 3, np.float32), np.full((3, 2), 4, np.float32))
    joined = Outcomes.of(frames, predicted, ("AU09", "AU02"), np.array([0.1, 0.95]))
    assert joined.decision.tolist() == [[-1, 0]] * 3 and np.isnan(joined.probability[:, 0]).all()
    assert (joined.intensity[:, 1] == 4).all() and joined.label is frames.labels
    both = Outcomes.join_folds([joined, joined.take(np.array([True, False, True]))])
    assert both.fold.tolist() == [0, 0, 0, 1, 1] and both.subject.tolist() == ["0", "1", "2", "0", "2"]
