import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import f1_score, r2_score
from sklearn.preprocessing import OneHotEncoder

from tclr.pipeline.features import FeatureClips, embeddings_of
from tclr.pipeline.views.report import statistics
from tclr.pipeline.views.report.statistics import (
    CoOccurrence,
    bin_means,
    map_embeddings,
    read_au_timeline,
    read_statistics,
    subject_rows,
    variance_between,
)
from tclr.schemas.store import Status


def test_clips_are_summed_by_subject():
    counts = {f"n_{status.name}": 0 for status in Status}
    clips = [
        {"subject": s, "n_frames": n, **counts, "n_ok": n - 1, "n_no_face": 1}
        for s, n in [("B", 5), ("A", 7), ("B", 9)]
    ]
    first, second = subject_rows(clips)
    assert (first["subject"], first["n_clips"], first["n_frames"], first["n_ok"]) == ("A", 1, 7, 6)
    assert (second["subject"], second["n_clips"], second["n_frames"], second["n_no_face"]) == ("B", 2, 14, 2)


def test_co_occurrence_is_that_of_a_loop_over_frames_with_unknown_labels():
    flags = np.random.default_rng(0).choice([0, 1, np.nan], (60, 4))
    flags[:, 3] = 0
    counted = CoOccurrence(["a", "b", "c", "d"])
    counted.add(flags[:20])
    counted.add(flags[20:])
    for row in range(4):
        for column in range(4):
            both = [f[column] == 1 for f in flags if f[row] == 1 and not np.isnan(f[column])]
            expected = np.mean(both) if both else np.nan
            np.testing.assert_allclose(counted.shares()[row, column], expected)


def test_variance_between_groups_is_what_a_regression_on_the_groups_explains():
    rng = np.random.default_rng(1)
    groups = rng.choice(list("abc"), 50)
    points = rng.normal(size=(50, 3)) + (groups == "a")[:, None] * [2, 0, 0]
    x = OneHotEncoder().fit_transform(groups[:, None])
    fitted = LinearRegression().fit(x, points).predict(x)
    expected = r2_score(points, fitted, multioutput="variance_weighted")
    assert variance_between(points, groups) == pytest.approx(expected)
    assert variance_between(np.ones((5, 2)), np.arange(5)) == 0


@pytest.mark.parametrize("n", [7, 10, 23, 1000])
def test_bins_hold_the_means_of_what_is_known(n):
    values = np.random.default_rng(n).normal(size=n)
    values[::3] = np.nan
    edges = np.linspace(0, n, 11).round().astype(int) if n > 10 else np.arange(n + 1)
    parts = [values[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    expected = [np.mean(part[~np.isnan(part)]) if (~np.isnan(part)).any() else np.nan for part in parts]
    np.testing.assert_allclose(bin_means(values, 10), expected)


def test_map_spreads_points_along_the_directions_of_most_variance():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 5)) * [0.1, 9, 0.1, 3, 0.1]
    frames = pd.DataFrame(
        {"subject": ["A", "B"] * 20, "clip": "T1", "frame": range(40), "AU01": 0.5, "AU01_c": [0, 1] * 20}
    )
    mapped = map_embeddings(points, frames, ["AU01", "AU02"])
    assert abs(np.corrcoef(mapped.points[:, 0], points[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(mapped.points[:, 1], points[:, 3])[0, 1]) > 0.95
    assert mapped.explained.sum() > 0.99 and list(mapped.columns) == ["AU01"] and mapped.names[1] == "B/T1 frame 1"
    assert mapped.between["AU01_c"] == pytest.approx(mapped.between["subject"]) and 0 < mapped.between["subject"] < 1
    assert map_embeddings(points[:2], frames[:2], []) is None


def test_embeddings_in_one_column_of_lists_are_those_in_many_columns():
    wide = pd.DataFrame({"emb_000": [1, np.nan, 3], "emb_001": [4, np.nan, 6]}, dtype="float32")
    lists = pd.DataFrame({"emb": [np.float32([1, 4]), None, np.float32([3, 6])]})
    np.testing.assert_array_equal(embeddings_of(wide), embeddings_of(lists))
    assert embeddings_of(pd.DataFrame({"emb": [None, None]})).shape == (2, 0)
    assert embeddings_of(pd.DataFrame({"AU01": [1.0]})).shape == (1, 0)


def test_a_large_folder_is_sampled_evenly_and_says_how_many_clips(features, monkeypatch):
    whole = read_statistics(FeatureClips(features))
    assert whole.n_clips == 4 and len(whole.embedding.points) == 4 * 39  # a frame a clip has no face
    assert whole.predicted.au_names == ["AU01"] and whole.labelled.au_names == ["AU01", "AU12"]
    monkeypatch.setattr(statistics, "MAX_FEATURE_CLIPS", 2)
    monkeypatch.setattr(statistics, "MAX_MAP_POINTS", 20)
    part = read_statistics(FeatureClips(features))
    assert part.n_clips == 2 and len(part.embedding.points) == 20 and set(part.embedding.subjects) == {"F001", "F002"}


def test_timeline_has_intensities_and_labels_below_predictions_and_scores_the_clip(features):
    timeline = read_au_timeline(FeatureClips(features), "F001", "T1")
    assert list(timeline.rows) == ["AU01", "AU01 label", "AU12 intensity / 5", "AU12 label"]
    np.testing.assert_allclose(timeline.rows["AU12 intensity / 5"], timeline.rows["AU01"], rtol=1e-6)
    np.testing.assert_allclose(
        timeline.rows["AU01"], np.where(np.arange(40) == 1, np.nan, np.arange(40) / 40), rtol=1e-6
    )
    table = pd.read_parquet(features / "subject=F001/T1.parquet")
    face = table["AU01_c"].notna()
    expected = f1_score(table["AU01_true"][face], table["AU01_c"][face])
    name, predicted, labelled, f1 = timeline.table[0]
    assert (name, f1) == ("AU01", pytest.approx(expected)) and predicted == pytest.approx(20 / 39)
    assert labelled == pytest.approx(table["AU01_true"].mean())
    assert timeline.table[1][1] is None and timeline.table[1][3] is None  # AU12 has no prediction
    assert timeline.frames.tolist() == table["frame"].tolist() and timeline.thresholds == {"AU01": 0.5}
    assert read_au_timeline(FeatureClips(features), "F009", "T1") is None


def test_columns_of_a_long_timeline_begin_with_their_first_frame(make_store, make_features, tmp_path, monkeypatch):
    store = make_store(tmp_path / "store", n_subjects=1, n_frames=10)
    monkeypatch.setattr(statistics, "TIMELINE_BINS", 4)
    timeline = read_au_timeline(FeatureClips(make_features(store, tmp_path / "features")), "F001", "T1")
    assert timeline.frames.tolist() == [100, 102, 105, 108] and len(timeline.seconds) == 4
    np.testing.assert_allclose(timeline.seconds, np.array([0.5, 3, 6, 8.5]) / 25)
