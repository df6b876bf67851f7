"""The evidence for the bundled models: every table against scikit-learn, SciPy or closed forms; the whole run."""

import json
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.stats import linregress
from sklearn.metrics import f1_score, roc_auc_score

from tclr.cli.main import cli
from tclr.pipeline.au import load_head
from tclr.pipeline.au.bundled import SHAPE
from tclr.pipeline.tools.box import AS_GIVEN
from tclr.pipeline.tools.evidence import path as whole_path
from tclr.pipeline.tools.evidence import run as running
from tclr.pipeline.tools.evidence import run_evidence, unseen
from tclr.pipeline.tools.evidence.emotions import EMFACS, EMOTIONS, judge_emotions
from tclr.pipeline.tools.evidence.goals import judge_goals
from tclr.pipeline.tools.evidence.motion import judge_pose, judge_sides, read_truth
from tclr.pipeline.tools.evidence.page import evidence_page, figure_text
from tclr.pipeline.tools.evidence.path import Predicted
from tclr.pipeline.tools.evidence.people import group_parts, judge_people, read_groups, turned_parts
from tclr.pipeline.tools.evidence.portraits import judge_calls, judge_twins
from tclr.pipeline.tools.evidence.resampling import draw_weights, figure_of
from tclr.pipeline.tools.evidence.stills import (
    TWINS,
    Picture,
    expose,
    give_room,
    list_pictures,
    write_stills,
)
from tclr.pipeline.tools.evidence.unseen import choose_people, learnt_from, link_people
from tclr.pipeline.tools.synth import load_portraits
from tclr.schemas.config import EmbedConfig
from tclr.schemas.errors import InputError, SettingError

pytestmark = pytest.mark.usefixtures("one_thread")


def features(columns, names, model="face", threshold=0.5):
    """Features of one model, as read from a folder."""
    return Predicted(model, f"{model}:0", dict.fromkeys(names, threshold), pd.DataFrame(columns))


# ---- intervals


def test_intervals_resample_units_and_are_those_of_the_mean():
    """The percentile interval of a mean of many units is near that of the normal distribution."""
    values = np.random.default_rng(1).normal(3, 2, 400)
    value, low, high = figure_of(draw_weights(400, 4000) @ values / 400)
    half = 1.96 * values.std() / np.sqrt(400)
    assert value == pytest.approx(values.mean())
    assert [low, high] == pytest.approx([value - half, value + half], abs=0.02)
    assert figure_of(draw_weights(1) @ np.ones(1)) == [1.0, None, None]
    assert figure_of(np.array([np.nan, np.nan])) == [None, None, None]


# ---- emotions


def test_emotions_are_ranked_as_scikit_learn_ranks_them_over_the_aus_that_all_models_have():
    rng = np.random.default_rng(0)
    emotions = np.repeat(EMOTIONS, 12)
    files = [f"as-given+{emotion}+{i}.jpg.png" for i, emotion in enumerate(emotions)]
    names = ["AU06", "AU09", "AU12", "AU99"]
    columns = {"file": [f"as-given/x/{name}" for name in files]}
    columns |= {name: rng.random(len(files)) + (emotions == "happy") * (name != "AU09") for name in names}
    columns["AU12"][:5] = np.nan  # no face
    for name in names:
        columns[name][3] = np.nan
    face, rules = features(columns, names), features(columns, ["AU06", "AU12"], "blendshapes")
    judged = judge_emotions({"face": face, "blendshapes": rules}, dict(zip(files, emotions, strict=True)), 50)
    assert judged["common"] == ["AU06", "AU12"] and set(judged["models"]["face"]["aus"]) == {"AU06", "AU09", "AU12"}
    for model in ("face", "blendshapes"):
        areas = {}
        for au, (value, low, high) in judged["models"][model]["aus"].items():
            shown, absent = (np.isin(emotions, part.split()) for part in EMFACS[au])
            used = (shown | absent) & np.isfinite(columns[au])
            areas[au] = roc_auc_score(shown[used], columns[au][used])
            assert value == pytest.approx(areas[au]) and low <= value <= high
        assert judged["models"][model]["mean"][0] == pytest.approx((areas["AU06"] + areas["AU12"]) / 2)
    assert judged["n_pictures"] == 84 and sum(judged["n_faces"].values()) == 83
    assert "happy" in EMFACS["AU12"][0] and all(
        not set(a.split()) & set(b.split()) and {*a.split(), *b.split()} <= set(EMOTIONS) for a, b in EMFACS.values()
    )


# ---- portraits and their altered copies


def portrait_features(calls, ways=(AS_GIVEN,)):
    """Features of pictures by (way, label, person) with calls of AU06, AU12 and AU45; what each file is."""
    made, rows = {}, []
    for (way, label, person), values in calls.items():
        name = f"{way}+{label}+{person}.jpg.png"
        made[name] = way, Picture(whole_path.Path(label) / f"{person}.jpg", label)
        rows.append([name, *values, 1, 0.5])
    table = pd.DataFrame(rows, columns=["file", "AU06_c", "AU12_c", "AU45_c", "AU06"])
    return features(table.astype({"AU06_c": "Int8", "AU12_c": "Int8"}), ["AU06", "AU12", "AU45"]), made


def test_calls_on_portraits_are_shares_of_people_without_blinks():
    calls = {(AS_GIVEN, "neutral", f"p{i}"): (int(i < 1), int(i < 2)) for i in range(10)}
    calls |= {(AS_GIVEN, "smiling", f"p{i}"): (int(i < 5), int(i < 9)) for i in range(10)}
    calls[AS_GIVEN, "smiling", "p9"] = (pd.NA, pd.NA)  # no face
    calls["grey", "neutral", "p5"] = (1, 1)
    one, made = portrait_features(calls)
    judged = judge_calls({"face": one}, made)["face"]
    assert set(judged["neutral"]["aus"]) == {"AU06", "AU12"}
    assert judged["neutral"]["aus"]["AU12"][0] == 0.2 and judged["neutral"]["mean"][0] == pytest.approx(0.15)
    assert judged["neutral"]["worst"] == {"au": "AU12", "share": judged["neutral"]["aus"]["AU12"]}
    assert judged["smiling"]["aus"]["AU06"][0] == pytest.approx(5 / 9)
    low, high = judged["neutral"]["aus"]["AU12"][1:]
    assert 0 <= low < 0.2 < high <= 0.5


def test_twins_count_calls_that_change_where_both_have_a_face():
    rng = np.random.default_rng(0)
    keys = [(label, f"p{i}") for label in ("neutral", "smiling") for i in range(8)]
    before = {key: rng.integers(0, 2, 2) for key in keys}
    after = {key: value ^ (rng.random(2) < 0.3) for key, value in before.items()}
    calls = {(AS_GIVEN, *key): value.tolist() for key, value in before.items()}
    calls |= {("grey", *key): value.tolist() for key, value in after.items()}
    calls["grey", "neutral", "p3"] = (pd.NA, pd.NA)
    one, made = portrait_features(calls)
    judged = judge_twins({"face": one}, made)["face"]
    kept = [key for key in keys if key != ("neutral", "p3")]
    changed = sum(int((before[key] != after[key]).sum()) for key in kept)
    assert changed > 0 and judged["grey"]["changed"][0] == pytest.approx(changed / (2 * len(kept)))
    assert (judged["grey"]["n_calls"], judged["grey"]["lost"], list(judged)) == (30, 1, ["grey"])


def test_altered_copies_are_what_their_names_say():
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    made = {name: alter(image) for name, alter in TWINS.items()}
    assert (made["mirrored"][:, 0] == image[:, -1]).all() and made["half the resolution"].shape == (32, 40, 3)
    assert (np.ptp(made["grey"], axis=2) == 0).all()
    assert 0 < np.abs(made["JPEG of quality 60"].astype(int) - image).mean() < 60
    smooth = np.full((16, 16, 3), (200, 60, 20), np.uint8)  # compression must keep red red
    assert np.abs(TWINS["JPEG of quality 60"](smooth).astype(int) - smooth).max() < 12
    grey = np.array([[[188, 188, 188]]], np.uint8)  # half of full light in sRGB
    assert expose(grey, 2.0).tolist() == [[[255] * 3]] and abs(int(expose(grey, 0.5)[0, 0, 0]) - 137) <= 1
    assert (expose(image, 1.0) == image).all()
    assert (
        give_room(image).shape == (240 * 64 // 80 + 144, 384, 3) and give_room(np.zeros((100, 120, 3))).shape[0] == 100
    )


def test_stills_follow_their_pictures(tmp_path):
    for label in ("neutral", "smiling"):
        for name in ("a", "b"):
            file = tmp_path / "given" / label / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), np.full((120, 120, 3), (10, 20, 200), np.uint8))
    pictures = list_pictures(tmp_path / "given", ("neutral", "smiling"))
    out = tmp_path / "out"
    made = write_stills(pictures, {"grey": TWINS["grey"]}, out)
    written = {file.name: file for file in out.rglob("*.png")}
    assert set(written) == set(made) and len(made) == 8
    name = next(name for name, (way, picture) in made.items() if way == AS_GIVEN and picture.person == "b")
    assert cv2.imread(str(written[name]))[0, 0].tolist() == [10, 20, 200]
    before = written[name].stat().st_mtime_ns
    (tmp_path / "given/neutral/a.png").unlink()
    made = write_stills(list_pictures(tmp_path / "given", ("neutral", "smiling")), {"grey": TWINS["grey"]}, out)
    assert {file.name for file in out.rglob("*.png")} == set(made) and len(made) == 6
    assert written[name].stat().st_mtime_ns == before
    (tmp_path / "given/neutral/broken.png").write_text("no picture")
    with pytest.raises(InputError, match=r"cannot decode .*broken\.png"):
        write_stills(list_pictures(tmp_path / "given", ("neutral", "smiling")), {}, out)
    with pytest.raises(InputError, match="at least two of the folders anger, disgust"):
        list_pictures(tmp_path / "given", EMOTIONS)


# ---- people never seen


@pytest.fixture
def people_frames(make_frames):
    """Six people with 20 labelled frames each, and features whose rows are in another order."""
    rng = np.random.default_rng(0)
    subjects = np.repeat([f"F{i}" for i in range(6)], 20)
    labels = rng.integers(0, 2, (120, 3))
    frames = make_frames(np.zeros((120, 1)), labels, intensities=2.5 * labels + rng.random((120, 3)), subjects=subjects)
    frames = replace(frames, rows=np.tile(np.arange(20), 6))
    columns = {"subject": subjects, "clip": frames.clips, "frame": frames.rows}
    for place, name in enumerate(["AU03", "AU01"]):
        p = np.clip(0.4 * labels[:, [2, 0][place]] + 0.6 * rng.random(120), 0, 1)
        columns |= {name: p, f"{name}_r": 5 * p}
    table = pd.DataFrame(columns).sort_values("subject", ascending=False, kind="stable").reset_index(drop=True)
    return frames, table


def test_people_are_scored_as_scikit_learn_does_on_the_rows_of_the_features(people_frames):
    frames, table = people_frames
    face = features(table, ["AU03", "AU01"], threshold=0.6)
    rules = features(table[["subject", "clip", "frame", "AU01"]], ["AU01"], "blendshapes")
    turned = np.arange(120) < 40
    yaw = np.where(table["subject"].isin(["F0", "F1"]), -0.3, 0.2)
    parts = turned_parts(features(table.assign(yaw=yaw), []), frames)
    assert turned_parts(features(table.assign(yaw=0.2), []), frames) == {}
    judged = judge_people({"face": face, "blendshapes": rules}, frames, {AS_GIVEN: None} | parts)
    by_key = {(one["model"], one["frames"]): one for one in judged}
    sorted_table = table.sort_values(["subject", "frame"])
    for au, column in (("AU03", 2), ("AU01", 0)):
        p, y = sorted_table[au].to_numpy(), frames.labels[:, column]
        own = by_key["face", AS_GIVEN]["aus"][au]
        assert own["roc_auc"][0] == pytest.approx(roc_auc_score(y, p)) and own["roc_auc"][1] < own["roc_auc"][2]
        assert own["f1"][0] == pytest.approx(f1_score(y, p >= 0.6))
        x = np.stack([frames.intensities[:, column], 5 * p], axis=1)
        between, error = x.mean(axis=1).var(ddof=1) * 2, (x[:, 0] - x[:, 1]).var(ddof=1) / 2
        assert own["icc_3_1"][0] == pytest.approx((between - error) / (between + error), rel=1e-4)
        part = by_key["face", "head turned"]["aus"][au]["roc_auc"][0]
        assert part == pytest.approx(roc_auc_score(y[turned], p[turned]))
    own = by_key["face", AS_GIVEN]
    assert own["common"]["roc_auc"][0] == own["aus"]["AU01"]["roc_auc"][0] != own["mean"]["roc_auc"][0]
    assert by_key["blendshapes", AS_GIVEN]["mean"]["icc_3_1"] == [None, None, None]
    assert (own["n_frames"], own["n_people"], own["n_aus"]) == (120, 6, 2)
    assert by_key["face", "head turned"]["n_people"] == 2 and by_key["face", "head not turned"]["n_frames"] == 80


def test_groups_of_people_come_from_the_table(tmp_path):
    rows = ["person,sex,age,note", "F0,f,20,a", "F1,m,30,b", "F2,f,40,c", "F3,m,50,d", "F4,f,60,e", "F5,m,70,f"]
    (tmp_path / "people.csv").write_text("\n".join([*rows, "F6,f,80,g", "F7,,90,h", "F9,m,1,i"]))
    subjects = np.repeat([f"F{i}" for i in range(8)], 3)
    parts = dict(group_parts(read_groups(tmp_path), subjects))
    assert list(parts) == ["sex: f", "sex: m", "age: above", "age: up to 55"]
    assert set(subjects[parts["sex: m"]]) == {"F1", "F3", "F5"}
    assert set(subjects[parts["age: up to 55"]]) == {"F0", "F1", "F2", "F3"}
    assert read_groups(tmp_path / "nowhere") is None
    (tmp_path / "people.csv").write_text("name,sex\nF0,f\n")
    with pytest.raises(InputError, match="Expected a column 'person'"):
        read_groups(tmp_path)


# ---- sides and pose


def test_sides_are_fitted_as_scipy_fits_them(tmp_path):
    rng = np.random.default_rng(0)
    tables, truth_folder = [], tmp_path / "sides"
    truth_folder.mkdir()
    for subject in ("A", "B", "C"):
        left, right = rng.random((2, 30)).round(3)
        even = rng.random(30).round(3)
        truth = pd.DataFrame({"frame": np.arange(30), "AU12_L": left, "AU12_R": right, "AU04_L": even, "AU04_R": even})
        truth.to_csv(truth_folder / f"{subject}_a.csv", index=False)
        guess = {"AU12_left_r": 2 * left + rng.normal(0, 0.2, 30), "AU12_right_r": 2 * right}
        guess |= {"AU04_left_r": even, "AU04_right_r": even}
        tables.append(pd.DataFrame({"subject": subject, "clip": "a", "frame": np.arange(30), **guess}).iloc[::-1])
    table = pd.concat(tables, ignore_index=True).astype({"subject": "category"})
    table.loc[3, "AU12_left_r"] = np.nan
    truth = read_truth(truth_folder, {("A", "a"), ("B", "a"), ("C", "a"), ("D", "a")})
    without = features(table[["subject", "clip", "frame"]], ["AU12"], "blendshapes")
    judged = judge_sides({"face": features(table, ["AU04", "AU12"]), "blendshapes": without}, truth)
    joined = table.merge(truth, on=["subject", "clip", "frame"]).dropna()
    reference = linregress(5 * (joined.AU12_L - joined.AU12_R), joined.AU12_left_r - joined.AU12_right_r)
    fit = judged["face"]["aus"]["AU12"]
    assert fit["slope"][0] == pytest.approx(reference.slope) and fit["r"][0] == pytest.approx(reference.rvalue)
    assert fit["slope"][1] < fit["slope"][0] < fit["slope"][2] and fit["r"][0] > 0.9
    assert list(judged) == ["face"] and list(judged["face"]["aus"]) == ["AU12"]  # AU04 never differs
    assert judged["face"]["mean"]["slope"] == pytest.approx(reference.slope)
    assert read_truth(truth_folder, {("D", "a")}) is None


def test_pose_counts_change_within_a_clip():
    """Guesses of 0.9 of the truth, with another zero in every clip: the slope is exact, the error known."""
    rng = np.random.default_rng(0)
    parts, truths = [], []
    for place, (subject, clip) in enumerate([("A", "a"), ("A", "b"), ("B", "a")]):
        pitch = rng.normal(0.1 * place, 0.1, 25)
        keys = {"subject": subject, "clip": clip, "frame": np.arange(25)}
        truths.append(pd.DataFrame(keys | {"pitch": pitch, "yaw": 0.5 * pitch}))
        parts.append(pd.DataFrame(keys | {"pitch": 0.9 * pitch + place, "yaw": 0.5 * pitch - place}))
    judged = judge_pose(features(pd.concat(parts), []), pd.concat(truths))
    assert set(judged) == {"pitch", "yaw"}
    assert judged["pitch"]["slope"] == pytest.approx([0.9] * 3) and judged["yaw"]["slope"] == pytest.approx([1] * 3)
    centred = np.concatenate([truth["pitch"] - truth["pitch"].mean() for truth in truths])
    assert judged["pitch"]["rms_deg"][0] == pytest.approx(np.degrees(np.sqrt(np.mean((0.1 * centred) ** 2))))
    assert judged["yaw"]["rms_deg"][0] == pytest.approx(0, abs=1e-6)


# ---- whom the models have learnt from


@pytest.fixture
def people_folder(tmp_path):
    """Eight people whose videos and labels are there in name only: nothing here decodes them."""
    folder = tmp_path / "people"
    (folder / "labels").mkdir(parents=True)
    for number in range(1, 9):
        (folder / f"F{number:03d}").mkdir()
        (folder / f"F{number:03d}" / "T1.mp4").write_bytes(b"video")
        (folder / "labels" / f"F{number:03d}_T1.csv").write_text("frame,AU01\n0,0\n")
    return folder


def test_people_whom_a_model_has_learnt_from_are_left_out(people_folder, monkeypatch):
    people = [f"F{number:03d}" for number in range(1, 9)]
    head = replace(load_head(SHAPE), settings={"leave_out": "F001,F002,F005"})
    assert learnt_from(people, ["folder/F001", "other/F99"], {}) == {"F001"}
    assert learnt_from(people, ["folder/F001"], {"shape": head}) == {*people} - {"F002", "F005"}
    assert learnt_from(people, (), {"shape": replace(head, settings={"leave_out": "Q1,Q2"})}) == set()
    encoder = type("Encoder", (), {"info": type("Info", (), {"subjects": ("folder/F003", "folder/F004")})})
    monkeypatch.setattr(unseen, "load_encoder", lambda path: encoder)
    monkeypatch.setattr(unseen, "load_head", lambda path: replace(head, settings={}))
    chosen = choose_people(people_folder, ["face", "box"])
    assert chosen.people == tuple(name for name in people if name not in ("F003", "F004"))
    assert (chosen.n_left_out, chosen.by_hand) == (2, False)
    assert chosen.doubts == ("face does not say whom it was fitted on, and may have learnt from them",)
    assert choose_people(people_folder, ["blendshapes"]).n_left_out == 0
    by_hand = choose_people(people_folder, ["face"], ["F003", "F001"])
    assert by_hand.people == ("F001", "F003") and by_hand.doubts[0].startswith("1 of them have names")
    assert choose_people(people_folder, ["face"], ["F001"]).doubts == ()
    with pytest.raises(InputError, match="'F123' has no labelled clip"):
        choose_people(people_folder, ["face"], ["F123"])
    encoder.info.subjects = tuple(f"folder/{name}" for name in people)
    with pytest.raises(InputError, match="have learnt from all 8 labelled people"):
        choose_people(people_folder, ["box"])


def test_linked_people_are_a_source_of_their_own(people_folder, tmp_path):
    link_people(people_folder, ["F002", "F003"], tmp_path / "some")
    link_people(people_folder, ["F002"], tmp_path / "some")
    found = sorted(str(file.relative_to(tmp_path / "some")) for file in (tmp_path / "some").rglob("*.*"))
    assert found == ["F002/T1.mp4", "labels/F002_T1.csv"]
    assert (tmp_path / "some/F002/T1.mp4").read_bytes() == b"video"
    (people_folder / "clips.csv").write_text("path,subject,clip,start_s,end_s\nF001/T1.mp4,F001,T1,1,2\n")
    with pytest.raises(InputError, match="Expected whole videos"):
        link_people(people_folder, ["F001"], tmp_path / "parts")


# ---- goals and page


def all_parts():
    """Results of all parts, just good enough."""

    def figure(value):
        return [value, value, value]

    calls = {
        "neutral": {"n": 2, "aus": {}, "mean": figure(0.029), "worst": {"au": "AU07", "share": figure(0.1)}},
        "smiling": {"n": 2, "aus": {"AU12": figure(0.9), "AU06": figure(0.5)}, "mean": figure(0.2), "worst": None},
    }
    scores = {name: figure(value) for name, value in (("f1", 0.7), ("roc_auc", 0.94), ("icc_3_1", 0.72))}
    judged = {"model": "face", "frames": AS_GIVEN, "n_frames": 9, "n_people": 3, "n_aus": 1}
    judged |= {"mean": scores, "common": scores, "aus": {"AU12": scores}}
    fit = {"r": figure(0.8), "slope": figure(0.7)}
    return {
        "emotions": {
            "n_pictures": 9,
            "n_faces": {"happy": 4},
            "common": ["AU12"],
            "models": {"face": {"aus": {"AU12": figure(0.9)}, "mean": figure(0.72)}},
        },
        "portraits": {
            "calls": {"face": calls},
            "twins": {"face": {"grey": {"changed": figure(0.02), "n_calls": 9, "lost": 1}}},
        },
        "people": {
            "people": ["A"],
            "n_left_out": 4,
            "by_hand": False,
            "doubts": ["shape does not say"],
            "common": ["AU12"],
            "judged": [judged],
            "sides": {"face": {"aus": {"AU12": fit}, "mean": {"r": 0.8, "slope": 0.7}}},
            "pose": {"yaw": {"slope": figure(0.95), "rms_deg": figure(1.99)}},
        },
    }


def test_goals_are_reached_at_their_bounds_and_missed_beyond():
    goals = judge_goals(all_parts(), "face")
    assert len(goals) == 10 and all(goal.reached for goal in goals)
    worse = all_parts()
    worse["emotions"]["models"]["face"]["mean"] = [0.719, None, None]
    neutral, smiling = worse["portraits"]["calls"]["face"].values()
    neutral |= {"mean": [0.03, None, None], "worst": {"au": "AU07", "share": [0.11, None, None]}}
    smiling["aus"] = {"AU12": [0.89, None, None], "AU06": [None, None, None]}
    worse["portraits"]["twins"]["face"]["grey"]["changed"] = [0.021, None, None]
    worse["people"]["judged"][0]["mean"] = dict.fromkeys(("f1", "roc_auc", "icc_3_1"), [0.71, None, None])
    worse["people"]["pose"]["yaw"] = {"slope": [1.06, None, None], "rms_deg": [2.0, None, None]}
    goals = judge_goals(worse, "face")
    assert len(goals) == 10 and not any(goal.reached for goal in goals)
    page = evidence_page(worse, goals, "face", {"face": "0123456789abcdef"})
    assert page.count("**missed**") == 10 and "reaches 0 of 10 goals" in page
    assert "| neutral: the worst AU | at most 0.10 | AU07 0.110 | **missed** |" in page


def test_page_has_every_table():
    page = evidence_page(all_parts(), judge_goals(all_parts(), "face"), "face", {"face": "0123456789abcdef"})
    assert "face (0123456789ab)" in page and "reaches 10 of 10 goals" in page and "missed" not in page
    for row in (
        "**Doubtful**: shape does not say.",
        "| mean of 1 | 0.720 (0.720 to 0.720) |",
        "| worst AU | AU07: 0.100 (0.100 to 0.100) |",
        "| grey | 0.020 (0.020 to 0.020) | 1 |",
        "| as given | 3 | 0.940 (0.940 to 0.940) |",
        "| AU12 | 0.800 (0.800 to 0.800) | 0.700 (0.700 to 0.700) |",
        "| yaw | 0.950 (0.950 to 0.950) | 1.990 (1.990 to 1.990) |",
    ):
        assert row in page
    assert figure_text([-0.0001, -0.1, 0.1]) == "0.000 (-0.100 to 0.100)"
    only = evidence_page({"emotions": all_parts()["emotions"]}, [], "face", {})
    assert "## Emotions" in only and "## People" not in only


# ---- the whole run


def invoke(*arguments):
    return CliRunner().invoke(cli, ["evidence", *map(str, arguments)])


@pytest.fixture
def stages(make_store, monkeypatch):
    """Stores that are made here instead of by preprocessing, and a note of what was preprocessed."""
    done = []

    def preprocess_all(source, store, config, **options):
        if not store.exists():
            make_store(store, n_subjects=8, n_frames=24, intensity=True, n_landmarks=478)
        done.append(store.parent.name)
        options["progress"](8, 8)

    monkeypatch.setattr(whole_path, "preprocess_all", preprocess_all)
    # painted faces are hidden to the judge of visibility
    monkeypatch.setattr(whole_path, "EmbedConfig", partial(EmbedConfig, hidden="keep"))
    monkeypatch.setattr(running, "write_degraded", lambda *arguments: done.append(f"written {arguments[2]}"))
    return done


def test_people_are_judged_at_every_quality_and_finished_parts_are_kept(stages, people_folder, tmp_path):
    out = tmp_path / "out"
    for kind in ("sides", "pose"):
        (people_folder / kind).mkdir()
    rows = "\n".join(f"{100 + i},{i / 24},{0.3 + i % 2 / 2}" for i in range(24))
    (people_folder / "sides/F003_T1.csv").write_text(f"frame,AU12_L,AU12_R\n{rows}\n")
    (people_folder / "pose/F003_T1.csv").write_text(f"frame,pitch,yaw\n{rows}\n")
    (people_folder / "people.csv").write_text("person,sex\nF003,f\nF004,f\nF005,m\n")
    options = ["--people", people_folder, "--models", "blendshapes,shape", "--qualities", "half-resolution-compressed"]
    options += ["--only", "F003,F004,F005"]
    result = invoke(out, *options)
    assert result.exit_code == 0, result.output
    assert stages == ["as-given", "written 0.5", "half-resolution-compressed"]
    content = json.loads((out / "evidence.json").read_text())
    people = content["people"]
    assert people["people"] == ["F003", "F004", "F005"] and people["n_left_out"] == 5 and people["by_hand"]
    frames = {one["frames"] for one in people["judged"]}
    assert frames == {AS_GIVEN, "head turned", "head not turned", "sex: f", "half resolution, compressed"}
    assert {one["model"] for one in people["judged"]} == {"shape", "blendshapes"}
    assert all(one["n_people"] == 3 for one in people["judged"] if one["frames"] == AS_GIVEN)
    assert set(people["pose"]) == {"pitch", "yaw"} and list(people["sides"]) == ["shape"]
    assert set(content["models"]) == {"shape", "blendshapes"} and len(content["models"]["shape"]) == 64
    assert "People never seen" in result.output and (out / "people.png").stat().st_size > 5000
    page = (out / "evidence.md").read_text()
    assert "`shape` reaches" in page and "chosen with --only" in page and "| half resolution, compressed | 3 |" in page

    again = invoke(out, *options)
    assert again.exit_code == 0 and len(stages) == 3 and (out / "evidence.md").read_text() == page
    (people_folder / "people.csv").unlink()
    assert invoke(out, *options).exit_code == 0 and len(stages) == 6


def test_wrong_calls_are_refused(tmp_path):
    with pytest.raises(SettingError, match="Expected --emotions, --portraits or --people"):
        run_evidence(tmp_path)
    with pytest.raises(SettingError, match="Unknown model 'fusion'. Known: face, shape, box, blendshapes"):
        run_evidence(tmp_path, people=tmp_path, models=["fusion"])
    with pytest.raises(SettingError, match="Unknown quality 'poor'. Known: half-resolution,"):
        run_evidence(tmp_path, people=tmp_path, qualities=["poor"])


@pytest.mark.slow
def test_pictures_take_the_whole_path(tmp_path):
    """Portraits of the demo as neutral and smiling ones, and as emotions: from files to tables, nothing replaced."""
    picture = load_portraits()[-1]
    head = cv2.cvtColor(picture.picture[picture.head], cv2.COLOR_RGB2BGR)
    for folder, label, size in (("portraits", "neutral", 300), ("portraits", "smiling", 320), ("faces", "happy", 90)):
        (tmp_path / folder / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / label / "grace.png"), cv2.resize(head, (size, size)))
    (tmp_path / "faces/anger").mkdir()
    cv2.imwrite(str(tmp_path / "faces/anger/wall.png"), np.full((120, 120, 3), 128, np.uint8))
    folders = ["--portraits", tmp_path / "portraits", "--emotions", tmp_path / "faces"]
    result = invoke(tmp_path / "out", *folders, "--models", "shape,blendshapes", "--workers", 1)
    assert result.exit_code == 0, (result.output, result.exception)
    content = json.loads((tmp_path / "out/evidence.json").read_text())
    assert content["emotions"]["n_faces"] == {"happy": 1} and content["emotions"]["n_pictures"] == 2
    calls, twins = content["portraits"]["calls"]["shape"], content["portraits"]["twins"]["shape"]
    assert calls["neutral"]["n"] == calls["smiling"]["n"] == 1 and "AU45" not in calls["neutral"]["aus"]
    assert set(twins) == set(TWINS) and all(twin["lost"] == 0 for twin in twins.values())
    assert twins["mirrored"]["n_calls"] == 2 * len(calls["neutral"]["aus"])
    assert max(twin["changed"][0] for twin in twins.values()) < 0.2
    again = invoke(tmp_path / "out", *folders, "--models", "shape,blendshapes")
    assert again.output == result.output  # kept parts keep the order of the tables
    assert {goal["name"] for goal in content["goals"]} >= {
        "emotions: mean ROC-AUC",
        "same face, grey: calls that change",
    }
