import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from tclr.cli.main import cli
from tclr.pipeline.au import blendshape_rows
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.evaluation import VARIANTS, AblationResult, ablation, ablation_markdown, run_ablation, summarise
from tclr.pipeline.evaluation.ablation import ranking_accuracy, variant_config
from tclr.pipeline.evaluation.class_probe import class_accuracy
from tclr.pipeline.store import Store
from tclr.schemas.config import PretrainConfig
from tclr.schemas.errors import InputError, SettingError

pytestmark = pytest.mark.usefixtures("one_thread")

COMMON = {
    "epochs": 1, "batch_size": 4, "image_size": 32, "crop_ratio": 0.8, "embedding_dim": 8, "n_following": 4,
    "anchors_per_clip": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def stores(tmp_path_factory, make_store):
    folder = tmp_path_factory.mktemp("ablation")
    return make_store(folder / "people", n_frames=24), make_store(folder / "probe", n_subjects=4, n_frames=24, seed=1)


def test_every_variant_is_a_valid_change_of_the_default_recipe():
    common = {"epochs": 2, "anchors_per_clip": 4}
    plain = PretrainConfig(**common, seed=3)
    assert variant_config("tclr", 3, common) == plain
    for name in VARIANTS:
        config = variant_config(name, 3, common)
        assert config.seed == 3
        assert name == "tclr" or config != plain
    assert variant_config("ranking alone", 0, {"geometry_weight": 5}).geometry_weight == 0
    with pytest.raises(SettingError, match="Unknown variant 'no such'. Known variants: tclr, paper"):
        variant_config("no such", 0, {})


def test_all_variants_see_as_many_frames():
    common = {"epochs": 3, "anchors_per_clip": 8, "batch_size": 24}
    for name in VARIANTS:
        config = variant_config(name, 0, common)
        length = config.n_following + 2
        assert config.epochs * config.anchors_per_clip * length == 3 * 8 * 6, name
        assert config.batch_size * length == 24 * 6, name
    paper = variant_config("paper", 0, common)
    free = {"epochs", "anchors_per_clip", "batch_size"}
    assert paper.model_dump(exclude=free) == PretrainConfig(recipe="paper").model_dump(exclude=free)
    rare = variant_config("one anchor a clip", 0, {**common, "warmup_epochs": 0.5})
    assert (rare.anchors_per_clip, rare.epochs, rare.warmup_epochs) == (1, 24, 4)


@pytest.mark.slow
def test_campaign_goes_seed_by_seed_keeps_what_is_done_and_goes_on(tmp_path, stores, monkeypatch):
    people, probe = stores
    first = list(run_ablation(people, probe, tmp_path, ["tclr", "supervised"], [0], COMMON))
    assert [(r.variant, r.seed) for r in first] == [
        ("landmarks", 0), ("blendshapes", 0), ("random", 0), ("tclr", 0), ("supervised", 0),
    ]  # fmt: skip
    assert first[3].frames == 2 * 2 * 6 and 0 <= first[3].f1 <= 1 and set(first[3].au_f1) == {"AU01", "AU12"}
    assert first[0].ranking is None and 0 <= first[3].ranking <= 1
    monkeypatch.setattr(ablation, "pretrain", None)  # what is done is not trained again
    assert list(run_ablation(people, probe, tmp_path, ["tclr", "supervised"], [0], COMMON)) == first
    with pytest.raises(SettingError, match="tclr/seed0/result.json was made from others. Use another folder"):
        list(run_ablation(people, probe, tmp_path, ["tclr"], [0], {**COMMON, "epochs": 2}))
    monkeypatch.undo()
    both = list(run_ablation(people, probe, tmp_path, ["tclr", "supervised"], [0, 1], COMMON))
    assert [(r.variant, r.seed) for r in both[2:]] == [
        ("random", 0), ("random", 1), ("tclr", 0), ("supervised", 0), ("tclr", 1), ("supervised", 1),
    ]  # fmt: skip
    assert both[6].f1 != first[3].f1


@pytest.mark.slow
def test_ceiling_learns_the_labels(tmp_path, stores):
    people, probe = stores
    settings = {**COMMON, "epochs": 12, "anchors_per_clip": 6, "augment": "none"}
    results = {r.variant: r for r in run_ablation(people, probe, tmp_path, ["supervised"], [0], settings)}
    assert results["supervised"].roc_auc > 0.95 > results["landmarks"].roc_auc


def test_ranking_is_that_of_tuples_with_one_spacing_for_all_variants(stores):
    encoder = load_encoder("random", image_size=32, embedding_dim=8)
    config = PretrainConfig(**COMMON)
    measured = ranking_accuracy(stores[1], encoder, config)
    assert measured == ranking_accuracy(stores[1], encoder, variant_config("paper", 0, COMMON))
    pairs = []
    with Store(stores[1]) as store:
        for info in store.clips:  # 24 frames at 25 frames/s: a tuple of 0, 1, 3, ..., 9 frames fits from rows 0 to 14
            for row in np.linspace(0, 14, 8).round().astype(int):
                rows = row + np.array([0, 1, 3, 5, 7, 9])
                embeddings = encoder.embed(store.read_crops(info)[rows])
                distances = ((embeddings[1:] - embeddings[0]) ** 2).sum(axis=1)
                pairs.append(distances[:-1] < distances[1:])
    assert measured == pytest.approx(np.mean(pairs), abs=0.02)


def result(variant, seed, f1, ranking=0.6):
    return AblationResult(variant, seed, f1, 0.7, {"AU01": f1}, ranking, 1200)


def test_table_has_a_row_a_variant_with_its_spread_over_seeds():
    results = [result("landmarks", 0, 0.4, None), result("tclr", 0, 0.5), result("tclr", 1, 0.7, 0.8)]
    rows = summarise(results)
    assert [row["variant"] for row in rows] == ["landmarks", "tclr"]
    assert (rows[1]["f1"], rows[1]["f1_low"], rows[1]["f1_high"]) == (pytest.approx(0.6), 0.5, 0.7)
    text = ablation_markdown(rows)
    assert "| tclr | 2 | 0.600 (0.500 to 0.700) | 0.700 (0.700 to 0.700) | 0.700 (0.600 to 0.800) | 1,200 |" in text
    assert "| landmarks | 1 | 0.400 | 0.700 |  | 1,200 |" in text
    with_classes = [replace(one, accuracy=one.f1) for one in results]
    assert "| landmarks | 1 | 0.400 | 0.700 | 0.400 |  | 1,200 |" in ablation_markdown(summarise(with_classes))


def test_classes_are_told_by_features_that_show_them_and_by_no_others(tmp_path, make_store):
    store = make_store(tmp_path / "classes", n_subjects=2, n_clips=5, n_frames=8, no_face=(3,))
    assert class_accuracy(store, blendshape_rows) < 0.75
    for name in ("F001", "F002"):
        with h5py.File(store / f"subjects/{name}.h5", "r+") as file:
            for clip in file["clips"].values():
                clip["blendshapes"][:, :9] += float(name == "F002")
    assert class_accuracy(store, blendshape_rows) == 1


def test_stills_are_dealt_one_by_one_and_videos_whole(tmp_path, make_store):
    store = make_store(tmp_path / "classes", n_subjects=2, n_frames=12)
    with pytest.raises(InputError, match="a subject per class, with 5 stills or clips each, but got F001: 1, F002: 1"):
        class_accuracy(store, blendshape_rows)
    for name in ("F001", "F002"):
        with h5py.File(store / f"subjects/{name}.h5", "r+") as file:
            names = [f"{row}.jpg" for row in range(12)]
            file["clips/T1"].create_dataset("source_name", data=names, dtype=h5py.string_dtype())
    assert 0 <= class_accuracy(store, blendshape_rows) <= 1


@pytest.mark.slow
def test_campaign_starts_from_given_weights_and_judges_by_classes(tmp_path, make_store, monkeypatch):
    people, probe = (make_store(tmp_path / name, n_frames=24, n_landmarks=478) for name in ("people", "probe"))
    classes = make_store(tmp_path / "classes", n_subjects=2, n_clips=5, n_frames=4, n_landmarks=478)
    common = {**COMMON, "arch": "facemesh", "image_size": 64}
    given = {"init": "facemesh", "classes": classes}
    results = list(run_ablation(people, probe, tmp_path / "out", ["tclr"], [0], common, **given))
    names = ["landmarks", "shape", "blendshapes", "random", "start", "start's features", "tclr"]
    assert [result.variant for result in results] == names
    assert all(0 <= result.accuracy <= 1 for result in results)
    assert load_encoder(tmp_path / "out/tclr/seed0").info.mean == (0, 0, 0)
    monkeypatch.setattr(ablation, "pretrain", None)
    assert list(run_ablation(people, probe, tmp_path / "out", ["tclr"], [0], common, **given)) == results
    with pytest.raises(SettingError, match="tclr/seed0/result.json was made from others"):
        list(run_ablation(people, probe, tmp_path / "out", ["tclr"], [0], common, classes=classes))


def test_command_prints_and_writes_the_table(tmp_path, stores):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in COMMON.items()]
    arguments = ["ablate", *map(str, (*stores, tmp_path / "out")), "--variants", "paper, tclr", "--seeds", "1", *flags]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    table = (tmp_path / "out/table.md").read_text()
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == [
        "landmarks", "blendshapes", "random", "paper", "tclr",
    ]  # fmt: skip
    kept = json.loads((tmp_path / "out/paper/seed0/config.json").read_text())
    assert kept["recipe"] == "paper" and kept["n_following"] == 4 and kept["optimizer"] == "sgd"
