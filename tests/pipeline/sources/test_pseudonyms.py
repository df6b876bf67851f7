"""Pseudonyms: no name is written anywhere; the key, its pseudonyms, and what is refused without it."""

import hashlib
import hmac
import io
import json
import logging
import os
import re
import shutil
import stat
import unicodedata
from dataclasses import replace

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tclr.cli.main import cli
from tclr.pipeline.evaluation.protocols import StoreFacts, plan_evaluation
from tclr.pipeline.export import embed
from tclr.pipeline.preprocessing import preprocess
from tclr.pipeline.sources import Pseudonyms, find_clips, open_key, pseudonymise, pseudonyms, read_key
from tclr.pipeline.sources.listing import safe_name
from tclr.pipeline.sources.pseudonyms import LETTERS
from tclr.pipeline.store import Store
from tclr.pipeline.system import read_metadata, read_schema
from tclr.pipeline.views.overlay.rows import open_clips
from tclr.pipeline.views.report import write_report
from tclr.schemas.config import AlignConfig, DetectConfig, EmbedConfig, PreprocessConfig
from tclr.schemas.errors import InputError, OutputError, SettingError
from tclr.schemas.protocols import FOLD_PROTOCOLS

NAMES = ("Geheimordner", "Zwiebelfisch", "Quackelhans", "Kichererbse", "Wackelpudding", "Abgeschnitten", "Leuchtturm")
CONFIG = PreprocessConfig(DetectConfig(faces="all"), AlignConfig(size=48), allow_truncated=True)
KEY = Pseudonyms(bytes(range(32)))


@pytest.fixture(scope="module")
def scheduler():
    """Address of a Dask cluster of one thread of this process: no worker has to start."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def source(tmp_path_factory, moving_portrait, write_video):
    """Two people side by side with labels, a file that is not a video, a truncated one; all names from ``NAMES``."""
    root = tmp_path_factory.mktemp("source") / "Geheimordner"
    pair = [np.ascontiguousarray(np.hstack([image, image[:, ::-1]])) for image in moving_portrait(16)]
    write_video(root / "Zwiebelfisch" / "Kichererbse.mp4", pair)
    (root / "Zwiebelfisch" / "Wackelpudding.mp4").write_text("no video")
    cut = write_video(
        root / "Quackelhans" / "Abgeschnitten.mp4", moving_portrait(30), options={"movflags": "faststart"}
    )
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (root / "labels").mkdir()
    rows = "".join(f"{frame},{frame % 2}\n" for frame in range(16))
    (root / "labels" / "Zwiebelfisch_Kichererbse.csv").write_text(f"frame,AU12_c\n{rows}")
    return root


@pytest.fixture(scope="module")
def stills(source, portrait):
    """EmotioNet's layout: a folder of images with names of their own."""
    root = source.parent / "stills" / "Leuchtturm"
    root.mkdir(parents=True)
    for name in ("Zwiebelfisch.jpg", "Quackelhans.jpg"):
        cv2.imwrite(str(root / name), portrait[:240, 100:340, ::-1])
    (root.parent / "table.csv").write_text("file\tAU 1\tAU 12\nZwiebelfisch.jpg\t1\t0\nQuackelhans.jpg\t0\t1\n")
    return root.parent


@pytest.fixture(scope="module")
def out(tmp_path_factory, source, stills, scheduler):
    """Everything that the whole path writes for both sources, under umask 002, with the key beside it."""
    root = tmp_path_factory.mktemp("pseudonyms")
    key = root / "study.key"
    before = os.umask(0o002)
    result = preprocess(source, root / "out" / "store", CONFIG, key_file=key, scheduler=scheduler)
    assert result.new_key and len(result.failures) == 1
    preprocess(stills, root / "out" / "stills", CONFIG, key_file=key, dataset="emotionet", scheduler=scheduler)
    for name in ("store", "stills"):
        embed(
            root / "out" / name,
            root / "out" / f"{name}-features",
            None,
            EmbedConfig(embedding="none"),
            au_model="blendshapes",
        )
        write_report(root / "out" / name, root / "out" / f"{name}.html", features=root / "out" / f"{name}-features")
    os.umask(before)
    return root


def hdf5_content(path):
    """Yield names, attributes and values of any length of a file, decompressed."""
    with h5py.File(path) as file:
        found = [file]
        file.visititems(lambda name, item: found.append(item))
        for item in found:
            yield repr((item.name, dict(item.attrs))).encode()
            if isinstance(item, h5py.Dataset):
                values = item[...]
                yield b"\n".join(map(bytes, values)) if values.dtype == object else values.tobytes()


def everything(folder):
    """Yield (place, bytes) of everything below a folder: file names, raw bytes, and what is packed in them."""
    for path in folder.rglob("*"):
        yield path, str(path.relative_to(folder)).encode()
        if path.is_file():
            yield path, path.read_bytes()
        if path.suffix == ".h5":
            yield from ((path, content) for content in hdf5_content(path))
        if path.suffix == ".parquet":
            yield path, pd.read_parquet(path).to_csv().encode() + repr(pd.read_parquet(path).attrs).encode()
            yield path, repr(read_schema(path).metadata).encode()


def find_names(folder, names):
    wanted = [name.lower().encode() for name in names]
    return [(path, name) for path, content in everything(folder) for name in wanted if name in content.lower()]


def test_nothing_that_is_written_holds_a_name_or_path(out, source, stills):
    assert find_names(out / "out", (*NAMES, source.parent.name)) == []


def test_what_is_written_under_umask_002_is_the_groups_too_but_for_the_key(out):
    for path in (out / "out").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o775 if path.is_dir() else 0o664), path
    assert stat.S_IMODE((out / "study.key").stat().st_mode) == 0o600


def test_the_search_finds_names_where_they_are_not_replaced(tmp_path, source, scheduler):
    preprocess(source, tmp_path / "store", CONFIG, scheduler=scheduler)
    embed(tmp_path / "store", tmp_path / "features", None, EmbedConfig(embedding="none"), au_model="blendshapes")
    found = {(path.name, name.decode()) for path, name in find_names(tmp_path, NAMES)}
    for place in (
        ("run.json", "geheimordner"),
        ("Zwiebelfisch.h5", "kichererbse"),
        ("manifest.parquet", "wackelpudding"),
        ("Quackelhans.h5", "abgeschnitten"),
        ("Kichererbse#1.parquet", "zwiebelfisch"),
    ):
        assert place in found


def test_rows_labels_and_people_are_those_of_the_named_source(out, source):
    key = read_key(out / "study.key")
    with Store(out / "out" / "store") as store:
        names = {info.name: info for info in store.clips}
        zwiebelfisch, clip = key.subject("Zwiebelfisch"), key.clip("Kichererbse")
        cut = f"{key.subject('Quackelhans')}/{key.clip('Abgeschnitten')}#1"
        assert set(names) == {f"{zwiebelfisch}/{clip}#1", f"{zwiebelfisch}/{clip}#2", cut}
        first = names[f"{zwiebelfisch}/{clip}#1"]
        np.testing.assert_array_equal(store.read(first, "au")[:, 0], np.arange(16) % 2)
        assert re.fullmatch(r"truncated: \d+ frames could be decoded(; no face in .*)?", names[cut].attrs.warning)
        assert first.root.format_version == 2 and first.attrs.source == f"{zwiebelfisch}/{clip}"
    with Store(out / "out" / "stills") as store:
        (info,) = {info.subject: info for info in store.clips}.values()
        assert sorted(store.read(info, "source_name")) == sorted(map(key.file, ["Zwiebelfisch.jpg", "Quackelhans.jpg"]))


def test_manifest_withholds_reasons_that_the_terminal_tells(out):
    manifest = pd.read_parquet(out / "out" / "store" / "manifest.parquet").set_index("state")
    assert manifest.loc["failed", "reason"].startswith("withheld, as it may contain names")
    assert json.loads((out / "out" / "store" / "run.json").read_text())["source"] is None


def test_digests_of_the_source_are_keyed(out, source):
    video = source / "Zwiebelfisch" / "Kichererbse.mp4"
    plain = next(clip for clip in find_clips(source) if clip.path == video)
    key = bytes.fromhex((out / "study.key").read_text())
    expected = hmac.new(key, b"tclr digest\0" + bytes.fromhex(plain.sha256()), hashlib.sha256).hexdigest()
    path = next((out / "out" / "store-features").rglob(f"{read_key(out / 'study.key').clip('Kichererbse')}#1.parquet"))
    assert read_metadata(path)["source_sha256"] == expected
    contents = b"".join(content for _, content in everything(out / "out"))
    assert expected.encode() in contents
    for digest in (plain.sha256(), hashlib.sha256(video.read_bytes()).hexdigest(), plain.fingerprint()):
        assert digest.encode() not in contents


def test_same_key_goes_on_even_from_copied_files(tmp_path, out, source, scheduler):
    copy = tmp_path / "copy"
    shutil.copytree(source, copy)
    os.utime(copy / "Zwiebelfisch" / "Kichererbse.mp4", (1, 1))  # another fingerprint, the same content
    shutil.copytree(out / "out" / "store", tmp_path / "store")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store" / "subjects").iterdir()}
    result = preprocess(copy, tmp_path / "store", CONFIG, key_file=out / "study.key", scheduler=scheduler)
    assert (result.n_skipped, result.n_frames, result.new_key) == (2, 0, False)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store" / "subjects").iterdir()} == before


def test_another_key_or_none_or_a_store_of_names_is_refused(tmp_path, out, source, make_store):
    store = out / "out" / "store"
    (tmp_path / "other.key").write_text("ab" * 32)
    before = (store / "run.json").read_bytes()
    with pytest.raises(OutputError, match=r"has pseudonyms of another key\. Give the key that it was made with"):
        preprocess(source, store, CONFIG, key_file=tmp_path / "other.key")
    with pytest.raises(OutputError, match=r"has pseudonyms\. Give their key"):
        preprocess(source, store, CONFIG)
    assert (store / "run.json").read_bytes() == before
    with pytest.raises(OutputError, match=r"has real names\. Use another STORE"):
        preprocess(source, make_store(tmp_path / "named", n_frames=4), CONFIG, key_file=tmp_path / "other.key")


@pytest.mark.parametrize("lost", ["run.json", "subjects"])
def test_key_is_known_from_the_files_and_from_the_record_alone(tmp_path, out, source, lost):
    shutil.copytree(out / "out" / "store", tmp_path / "store")
    path = tmp_path / "store" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(OutputError, match="Give their key"):
        preprocess(source, tmp_path / "store", CONFIG)


def test_key_file_is_made_once_for_a_new_store_and_only_for_its_owner(tmp_path):
    source, store, path = tmp_path / "in", tmp_path / "store", tmp_path / "study.key"
    made, new = open_key(path, source, store)
    assert new and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch(r"[0-9a-f]{64}\n", path.read_text()) and made.key == bytes.fromhex(path.read_text())
    assert open_key(path, source, store) == (made, False)
    assert open_key(tmp_path / "second.key", source, store)[0] != made
    (store / "subjects").mkdir(parents=True)
    with pytest.raises(InputError, match="Expected the key file of .*store, but found nothing"):
        open_key(tmp_path / "typo.key", source, store)
    assert not (tmp_path / "typo.key").exists()


def test_key_in_the_data_and_files_that_are_no_key_are_refused(tmp_path):
    source, store = tmp_path / "in", tmp_path / "store"
    (tmp_path / "link").symlink_to(store, target_is_directory=True)
    for place in (source / "a.key", store / "parts" / "a.key", tmp_path / "link" / "a.key"):
        with pytest.raises(SettingError, match="Keep it apart from the data"):
            open_key(place, source, store)
    (tmp_path / "short.key").write_text("abc")
    with pytest.raises(InputError, match=r"64 hexadecimal digits, but .*short.key has other content \(3 char"):
        read_key(tmp_path / "short.key")
    with pytest.raises(OutputError, match="Cannot write"):
        open_key(tmp_path / "absent" / "a.key", source, store)


def test_pseudonyms_are_keyed_stable_and_safe_as_names():
    names = [str(number) for number in range(3000)]
    kinds = [list(map(kind, names)) for kind in (KEY.subject, KEY.clip, KEY.file)]
    for letter, made in zip("PCF", kinds, strict=True):
        assert len(set(made)) == len(names)
        assert all(re.fullmatch(rf"{letter}[a-z2-7]{{{LETTERS}}}", name) and safe_name(name) == name for name in made)
    assert len({name[1:] for made in kinds for name in made}) == 3 * len(names)
    assert Pseudonyms(bytes(32)).subject("anna") != KEY.subject("anna")
    assert KEY.subject(unicodedata.normalize("NFD", "José")) == KEY.subject(unicodedata.normalize("NFC", "José"))
    digest = hmac.new(KEY.key, b"tclr subject\0anna", hashlib.sha256).digest()
    bits = int.from_bytes(digest, "big") >> (256 - 5 * LETTERS)
    expected = "".join("abcdefghijklmnopqrstuvwxyz234567"[bits >> (5 * i) & 31] for i in reversed(range(LETTERS)))
    assert KEY.subject("anna") == f"P{expected}"
    assert str(list(KEY.key)) not in repr(KEY) and KEY.key.hex() not in repr(KEY) and repr(KEY.key) not in repr(KEY)


def test_two_names_with_one_pseudonym_are_refused(tmp_path, monkeypatch):
    for name in ("anna", "ben"):
        (tmp_path / f"{name}.mp4").write_text("")
    clips = find_clips(tmp_path)
    assert len(pseudonymise(clips, KEY)) == 2
    monkeypatch.setattr(pseudonyms, "LETTERS", 0)
    with pytest.raises(InputError, match="'anna' and 'ben' would get the same pseudonym"):
        pseudonymise(clips, KEY)


def test_command_tells_who_is_who(out, source):
    result = CliRunner().invoke(cli, ["pseudonyms", str(source), str(out / "study.key")])
    table = pd.read_csv(io.StringIO(result.output))
    assert sorted(zip(table["subject"], table["clip"], strict=True)) == [
        ("Quackelhans", "Abgeschnitten"), ("Zwiebelfisch", "Kichererbse"), ("Zwiebelfisch", "Wackelpudding"),
    ]  # fmt: skip
    features = pd.read_parquet(out / "out" / "store-features")
    assert set(features["subject"]) == set(table["subject_pseudonym"])
    assert {clip.split("#")[0] for clip in features["clip"]} < set(table["clip_pseudonym"])
    absent = CliRunner().invoke(cli, ["pseudonyms", str(source), str(out / "absent.key")])
    assert isinstance(absent.exception, InputError) and not (out / "absent.key").exists()


def test_overlay_finds_the_clip_by_its_pseudonym_only(out, source):
    video, key = source / "Zwiebelfisch" / "Kichererbse.mp4", read_key(out / "study.key")
    with Store(out / "out" / "store") as store:
        with pytest.raises(InputError, match="--clip SUBJECT/CLIP"):
            open_clips(video, store, None, None)
        name = f"{key.subject('Zwiebelfisch')}/{key.clip('Kichererbse')}#1"
        assert open_clips(video, store, None, name)[0].source.name == name


@pytest.mark.parametrize("name", FOLD_PROTOCOLS)
def test_protocols_that_list_people_need_the_key_and_then_give_the_same_folds(name):
    protocol = FOLD_PROTOCOLS[name]
    facts = StoreFacts("store/", protocol.dataset, frozenset(protocol.au_names), protocol.subjects, frozenset())
    hidden = replace(facts, subjects=frozenset(map(KEY.subject, protocol.subjects)), pseudonym_key=KEY.check)
    for key, got in ((None, "no key"), (Pseudonyms(bytes(32)), "another key")):
        with pytest.raises(InputError, match=f"{name} lists people by name, but got {got}"):
            plan_evaluation(name, [hidden], pseudonyms=key)
    plain, keyed = plan_evaluation(name, [facts]), plan_evaluation(name, [hidden], pseudonyms=KEY)
    assert keyed.published == plain.published and keyed.published
    assert keyed.clip == (KEY.clip(plain.clip) if plain.clip else "")
    for split, under in zip(plain.splits, keyed.splits, strict=True):
        assert under.test == {KEY.subject(subject) for subject in split.test}
        assert under.train == {KEY.subject(subject) for subject in split.train}


def test_emotionets_folds_are_said_to_follow_from_pseudonyms():
    shards = frozenset(f"P{number}/C1" for number in range(40))
    facts = StoreFacts("store/", "emotionet", frozenset({"AU01"}), frozenset(), shards, KEY.check)
    assert any("follow from pseudonyms" in note for note in plan_evaluation("emotionet", [facts]).notes)
