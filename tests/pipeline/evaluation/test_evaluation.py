import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from tclr.cli.main import cli
from tclr.pipeline.au import MAPPED_AUS, SHAPE, landmark_rows, load_head, predict_from_blendshapes, shape_rows
from tclr.pipeline.encoder import EncoderInfo, build_encoder, save_encoder, untrained_encoder
from tclr.pipeline.evaluation import Evaluation, evaluation
from tclr.pipeline.evaluation import methods as fold_predictions
from tclr.pipeline.evaluation.evaluation import note_people_seen
from tclr.pipeline.evaluation.folds import FoldedData
from tclr.pipeline.evaluation.label_curve import CurvePoint, draw_subsets, summarise_points
from tclr.pipeline.evaluation.methods import METHODS, Method, predict_fitted
from tclr.pipeline.store import Store, hash_data
from tclr.schemas.config import EvaluateConfig, FitAuConfig
from tclr.schemas.errors import InputError, ModelError, SettingError

pytestmark = pytest.mark.usefixtures("one_thread")

FOLDS = {"1": ["F004", "F006"], "2": ["F003", "F005"], "3": ["F001", "F002"]}
"""Of the store below, as BP4D's parts C, B and A have them."""
FIT = FitAuConfig(folds=2)
QUICK = EvaluateConfig(resamples=20)
SEEN = {"image_size": 32, "embedding_dim": 8, "crop_ratio": 1.0, "arch": "mobilenet_v2"}


@pytest.fixture(scope="module")
def store(make_store, tmp_path_factory):
    """Six subjects, two in each part; frame 3 has labels but no face."""
    return make_store(tmp_path_factory.mktemp("bp4d") / "store", n_subjects=6, n_frames=20, no_face=(3,))


def write_encoder(path, **told):
    save_encoder(path, build_encoder(8, 4, "mobilenet_v2"), EncoderInfo(**SEEN, **told))
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("run") / "encoder.safetensors", subjects=("folder/anna",))


def change(store, what, subjects=None):
    """Apply ``what(clip, name)`` to the clips of some subjects."""
    for path in sorted((store / "subjects").glob("*.h5")):
        if subjects is None or path.stem in subjects:
            with h5py.File(path, "r+") as file:
                for name, clip in file["clips"].items():
                    what(clip, name)


def add_intensities(clip, name):
    """Give the clip intensities that follow its labels, with an unknown one."""
    values = clip["au"][:] * 3.0 + 0.5
    values[7] = np.nan
    clip.create_dataset("au_intensity", data=values.astype(np.float32), chunks=True).attrs["names"] = clip["au"].attrs[
        "names"
    ]


def evaluate(store, encoder, *, config=QUICK, methods=None, protocol="bp4d-3fold", fit=FIT, **arguments):
    stores = store if isinstance(store, list) else [store]
    prepared = Evaluation(stores, protocol, str(encoder), config, fit, methods=methods, **arguments)
    return prepared, {result.method: result for result in prepared.run()}


@pytest.fixture(scope="module")
def done(store, encoder):
    return evaluate(store, encoder)


# ---- figures


@pytest.fixture(scope="module")
def written(store, encoder, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    rated = shutil.copytree(store, out / "rated")
    change(rated, add_intensities)
    files = {
        "--scores": "e.json",
        "--predictions": "p.parquet",
        "--latex": "t.tex",
        "--markdown": "t.md",
        "--plot": "c.png",
    }
    arguments = ["evaluate", rated, "--protocol", "bp4d-3fold", "--encoder", encoder, "--resamples", 30, "--folds", 2]
    arguments += ["--label-shares", "30,100", "--label-seeds", "2"]
    for option, name in files.items():
        arguments += [option, out / name]
    shown = CliRunner().invoke(cli, list(map(str, arguments)))
    assert shown.exit_code == 0, shown.output
    return out, json.loads((out / "e.json").read_text()), pd.read_parquet(out / "p.parquet"), shown.output


def test_figures_in_the_json_are_scikit_learns_on_the_predictions_in_the_parquet(written):
    _, told, table, _ = written
    expected = [name for name in METHODS if name not in ("imagenet", "bundled")]  # 68 landmarks are not mediapipe's
    assert [method["method"] for method in told["methods"]] == expected
    checked = 0
    for method in told["methods"]:
        own = table[table.method == method["method"]]
        for au in told["au_names"]:
            known = own[own[f"{au}_true"].notna() & own[f"{au}_c"].notna()]
            for metric, reference, column in (
                ("f1", f1_score, f"{au}_c"),
                ("accuracy", accuracy_score, f"{au}_c"),
                ("roc_auc", roc_auc_score, au),
            ):
                scores = method["scores"][metric]
                folds = [
                    reference(part[f"{au}_true"], part[column]) for _, part in known.groupby("fold", observed=True)
                ]
                assert len(folds) == 3 and scores["folds"][au][0] == pytest.approx(np.mean(folds), abs=1e-9)
                pooled = reference(known[f"{au}_true"], known[column])
                assert scores["pooled"][au][0] == pytest.approx(pooled, abs=1e-9)
                value, low, high = scores["folds"][au]
                assert low <= high and 0 <= value <= 1
                checked += 1
        mean = np.mean([method["scores"]["f1"]["folds"][au][0] for au in told["au_names"]])
        assert method["scores"]["f1"]["folds"]["mean"][0] == pytest.approx(mean)
    assert checked == 6 * 2 * 3


def test_decisions_follow_from_probabilities_and_the_folds_thresholds(written):
    _, told, table, _ = written
    method = told["methods"][-1]
    own = table[table.method == "encoder"]
    for fold, thresholds in method["thresholds"].items():
        part = own[own.fold == fold]
        assert set(part.subject.unique()) == set(FOLDS[fold])
        for au, threshold in thresholds.items():
            np.testing.assert_array_equal(part[f"{au}_c"], part[au] >= np.float32(threshold))
    assert set(method["thresholds"]) == set(FOLDS)


def test_rows_of_the_parquet_are_the_labelled_frames_with_a_face(written):
    out, told, table, _ = written
    assert told["frames"] == {"labelled": 6 * 20, "scored": 6 * 19} and len(table) == 6 * 6 * 19
    with Store(out / "rated") as opened:
        info = opened.clips[2]
        face, labels = opened.face_mask(info), opened.read(info, "au")
        truth = opened.read(info, "au_intensity")
    own = table[(table.method == "random") & (table.subject == info.subject)]
    assert (
        (own.frame == 100 + np.flatnonzero(face)).all() and own.timestamp.iloc[0] == 0 and (own.dataset == "bp4d").all()
    )
    np.testing.assert_array_equal(own[["AU01_true", "AU12_true"]].to_numpy(int), labels[face])
    np.testing.assert_array_equal(own.AU12_r_true.to_numpy(float, na_value=np.nan), truth[face, 1])


def test_intensity_is_scored_where_it_is_known(written):
    _, told, table, shown = written
    scores = {method["method"]: method["scores"] for method in told["methods"]}
    own = table[table.method == "encoder"].dropna(subset=["AU12_r_true"])
    error = (own.AU12_r - own.AU12_r_true).abs().mean()
    assert scores["encoder"]["mae"]["pooled"]["AU12"][0] == pytest.approx(error, rel=1e-5)
    variance = np.cov(own.AU12_r, own.AU12_r_true)
    icc = 2 * variance[0, 1] / (variance[0, 0] + variance[1, 1])  # what ICC(3,1) comes to with two raters
    assert scores["encoder"]["icc_3_1"]["pooled"]["AU12"][0] == pytest.approx(icc, rel=1e-4)
    assert scores["all-positive"]["mae"]["folds"]["mean"] == [None, None, None]
    assert "ICC(3,1)" in shown and "MAE" in shown


def test_tables_have_a_row_a_method_and_the_same_figures(written):
    out, told, _, shown = written
    for method in told["methods"]:
        percent = f"{100 * method['scores']['f1']['folds']['mean'][0]:.1f}"
        for text in (shown, (out / "t.md").read_text(), (out / "t.tex").read_text()):
            assert any(method["label"] in line and percent in line for line in text.splitlines())
    assert (
        "6 of the protocol's 41 subjects: not comparable" in shown and "6 of 120 labelled frames have no face" in shown
    )
    assert "(published)" not in shown


def test_curve_uses_that_share_of_the_training_subjects_and_ends_in_the_table(written):
    out, told, _, _ = written
    for method in told["methods"][2:]:
        points = method["curve"]
        assert [(p["share"], p["seed"], p["n_subjects"]) for p in points] == [
            (30, 0, [2, 2, 2]), (30, 1, [2, 2, 2]), (100, 0, [4, 4, 4]),
        ]  # fmt: skip
        assert points[-1]["f1"] == method["scores"]["f1"]["folds"]["mean"][0] and points[0] != points[1]
    assert told["methods"][0]["curve"] == told["methods"][1]["curve"] == []
    assert (out / "c.png").read_bytes().startswith(b"\x89PNG")


# ---- nothing leaks


def test_nothing_of_a_fold_depends_on_its_test_labels(store, encoder, done, tmp_path):
    other = shutil.copytree(store, tmp_path / "other")
    rare = np.repeat((np.arange(20) == 11)[:, None], 2, axis=1).astype(np.int8)  # no threshold stays the best one
    change(other, lambda clip, _: clip["au"].write_direct(rare), FOLDS["1"])
    changed = evaluate(other, encoder, methods=["landmarks", "encoder"])[1]
    for method, after in changed.items():
        before = done[1][method]
        first = before.outcomes.fold == 0
        assert (before.outcomes.label[first] != after.outcomes.label[first]).any()
        assert after.thresholds["1"] == before.thresholds["1"]
        np.testing.assert_array_equal(after.outcomes.probability[first], before.outcomes.probability[first])
        np.testing.assert_array_equal(after.outcomes.decision[first], before.outcomes.decision[first])
        assert after.thresholds["2"] != before.thresholds["2"]  # there they are training labels


def test_heads_are_fitted_on_training_subjects_only(store, encoder, monkeypatch):
    fit_head, fitted = fold_predictions.fit_head, []

    def watched(frames, *arguments, **keywords):
        fitted.append(set(frames.subjects.tolist()))
        return fit_head(frames, *arguments, **keywords)

    monkeypatch.setattr(fold_predictions, "fit_head", watched)
    evaluate(store, encoder, methods=["landmarks", "encoder"], config=EvaluateConfig(label_shares="30", label_seeds=1))
    everyone = {name for names in FOLDS.values() for name in names}
    assert fitted[:3] == [everyone - set(names) for names in FOLDS.values()]
    assert [len(names) for names in fitted] == [4, 4, 4, 2, 2, 2] * 2
    assert all(names <= everyone - set(FOLDS[str(i % 3 + 1)]) for i, names in enumerate(fitted))


def test_encoder_that_has_seen_test_subjects_is_noted_and_refused_if_it_saw_their_labels(store, tmp_path):
    data = FoldedData([store], "bp4d-3fold")

    def notes(**told):
        return note_people_seen(EncoderInfo(**told), "run/", data)

    with Store(store) as opened:
        data_hash = hash_data(opened.clips)
    assert notes() == notes(data_hash="other") == notes(subjects=("disfa/F001",), data_hash=data_hash) == ()
    assert notes(subjects=("bp4d/F001", "bp4d/F999")) == (
        "the encoder was pretrained, without labels, on frames of 1 of the 6 test subjects",
    )
    assert "on frames of this store" in notes(data_hash=data_hash)[0]
    with pytest.raises(InputError, match="run/ learnt from labels of 1 of the 6 test subjects"):
        notes(subjects=("bp4d/F001",), supervised=True)
    assert notes(subjects=("disfa/SN001",), supervised=True) == ()
    seen = write_encoder(tmp_path / "seen.safetensors", subjects=("bp4d/F003",))
    with pytest.raises(InputError, match="learnt from labels"):
        evaluate(store, write_encoder(tmp_path / "told.safetensors", subjects=("bp4d/F003",), supervised=True))
    assert "1 of the 6 test subjects" in evaluate(store, seen, methods=["encoder"])[1]["encoder"].notes[0]


# ---- methods


def test_baselines_are_what_they_say(store, done):
    prepared, results = done
    assert prepared.methods == ["all-positive", "blendshape-mapping", "landmarks", "blendshapes", "random", "encoder"]
    labels = results["all-positive"].outcomes.label
    rate = np.array([labels[results["all-positive"].outcomes.fold == fold].mean(axis=0) for fold in range(3)])
    found = [estimate.value for estimate in results["all-positive"].scores["f1"]["folds"].aus]
    assert found == pytest.approx((2 * rate / (1 + rate)).mean(axis=0))
    assert results["all-positive"].scores["roc_auc"]["pooled"].mean.value == 0.5
    with Store(store) as opened:
        info = opened.clips[3]
        mapped = predict_from_blendshapes(opened.read(info, "blendshapes")[opened.face_mask(info)])
    own = results["blendshape-mapping"].outcomes
    columns = [MAPPED_AUS.index(name) for name in ("AU01", "AU12")]
    np.testing.assert_allclose(own.probability[own.subject == info.subject], mapped[:, columns])
    np.testing.assert_array_equal(own.decision, own.probability >= 0.5)


@pytest.fixture(scope="module")
def of_mediapipe(make_store, tmp_path_factory):
    """Six subjects with mediapipe's landmarks, an AU that no bundled head has, and no crops."""
    path = tmp_path_factory.mktemp("mediapipe") / "store"
    make_store(path, n_subjects=6, n_frames=20, n_landmarks=478, au_names=("AU12", "AU16"), no_face=(3,), frames=False)
    return path


def test_bundled_head_is_a_row_that_learns_nothing_here(of_mediapipe, tmp_path):
    (tmp_path / "folds.csv").write_text("subject,fold\n" + "".join(f"F00{i},{i % 2}\n" for i in range(1, 7)))
    prepared, results = evaluate(of_mediapipe, "random", protocol=str(tmp_path / "folds.csv"), methods=["bundled"])
    found = results["bundled"]
    assert found.label == "bundled shape, not trained here" and "fitted on other data" in found.notes[0]
    assert found.n_aus == 1 and set(found.thresholds["0"]) == {"AU12"}
    head = load_head(SHAPE)
    with Store(of_mediapipe) as opened:
        info = opened.clips[2]
        expected = head.predict(shape_rows(opened, info, 0, 20)[opened.face_mask(info)])[:, head.au_names.index("AU12")]
    own = found.outcomes
    np.testing.assert_allclose(own.probability[own.subject == info.subject, 0], expected, rtol=1e-5)
    cut = head.threshold[head.au_names.index("AU12")]
    np.testing.assert_array_equal(own.decision[:, 0], own.probability[:, 0] >= cut)
    assert (own.decision[:, 1] == -1).all()


def test_bundled_head_is_left_out_where_it_cannot_be_judged(store, of_mediapipe, encoder, monkeypatch):
    with pytest.raises(SettingError, match="'bundled' cannot be done: not all clips have mediapipe's landmarks"):
        evaluate(store, encoder, methods=["bundled"])
    told = untrained_encoder(EncoderInfo(**SEEN, subjects=("bp4d/F003",), supervised=True))
    with_crops = Method("face", shape_rows, None, told, load_head(SHAPE))
    monkeypatch.setattr(evaluation, "bundled_method", lambda with_crops_: with_crops)
    with pytest.raises(SettingError, match="'bundled' cannot be done: it has learnt from labels of people"):
        evaluate(of_mediapipe, "random", methods=["bundled"])


def test_random_encoder_sees_the_same_pictures_as_the_given_one(done):
    prepared, results = done
    sizes = [
        (e["image_size"], e["crop_ratio"], e["embedding_dim"])
        for e in (results[m].encoder for m in ("random", "encoder"))
    ]
    assert sizes[0] == sizes[1] == (32, 1.0, 8)
    assert results["random"].encoder["digest"] != results["encoder"].encoder["digest"]
    assert (
        results["random"].label == "random encoder + linear"
        and results["encoder"].label == "encoder.safetensors + linear"
    )


def test_imagenet_is_a_row_when_given(store, encoder, tmp_path):
    torch.save(
        {**build_encoder(8, 5).resnet18.state_dict(), "fc.weight": torch.zeros(4, 512)}, tmp_path / "resnet18.pth"
    )
    _, results = evaluate(store, encoder, methods=["imagenet"], imagenet=tmp_path / "resnet18.pth")
    assert results["imagenet"].encoder["embedding_dim"] == 512 and results["imagenet"].label == "ImageNet + linear"
    with pytest.raises(SettingError, match="'imagenet' cannot be done: no imagenet was given"):
        evaluate(store, encoder, methods=["imagenet"])
    told = write_encoder(tmp_path / "told.safetensors", subjects=("bp4d/F003",), supervised=True)
    with pytest.raises(InputError, match="told.safetensors learnt from labels"):
        evaluate(store, encoder, methods=["imagenet"], imagenet=told)


def test_settings_that_the_protocol_decides_are_refused(store):
    for name, value in (("leave_out", "F001"), ("inputs", "blendshapes")):
        with pytest.raises(SettingError, match=f"Expected no --{name.replace('_', '-')}"):
            Evaluation([store], "bp4d-3fold", "random", QUICK, FIT.model_copy(update={name: value}))
    with pytest.raises(SettingError, match="Expected --head linear, mlp or finetune, but got 'blend'"):
        Evaluation([store], "bp4d-3fold", "random", QUICK, FitAuConfig(head="blend", inputs="face"))


def test_methods_that_cannot_be_done_are_left_out_or_named(store, encoder, tmp_path):
    bare = shutil.copytree(store, tmp_path / "bare")
    change(bare, lambda clip, _: clip.__delitem__("blendshapes"), ["F003"])
    prepared = Evaluation([bare], "bp4d-3fold", "random", QUICK, FIT)
    assert prepared.methods == ["all-positive", "landmarks", "random"]
    with pytest.raises(SettingError, match="'blendshapes' cannot be done: not all clips have blendshapes"):
        Evaluation([bare], "bp4d-3fold", str(encoder), QUICK, FIT, methods=["blendshapes"])
    with pytest.raises(SettingError, match="Unknown method 'magic'. Known methods: all-positive,"):
        Evaluation([bare], "bp4d-3fold", str(encoder), QUICK, FIT, methods=["magic"])


def test_au_that_cannot_be_learnt_is_called_what_all_training_frames_are(done):
    fold = done[0].data.describe(landmark_rows)[0]
    labels = fold.train.labels.copy()
    labels[:, 0] = np.where(fold.train.subjects == "F001", 0, -1)  # never present where known
    train, test = replace(fold.train, labels=labels), fold.test
    found = predict_fitted(train, test, FIT, None)
    assert (found.outcomes.decision[:, 0] == 0).all() and (found.outcomes.probability[:, 0] == 0).all()
    assert set(found.thresholds) == {"AU12"}
    assert found.notes == ("AU01 could not be learnt and is called absent throughout",)
    never = predict_fitted(replace(train, labels=np.full_like(labels, [1, -1])), test, FIT, None)
    assert (
        (never.outcomes.decision == [1, -1]).all()
        and np.isnan(never.outcomes.probability[:, 1]).all()
        and not never.thresholds
    )


@pytest.mark.parametrize("head", ["mlp", "finetune"])
def test_other_heads_are_fitted_on_the_same_folds(store, encoder, done, head):
    fit = FIT.model_copy(update={"head": head, "epochs": 1, "batch_size": 19})
    result = evaluate(store, encoder, methods=["encoder"], fit=fit, config=EvaluateConfig(resamples=0))[1]["encoder"]
    assert result.label == f"encoder.safetensors + {head}" and set(result.thresholds) == set(FOLDS)
    linear = done[1]["encoder"].outcomes
    np.testing.assert_array_equal(result.outcomes.subject, linear.subject)
    assert np.isfinite(result.outcomes.probability).all()
    assert np.abs(result.outcomes.probability - linear.probability).max() > 0.01


# ---- protocols end to end


def test_cross_trains_on_one_store_and_tests_on_the_other(store, encoder, make_store, tmp_path):
    other = make_store(tmp_path / "disfa", n_subjects=2, n_frames=20, au_names=("AU12", "AU25"), seed=9)
    for path in (other / "subjects").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            file.attrs["dataset"] = "disfa"
    prepared, results = evaluate([store, other], encoder, protocol="cross:bp4d:disfa", methods=["landmarks", "encoder"])
    assert prepared.plan.au_names == ("AU12",) and prepared.data.n_tested == 40
    fold = prepared.data.folds[0]
    assert (fold.train.store, fold.test.store, len(fold.train)) == (store, other, 6 * 19)
    with Store(other) as opened:
        truth = np.concatenate([opened.read(info, "au")[:, 0] for info in opened.clips])
    np.testing.assert_array_equal(results["encoder"].outcomes.label[:, 0], truth)


def test_one_camera_takes_part_where_the_protocol_says_so(make_store, encoder, tmp_path):
    disfa = make_store(tmp_path / "disfa", n_subjects=3, n_clips=2, n_frames=16)
    names = {"F001": "SN001", "F002": "SN012", "F003": "SN003"}
    for path in sorted((disfa / "subjects").glob("*.h5")):
        with h5py.File(path, "r+") as file:
            file.attrs["dataset"], file.attrs["subject"] = "disfa", names[path.stem]
            file.move("clips/T1", "clips/left")
            file.move("clips/T2", "clips/right")
        path.rename(path.with_stem(names[path.stem]))
    prepared, results = evaluate(disfa, encoder, protocol="disfa-3fold", methods=["all-positive"])
    assert prepared.data.n_tested == prepared.data.n_labelled == 3 * 16
    assert {clip for fold in prepared.data.folds for clip in (*fold.train.clips, *fold.test.clips)} == {"left"}


def test_shards_of_emotionet_are_kept_whole(make_store, encoder, tmp_path):
    stills = make_store(tmp_path / "stills", n_subjects=2, n_clips=6, n_frames=8)
    for path in (stills / "subjects").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            file.attrs["dataset"] = "emotionet"
    config = EvaluateConfig(test_folds=2, resamples=5)
    prepared, results = evaluate(stills, encoder, protocol="emotionet", config=config, methods=["encoder"])
    assert len(prepared.data.folds) == 2 and prepared.data.n_tested == 12 * 8
    for fold in prepared.data.folds:
        assert not set(fold.train_units.tolist()) & set(fold.test_units.tolist())
    assert len(np.unique(results["encoder"].outcomes.subject)) == 12


# ---- the command


def test_what_is_finished_survives_a_failure_of_a_later_row(store, encoder, tmp_path, monkeypatch):
    def fail(*arguments, **keywords):
        raise ModelError("expected a head, but the disk is on fire")

    monkeypatch.setattr(fold_predictions, "fit_head", fail)
    arguments = ["evaluate", store, "--protocol", "bp4d-3fold", "--encoder", encoder, "--scores", tmp_path / "e.json"]
    result = CliRunner().invoke(cli, [*map(str, arguments), "--resamples", "5"])
    assert isinstance(result.exception, ModelError)
    told = json.loads((tmp_path / "e.json").read_text())
    assert [method["method"] for method in told["methods"]] == ["all-positive", "blendshape-mapping"]


def test_plot_needs_shares_and_shares_are_percentages(store, encoder, tmp_path):
    arguments = ["evaluate", store, "--protocol", "bp4d-3fold", "--encoder", encoder, "--plot", tmp_path / "c.png"]
    assert "Expected --label-shares" in str(CliRunner().invoke(cli, list(map(str, arguments))).exception)
    assert EvaluateConfig(label_shares="100,5,5").shares == [5, 100] and EvaluateConfig().shares == []
    for text in ("0,5", "101", "some", "5,,10"):
        with pytest.raises(ValueError, match="percentages above 0"):
            EvaluateConfig(label_shares=text)


# ---- label curve


def test_larger_shares_hold_the_smaller_ones():
    units = np.repeat([f"F{i:03d}" for i in range(27)], 3)
    draws = [draw_subsets(units, share, seed=2) for share in (1, 10, 50, 100)]
    assert [n for _, n in draws] == [1, 3, 14, 27]
    for (smaller, _), (larger, _) in zip(draws, draws[1:], strict=False):
        assert (smaller <= larger).all()
    assert all(mask.sum() == 3 * n for mask, n in draws)
    assert (draw_subsets(units, 10, 3)[0] != draws[1][0]).any()


def test_points_of_a_share_are_summed_up():
    points = [
        CurvePoint(10, 0, (1, 2), 0.2, 0.5),
        CurvePoint(10, 1, (1, 2), 0.4, 0.5),
        CurvePoint(100, 0, (9, 9), 0.5, 0.5),
    ]
    assert summarise_points(points) == [(1.5, pytest.approx(0.3), 0.2, 0.4), (9, 0.5, 0.5, 0.5)]
