"""A person withdraws: nothing of them stays, nothing of others goes, no run brings them back."""

import json
import logging
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tclr.cli.main import cli
from tclr.pipeline.au import fit_au
from tclr.pipeline.encoder import EncoderInfo, build_encoder, save_encoder
from tclr.pipeline.export import embed
from tclr.pipeline.preprocessing import find_mentions, preprocess, readmit, withdraw
from tclr.pipeline.preprocessing.withdrawal import removal
from tclr.pipeline.preprocessing.withdrawal.listed import Withdrawn
from tclr.pipeline.preprocessing.withdrawal.mentions import BLOCK_CHARACTERS
from tclr.pipeline.sources import read_key
from tclr.pipeline.store import (
    ClipLayout,
    DamageRecord,
    Store,
    assemble_subject,
    find_damage,
    find_doubles,
    list_rows,
    scan_clips,
    write_manifest,
    write_part,
)
from tclr.pipeline.system import lock_folder, read_json, read_metadata, read_table, write_json, write_table
from tclr.schemas.config import AlignConfig, EmbedConfig, FitAuConfig, PreprocessConfig
from tclr.schemas.errors import InputError, OutputError, StoreError

SMALL = PreprocessConfig(align=AlignConfig(size=48))
HIDDEN = b"F002"


def add_people(store, subject, recording, n_people):
    """Add a recording of several people to a subject's file, as ``--faces all`` makes one."""
    path = store / "subjects" / f"{subject}.h5"
    with Store(path) as opened:
        info = opened.clips[0]
        block = {name: opened.read(info, name) for name in opened.fields(info) if name != "frames"}
        block["frames"] = opened.read_crops(info)
        names = {name: tuple(opened.names(info, name)) for name in ("blendshapes", "au")}
    layout = ClipLayout(info.root.align, block["landmarks"].shape[1], names["blendshapes"], names["au"])
    part = store / "parts" / subject / f"{recording}.h5"
    people = [f"{recording}#{number + 1}" for number in range(n_people)]
    with write_part(part, info.root) as file:
        for number, name in enumerate(people):
            writer = file.add_clip(name, layout)
            writer.append(block | {"landmarks": block["landmarks"] + number})
            writer.finish(replace(info.attrs, source_clip=recording, n_people=n_people, source_sha256=recording))
    sources = {one.clip: (path,) for one in scan_clips(path)[0]} | {name: (part,) for name in people}
    assemble_subject(path, sources, info.root)
    shutil.rmtree(store / "parts")


@pytest.fixture(scope="module")
def made(make_store, tmp_path_factory):
    """A store of three subjects; F002 has two recordings of their own, and one of three people."""
    store = make_store(tmp_path_factory.mktemp("made") / "store", n_clips=2, n_frames=16)
    shutil.rmtree(store / "parts")
    add_people(store, "F002", "talk", 3)
    with Store(store) as opened:
        write_manifest(store, opened.clips)
    write_json(store / "run.json", {"state": "done", "source": "/videos/F002", "pseudonym_key": ""})
    return store


@pytest.fixture
def store(made, tmp_path):
    return shutil.copytree(made, tmp_path / "store")


def clips(store):
    with Store(store) as opened:
        return [info.name for info in opened.clips]


def arrays(store, without):
    with Store(store) as opened:
        return {
            (info.name, name): opened.read(info, name).tobytes()
            for info in opened.clips
            for name in opened.fields(info)
            if info.name not in without
        }


def run(*arguments, **options):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], **options)


def test_a_person_goes_with_all_that_the_store_has_of_them_and_nobody_else(made, store):
    (store / "old").mkdir()
    for name in ("F002.h5", "F002~1.h5", "F0021.h5"):
        shutil.copy(store / "subjects" / "F002.h5", store / "old" / name)
    (store / "parts" / "F002").mkdir(parents=True)
    (store / "parts" / "F002" / "T9.h5").write_bytes(b"part")
    DamageRecord(store).write({"F002": ["T1"], "F003": ["T2"]})
    result = withdraw(store, "F002")
    assert result.clips == ("T1", "T2", "talk#1", "talk#2", "talk#3") and not result.lost
    assert set(clips(store)) == {f"F00{number}/T{clip}" for number in (1, 3) for clip in (1, 2)}
    assert [path.name for path in (store / "old").iterdir()] == ["F0021.h5"] and not (store / "parts").exists()
    assert list_rows(store).keys() == {"F001", "F003"} and DamageRecord(store).read() == {"F003": ["T2"]}
    (store / "old" / "F0021.h5").unlink()
    assert not [path for path in store.rglob("*") if path.is_file() and HIDDEN in path.read_bytes()]
    others = [name for name in clips(made) if name.startswith("F002")]
    assert arrays(store, ()) == arrays(made, others) and not any(report.damage for report in find_damage(store))


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("F002/T1", ["T1"]),
        ("F002/talk", ["talk#1", "talk#2", "talk#3"]),
        ("F002/talk#2", ["talk#2"]),
    ],
)
def test_a_recording_goes_with_everyone_in_it_and_one_person_of_it_alone(made, store, name, gone):
    full = {f"F002/{clip}" for clip in gone}
    assert withdraw(store, name).clips == tuple(gone)
    assert set(clips(store)) == set(clips(made)) - full
    assert arrays(store, ()) == arrays(made, full) and not any(report.damage for report in find_damage(store))
    assert {f"F002/{clip}" for clip in list_rows(store)["F002"]} == {one for one in clips(store) if "F002" in one}
    with h5py.File(store / "subjects" / "F002.h5") as file:
        assert not set(gone) & set(file["clips"])
    listed = Withdrawn.of(store)
    assert name in listed and listed.is_partly("F002/talk") == ("#" in name) and "F002/T2" not in listed


def test_the_list_tells_no_name_and_is_not_ignored_when_it_is_damaged(store):
    withdraw(store, "F001")
    text = (store / "withdrawn.json").read_text()
    assert "F001" not in text and "F001" in Withdrawn.of(store)
    (store / "withdrawn.json").write_text(text[:-20])
    with pytest.raises(StoreError, match="could come back"):
        withdraw(store, "F002")
    assert "F002/T1" in clips(store)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("F002/talk", "assemble_subject"),
        ("F002/talk", "remove_rows"),
        ("F002", "remove_rows"),
        ("F002", "DamageRecord"),
    ],
)
def test_a_second_call_finishes_what_an_interrupted_one_began(store, tmp_path, monkeypatch, name, step):
    embed(store, tmp_path / "features", None, EmbedConfig(embedding="none"), au_model="blendshapes")
    with monkeypatch.context() as patch:

        def stop(*_, **__):
            raise KeyboardInterrupt

        patch.setattr(removal, step, stop)
        try:
            withdraw(store, name, features=[tmp_path / "features"])
        except KeyboardInterrupt:
            assert name in Withdrawn.of(store)
    withdraw(store, name, features=[tmp_path / "features"])
    left = {f"F002/{clip}" for clip in list_rows(store).get("F002", ())}
    assert left == {one for one in clips(store) if "F002" in one} == ({"F002/T1", "F002/T2"} if "/" in name else set())
    exported = {path.stem for path in (tmp_path / "features").glob("subject=F002/*")}
    assert exported == ({"T1", "T2"} if "/" in name else set())
    assert withdraw(store, name).clips == ()


def test_features_go_too_with_those_that_were_measured_from_them(store, tmp_path):
    plain, centred = tmp_path / "plain", tmp_path / "centred"
    embed(store, plain, None, EmbedConfig(embedding="none"), au_model="blendshapes")
    shutil.copytree(plain, centred)
    for path in centred.rglob("*.parquet"):
        write_table(path, read_table(path), read_metadata(path) | {"settings": {"centre": "subject"}})
    result = withdraw(store, "F002/T1", features=[plain, centred])
    assert {path.stem for path in (plain / "subject=F002").iterdir()} == {"T2", "talk#1", "talk#2", "talk#3"}
    assert not (centred / "subject=F002").exists() and len(list(centred.glob("subject=F001/*"))) == 2
    assert {path.stem for path in result.rebuilt} == {"T2", "talk#1", "talk#2", "talk#3"}
    assert len(pd.read_parquet(plain)) == 16 * 8


def test_a_damaged_clip_of_others_stays_and_an_unreadable_file_is_refused(made, store):
    path = store / "subjects" / "F002.h5"
    with h5py.File(path, "r+") as file:
        file["clips/T2/score"][3] = 0.123
    withdraw(store, "F002/T1")
    assert "F002/T2" in clips(store)
    assert [list(report.damage) for report in find_damage(store) if report.damage] == [["T2"]]
    path.write_bytes(b"no HDF5")
    with pytest.raises(StoreError, match="Remove the subject as a whole"):
        withdraw(store, "F002/T2")
    assert withdraw(store, "F002").files and not path.exists()


def test_names_that_are_unknown_unsafe_or_paths_are_refused(store, tmp_path):
    before = sorted(store.rglob("*"))
    for name in ("zoe", "F001/T7", "F001/", "/T1", "..", "../F001", "F001/../../x", ""):
        with pytest.raises(InputError):
            withdraw(store, name)
    with pytest.raises(InputError, match="folder of features"):
        withdraw(store, "F001", features=[tmp_path / "none"])
    with pytest.raises(StoreError, match="Expected a store"):
        withdraw(tmp_path / "none", "F001")
    with lock_folder(store), pytest.raises(OutputError, match="no other run"):
        withdraw(store, "F001")
    assert sorted(store.rglob("*")) == before


def test_command_asks_lists_and_removes(store):
    assert "Nothing was removed" in run("remove", store, "F002", "--dry-run").output
    assert run("remove", store, "F002", input="n\n").exit_code == 0 and "F002/T1" in clips(store)
    listing = run("remove", store, "F002/T1", "--dry-run").output
    assert "rewrite" in listing and "T2, talk#1, talk#2, talk#3" in listing
    assert run("remove", store, "F002", input="y\n").exit_code == 0 and "F002/T1" not in clips(store)
    document = json.loads(run("remove", store, "F003", "--yes", "--json").stdout)
    assert document["clips"] == ["T1", "T2"] and document["is_done"] and document["mentions"] == []
    assert run("remove", store, "F003", "--readmit").exit_code == 0
    assert run("remove", store, "F003", "--readmit").exit_code == 1


def test_source_that_has_a_name_is_forgotten(store):
    withdraw(store, "F001")
    assert read_json(store / "run.json")["source"] == "/videos/F002"
    withdraw(store, "F002")
    assert read_json(store / "run.json") == {"state": "done", "source": None, "pseudonym_key": ""}


def test_one_of_several_withdrawn_of_a_recording_returns_and_the_recording_stays_closed(store):
    for name in ("F002/talk#1", "F002/talk#2"):
        withdraw(store, name)
    readmit(store, "F002/talk#1")
    assert Withdrawn.of(store).is_partly("F002/talk")
    readmit(store, "F002/talk#2")
    assert not (store / "withdrawn.json").exists()
    with pytest.raises(InputError, match="not on its list"):
        readmit(store, "F002/talk#2")


def test_models_and_tables_that_learnt_from_or_name_a_person_are_found(store, tmp_path):
    place = tmp_path / "made"
    place.mkdir()
    for name, people in (("seen", ("bp4d/F002", "bp4d/F001")), ("unseen", ("bp4d/F0021",)), ("old", ())):
        info = EncoderInfo(embedding_dim=8, arch="mobilenet_v2", subjects=people)
        save_encoder(place / f"{name}.safetensors", build_encoder(8, seed=0, arch="mobilenet_v2"), info)
    fit_au(store, None, place / "head.safetensors", FitAuConfig(inputs="blendshapes", folds=2))
    left = FitAuConfig(inputs="blendshapes", folds=2, leave_out="F002")
    fit_au(store, None, place / "head_without.safetensors", left)
    (place / "scores.json").write_text(json.dumps({"test": ["F001", "F002"]}))
    (place / "late.html").write_text("-" * (BLOCK_CHARACTERS - 2) + "F002" + "-" * 50)
    (place / "neutral.csv").write_text("subject,clip\nF0021,a\n")
    pd.DataFrame({"subject": ["F001", "F002"], "x": [1, 2]}).to_parquet(place / "events.parquet")
    pd.DataFrame({"subject": ["F001"], "x": [1]}).to_parquet(place / "others.parquet")
    found = {mention.path.name: mention.what for mention in find_mentions([place], "F002")}
    assert found.keys() == {
        "seen.safetensors", "old.safetensors", "head.safetensors", "scores.json", "late.html", "events.parquet"
    }  # fmt: skip
    assert found["seen.safetensors"].startswith("learnt") and found["head.safetensors"].startswith("learnt")
    assert found["old.safetensors"].startswith("does not say") and found["scores.json"] == "names them"
    with pytest.raises(InputError, match="found nothing at"):
        find_mentions([tmp_path / "none"], "F002")


def test_checkpoint_of_a_run_is_found(store, tmp_path):
    import torch

    from tclr.pipeline.encoder import info_to_json

    info = EncoderInfo(subjects=("bp4d/Mül", "bp4d/F002"))
    torch.save({"encoder_info": info_to_json(info), "model": {}}, tmp_path / "checkpoint.pt")
    assert [bool(find_mentions([tmp_path], name)) for name in ("F002", "Mül", "F00")] == [True, True, False]


@pytest.fixture(scope="module")
def scheduler():
    """Address of a Dask cluster of one thread of this process: no worker has to start."""
    from distributed import LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "protocol": "tcp"}
    with LocalCluster(**options, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def source(tmp_path_factory, moving_portrait, write_video):
    root = tmp_path_factory.mktemp("source")
    images = moving_portrait(20)
    for number, name in enumerate(("anna/one", "anna/two", "ben/one")):
        write_video(root / f"{name}.mp4", images[number : number + 8])
    return root


@pytest.fixture(scope="module")
def detected(source, tmp_path_factory, scheduler):
    """The store of the source, under real names."""
    store = tmp_path_factory.mktemp("detected") / "store"
    assert preprocess(source, store, SMALL, scheduler=scheduler).warnings == ()
    return store


def test_no_run_brings_back_who_has_withdrawn_until_they_are_readmitted(source, detected, tmp_path, scheduler):
    store = shutil.copytree(detected, tmp_path / "store")
    before = arrays(store, ())
    withdraw(store, "anna/two")
    withdraw(store, "ben")
    result = preprocess(source, store, SMALL, scheduler=scheduler)
    assert result.withdrawn == ("anna/two", "ben/one") and (result.n_clips, result.n_skipped) == (1, 1)
    assert result.warnings == () and clips(store) == ["anna/one"]
    withdraw(store, "anna")
    with pytest.raises(InputError, match="everyone in .* has withdrawn"):
        preprocess(source, store, SMALL, scheduler=scheduler)
    for name in ("anna", "anna/two", "ben"):
        readmit(store, name)
    assert preprocess(source, store, SMALL, scheduler=scheduler).withdrawn == () and arrays(store, ()) == before


def test_real_names_are_understood_with_the_key_of_pseudonyms(source, tmp_path, scheduler):
    key, store = tmp_path / "study.key", tmp_path / "store"
    preprocess(source, store, SMALL, key_file=key, scheduler=scheduler)
    names = read_key(key)
    with pytest.raises(InputError, match="--pseudonyms KEYFILE"):
        withdraw(store, "anna")
    (tmp_path / "other.key").write_text("0" * 64)
    with pytest.raises(OutputError, match="another key"):
        withdraw(store, "anna", key_file=tmp_path / "other.key")
    assert withdraw(store, "anna/two", key_file=key).name == f"{names.subject('anna')}/{names.clip('two')}"
    assert withdraw(store, names.subject("ben"), key_file=key).name == names.subject("ben")
    result = preprocess(source, store, SMALL, key_file=key, scheduler=scheduler)
    assert clips(store) == [f"{names.subject('anna')}/{names.clip('one')}"] and len(result.withdrawn) == 2
    assert readmit(store, "ben", key_file=key) == names.subject("ben")


def test_what_has_gone_or_was_renamed_is_reported_and_pruned(
    source, detected, tmp_path, moving_portrait, write_video, scheduler
):
    store, changed = shutil.copytree(detected, tmp_path / "store"), shutil.copytree(source, tmp_path / "in")
    (changed / "anna" / "two.mp4").unlink()
    (changed / "ben" / "one.mp4").rename(changed / "ben" / "first.mp4")
    result = preprocess(changed, store, SMALL, scheduler=scheduler)
    (warning,) = result.warnings
    assert "2 recordings of" in warning.reason and "anna/two, " in warning.reason and "--prune" in warning.reason
    assert "ben/one (ben/first has the same content: renamed?)" in warning.reason
    assert result.n_clips == 4 and result.pruned == ()
    result = preprocess(changed, store, SMALL, scheduler=scheduler, prune=True)
    assert result.pruned == ("anna/two", "ben/one") and result.warnings == ()
    assert clips(store) == ["anna/one", "ben/first"] and not (store / "withdrawn.json").exists()
    write_video(tmp_path / "other" / "zoe.mp4", moving_portrait(4))
    with pytest.raises(InputError, match="has none"):
        preprocess(tmp_path / "other", store, SMALL, scheduler=scheduler, prune=True)
    assert clips(store) == ["anna/one", "ben/first"]


def test_clips_of_other_settings_that_have_gone_are_pruned_before_they_are_in_the_way(
    source, detected, tmp_path, scheduler
):
    store, changed = shutil.copytree(detected, tmp_path / "store"), shutil.copytree(source, tmp_path / "in")
    (changed / "ben" / "one.mp4").unlink()
    larger = PreprocessConfig(align=AlignConfig(size=64))
    with pytest.raises(OutputError, match="made with other settings"):
        preprocess(changed, store, larger, scheduler=scheduler)
    assert preprocess(changed, store, larger, scheduler=scheduler, prune=True).pruned == ("ben/one",)
    assert clips(store) == ["anna/one", "anna/two"]


def test_one_file_under_two_subjects_is_noticed(source, detected, tmp_path, scheduler):
    store, changed = shutil.copytree(detected, tmp_path / "store"), shutil.copytree(source, tmp_path / "in")
    shutil.copy(changed / "anna" / "one.mp4", changed / "ben" / "copy.mp4")
    shutil.copy(changed / "anna" / "two.mp4", changed / "anna" / "again.mp4")
    (changed / "labels").mkdir()
    (changed / "labels" / "ben_copy.csv").write_text("frame,AU12_c\n0,1\n")  # the labels alone differ
    warnings = {
        warning.name: warning.reason for warning in preprocess(changed, store, SMALL, scheduler=scheduler).warnings
    }
    assert warnings.keys() == {"anna/again", "anna/one"}
    assert "ben/copy" in warnings["anna/one"] and "folds leak" in warnings["anna/one"]
    assert "anna/two" in warnings["anna/again"] and "count several times" in warnings["anna/again"]
    told = run("inspect", store)
    assert told.stderr.count("the same video") == 2 and "anna/one: the same video as ben/copy" in told.stderr
    assert find_doubles([]) == []


def test_a_recording_that_one_person_left_is_never_detected_again(tmp_path, moving_portrait, write_video, scheduler):
    pair = [np.ascontiguousarray(np.hstack([image, image[:, ::-1]])) for image in moving_portrait(14)]
    write_video(tmp_path / "in" / "anna" / "talk.mp4", pair)
    write_video(tmp_path / "in" / "ben" / "alone.mp4", moving_portrait(8))
    everyone = PreprocessConfig(detect=SMALL.detect.model_copy(update={"faces": "all"}), align=SMALL.align)
    preprocess(tmp_path / "in", tmp_path / "store", everyone, scheduler=scheduler)
    assert clips(tmp_path / "store") == ["anna/talk#1", "anna/talk#2", "ben/alone#1"]
    withdraw(tmp_path / "store", "anna/talk#2")
    write_video(tmp_path / "in" / "anna" / "talk.mp4", pair[:13])  # the source has changed
    result = preprocess(tmp_path / "in", tmp_path / "store", everyone, scheduler=scheduler, prune=True)
    assert result.withdrawn == ("anna/talk",) and result.pruned == () and result.failures == ()
    assert clips(tmp_path / "store") == ["anna/talk#1", "ben/alone#1"]
    larger = PreprocessConfig(detect=everyone.detect, align=AlignConfig(size=64))
    with pytest.raises(OutputError, match="a person of it has withdrawn"):
        preprocess(tmp_path / "in", tmp_path / "store", larger, scheduler=scheduler)
