"""The recipe of the bundled models: who takes which part, poorer videos, scores, and resuming."""

import json

import av
import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import f1_score, roc_auc_score

from tclr.cli.main import cli
from tclr.pipeline.au import AuHead, Prediction, RestingLevel, load_head
from tclr.pipeline.au.readout import Readout
from tclr.pipeline.encoder import load_encoder
from tclr.pipeline.sources import find_clips
from tclr.pipeline.tools.box import evidence, recipe
from tclr.pipeline.tools.box.card import quality_table, start_table
from tclr.pipeline.tools.box.evidence import Forecast, Judged, forecast_centred
from tclr.pipeline.tools.box.people import split_people
from tclr.pipeline.tools.box.qualities import write_degraded
from tclr.pipeline.video import VideoWriter, probe, read_frames
from tclr.schemas.action_units import PRESENT
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- who takes which part


def test_nobody_takes_two_parts_and_the_seed_decides():
    names = [f"P{i:03d}" for i in range(50)]
    people = split_people(names[::-1], 0.2, 0.1, 0)
    assert [len(part) for part in (people.train, people.select, people.test)] == [35, 5, 10]
    assert sorted((*people.train, *people.select, *people.test)) == names
    assert people == split_people(names, 0.2, 0.1, 0) != split_people(names, 0.2, 0.1, 1)
    with pytest.raises(InputError, match="at least 4 people"):
        split_people(names[:3], 0.2, 0.1, 0)


# ---- poorer videos


def test_degraded_clips_keep_times_and_labels_and_lose_detail(portrait, tmp_path):
    source = tmp_path / "source"
    for name in ("anna", "ben"):
        (source / name).mkdir(parents=True)
        with VideoWriter(source / name / "a.mp4", 96, 64, crf=10) as writer:
            for number in range(6):
                writer.write(np.roll(portrait[:64, :96], number, axis=1), number / 10)
        (source / "labels").mkdir(exist_ok=True)
        (source / "labels" / f"{name}_a.csv").write_text("frame,AU01\n0,1\n5,0\n")
    told = []
    write_degraded(source, ["anna"], 0.5, 18, tmp_path / "half", lambda *counts: told.append(counts))
    write_degraded(source, ["anna"], 1, 45, tmp_path / "coarse")
    assert told == [(0, 1), (1, 1)]
    given, half, coarse = (
        list(read_frames(probe(find_clips(folder, "folder")[0], 25)))
        for folder in (source, tmp_path / "half", tmp_path / "coarse")
    )
    assert [clip.subject for clip in find_clips(tmp_path / "half", "folder")] == ["anna"]
    assert [frame.timestamp_s for frame in half] == pytest.approx([frame.timestamp_s for frame in given])
    assert half[0].image.shape == (32, 48, 3) and coarse[0].image.shape == (64, 96, 3)
    labels = find_clips(tmp_path / "half", "folder")[0]
    assert labels.read_labels(labels.label_paths).intensity[:, 0].tolist() == [5, 0]

    def error(frames):
        pairs = zip(frames, given, strict=True)
        return np.mean([np.abs(a.image.astype(float) - b.image).mean() for a, b in pairs])

    assert error(coarse) > 2
    before = (tmp_path / "half" / "anna" / "a.mp4").stat().st_mtime_ns
    write_degraded(source, ["anna"], 0.5, 18, tmp_path / "half")
    assert (tmp_path / "half" / "anna" / "a.mp4").stat().st_mtime_ns == before
    with av.open(str(tmp_path / "coarse" / "anna" / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"


# ---- scores


def test_forecasts_are_scored_as_scikit_learn_does_over_those_aus_that_they_predict(make_frames):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 3))
    frames = make_frames(np.zeros((60, 1)), labels, subjects=np.repeat(["a", "b", "c"], 20))  # AU01, AU02, AU03
    p = np.clip(0.5 * labels[:, [2, 0]] + 0.5 * rng.random((60, 2)), 0, 1).astype(np.float32)
    one = Forecast("x", "d", ("AU03", "AU01"), Prediction(p, np.full_like(p, np.nan)), np.array([0.6, 0.4]))
    judged = one.judge(frames, "as given")
    expected = {"AU03": (labels[:, 2], p[:, 0], 0.6), "AU01": (labels[:, 0], p[:, 1], 0.4)}
    for au, (y, score, cut) in expected.items():
        assert judged.aus[au]["f1"] == pytest.approx(f1_score(y, score >= cut))
        assert judged.aus[au]["roc_auc"] == pytest.approx(roc_auc_score(y, score))
    assert judged.aus["AU02"]["f1"] is None and judged.mean["icc_3_1"] is None
    assert judged.mean["f1"] == pytest.approx(np.mean([judged.aus[au]["f1"] for au in expected]))
    assert (judged.n_frames, judged.n_people) == (60, 3) and judged.interval["f1"][0] < judged.interval["f1"][1]
    part = one.judge(frames, "turned", np.arange(60) < 40)
    assert (part.n_frames, part.n_people) == (40, 2)
    assert part.aus["AU03"]["roc_auc"] == pytest.approx(roc_auc_score(labels[:40, 2], p[:40, 0]))


def test_centring_undoes_what_only_the_person_adds(make_frames):
    """Two people of different resting level: pooled ranks are wrong before, right after."""
    labels = np.tile([0, 0, 0, 1], 10)[:, None]
    subjects = np.repeat(["a", "b"], 20)
    logit = 2.0 * labels + np.where(subjects == "b", 5, 0)[:, None]
    p = Prediction((1 / (1 + np.exp(-logit))).astype(np.float32), np.full((40, 1), np.nan, np.float32))
    frames = make_frames(np.zeros((40, 1)), labels, subjects=subjects)
    rest = RestingLevel(np.zeros(1, np.float32), np.full(1, np.nan, np.float32))
    readout = Readout(*(np.zeros(shape, np.float32) for shape in ((1, 1), (1,), (1, 1), (1,))))
    head = AuHead("linear", ("AU01",), readout, np.array([0.5], np.float32), rest=rest)
    plain = Forecast("x", "", ("AU01",), p, head.threshold)
    assert plain.judge(frames, "").mean["roc_auc"] < 0.8
    moved = forecast_centred(plain, head, frames)
    assert moved.model == "x, centred" and moved.judge(frames, "").mean["roc_auc"] == 1.0
    assert forecast_centred(plain, AuHead("linear", ("AU01",), readout, head.threshold), frames) is plain


def test_tables_have_a_row_a_model_and_the_spread_over_seeds():
    def judged(model, quality, f1):
        return Judged(model, "", quality, 9, 3, {"f1": f1, "roc_auc": f1, "icc_3_1": None}, {}, {})

    rows = [judged("box", "as given", 0.5), judged("box", "compressed", 0.4), judged("face", "as given", 0.6)]
    rows += [judged("tclr, seed 0", "as given", 0.5), judged("tclr, seed 1", "as given", 0.7)]
    table = quality_table(rows, "f1").splitlines()
    assert table[0] == "| F1 | as given | compressed |" and table[2:] == ["| box | 0.500 | 0.400 |"]
    starts = start_table(rows, ["tclr"], 2)
    assert "| tclr | as given | 2 | 0.600 (0.500 to 0.700) | 0.600 (0.500 to 0.700) | - |" in starts


# ---- the whole recipe


def show_smiles(store):
    """Let the blendshapes of a store show AU 12: what nobody's evidence tells, no head learns."""
    smile = [BLENDSHAPE_NAMES.index(f"mouthSmile{side}") for side in ("Left", "Right")]
    for path in (store / "subjects").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            for clip in file["clips"].values():
                shown = clip["blendshapes"][:]
                shown[:, smile] = 0.2 * shown[:, smile] + 0.6 * (clip["au"][:, -1:] == PRESENT)  # the last AU
                clip["blendshapes"][:] = shown


@pytest.fixture
def stages(make_store, monkeypatch):
    """The recipe with stores that are made here instead of by preprocessing, and a note of what is done."""
    done = []

    def preprocess_all(source, store, config, **options):
        if not store.exists():
            make_store(store, n_subjects=8, n_frames=24, intensity=True, n_landmarks=478)
            show_smiles(store)
        done.append(("preprocess", store.name))
        options["progress"](8, 8)

    monkeypatch.setattr(recipe, "preprocess_all", preprocess_all)
    monkeypatch.setattr(recipe, "write_degraded", lambda *arguments: done.append(("degrade", arguments[2])))
    monkeypatch.setattr(recipe, "QUALITIES", {"half resolution": (0.5, 18)})
    monkeypatch.setattr(evidence, "TURNED_RAD", 0.1)  # the stores' heads are turned by 0.2
    for name in ("pretrain", "fit_au"):
        whole = getattr(recipe, name)

        def noting(store, *arguments, _whole=whole, _name=name, **options):
            done.append((_name, arguments[-1].leave_out))
            return _whole(store, *arguments, **options)

        monkeypatch.setattr(recipe, name, noting)
    return done


@pytest.mark.slow
def test_recipe_makes_three_files_and_a_card_leaves_tested_people_out_and_goes_on(stages, make_store, tmp_path):
    out = tmp_path / "out"
    options = ["--image-size", 32, "--pretrain-epochs", 1, "--finetune-epochs", 1, "--starts", "tclr,random"]
    arguments = ["box", tmp_path, out, *options, "--degrade", 0.2]

    def run(*more):
        result = CliRunner().invoke(cli, [*map(str, arguments), *map(str, more)], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    printed = run()
    people = json.loads((out / "people.json").read_text())
    assert [len(people[part]) for part in ("train", "select", "test")] == [5, 1, 2]
    untouched = {*people["test"], *people["select"]}
    left_out = [set(names.split(",")) for kind, names in stages if kind in ("pretrain", "fit_au")]
    assert len(left_out) == 5 and left_out[:3] == [untouched] * 3  # a pretraining and two heads, then face and shape
    assert left_out[3:] == [{*people["test"]}] * 2
    box, face, shape = (load_head(out / f"{name}.safetensors") for name in ("box", "face", "shape"))
    face.check_encoder(load_encoder(out / "box.safetensors"))
    assert box.encoder.info.supervised and {name.split("/")[1] for name in box.encoder.info.subjects} == {
        *people["train"]
    }
    assert (face.inputs, shape.inputs, shape.encoder_digest, box.kind) == ("face", "shape", "", "finetune")
    evidence_file = json.loads((out / "evidence.json").read_text())["judged"]
    keys = {(one["model"], one["quality"]) for one in evidence_file}
    models = ["box", "box, centred", "face", "face, centred", "shape", "blendshapes + linear", "landmarks + linear"]
    qualities = ["as given", "head turned", "half resolution"]
    assert {(model, quality) for model in [*models, "blendshape mapping"] for quality in qualities} <= keys
    assert {(f"{start}, seed 0", "selection") for start in ("tclr", "random")} <= keys
    assert all(one["n_people"] == 2 for one in evidence_file if one["quality"] == "as given")
    best = max((one for one in evidence_file if one["quality"] == "selection"), key=lambda one: one["mean"]["roc_auc"])
    card = (out / "model-card.md").read_text()
    assert f"**Taken**: {best['model']}" in card and "| random | as given | 1 |" in card
    assert "Model card" in printed and "--au-model" in printed

    n_done, stamp = len(stages), (out / "runs" / "tclr-seed0" / "au.safetensors").stat().st_mtime_ns
    run()
    again = [kind for kind, _ in stages[n_done:]]
    assert again.count("fit_au") == 0 and (out / "runs" / "tclr-seed0" / "au.safetensors").stat().st_mtime_ns == stamp
    assert json.loads((out / "evidence.json").read_text())["judged"] == evidence_file
    run("--finetune-epochs", 2)
    assert (out / "runs" / "tclr-seed0" / "au.safetensors").stat().st_mtime_ns != stamp

    make_store(tmp_path / "at_rest", n_subjects=3, n_frames=20, n_landmarks=478, seed=7)
    run("--finetune-epochs", 2, "--neutral", tmp_path / "at_rest")
    quiet = load_head(out / "shape.safetensors")
    assert (quiet.threshold >= shape.threshold).all() and (quiet.threshold > shape.threshold).any()

    given = out / "runs" / "tclr-seed0" / "pretrained"  # any encoder will do that knows nobody who is tested
    run("--starts", given, "--pretrain-epochs", 9)
    assert f"{given}, seed 0" in (out / "model-card.md").read_text()
    assert load_head(out / "box.safetensors").started_from == load_encoder(given).digest
    other = CliRunner().invoke(cli, [*map(str, arguments), "--starts", str(given), "--seed", "1"])
    assert other.exit_code == 1 and "not learnt from people who are tested" in str(other.exception)


def test_recipe_refuses_an_unknown_start_and_tells_of_a_clip_that_failed(tmp_path):
    result = CliRunner().invoke(cli, ["box", str(tmp_path), str(tmp_path / "out"), "--starts", "tclr,imagenet"])
    assert result.exit_code == 1 and "existing encoders, but got 'imagenet'" in str(result.exception)
    video = tmp_path / "people" / "anna" / "a.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(b"no video")
    with pytest.raises(InputError, match=r"anna/a: Expected a video, but cannot decode"):
        recipe.run_box(tmp_path / "people", tmp_path / "out", recipe.BoxConfig())
