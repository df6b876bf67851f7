import os
import re
import shutil
from functools import partial

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tclr.pipeline.au import MAPPED_AUS, MAPPING_VERSION, THRESHOLD, fit_au, load_head, predict_from_blendshapes, smooth
from tclr.pipeline.encoder import EncoderInfo, TorchEncoder, build_encoder
from tclr.pipeline.export import embed
from tclr.pipeline.features import load
from tclr.pipeline.store import Store
from tclr.pipeline.system import read_metadata, write_table
from tclr.pipeline.views.report import write_report
from tclr.schemas.blendshapes import BLENDSHAPE_NAMES
from tclr.schemas.config import EmbedConfig, FitAuConfig
from tclr.schemas.errors import ModelError, OutputError, ReplacementError, SettingError, StoreError
from tclr.schemas.features import eye_columns, features_schema, sight_columns
from tclr.schemas.store import NO_TRACK

INFO = EncoderInfo(embedding_dim=8, image_size=32, crop_ratio=1.0)
keep_guesses = partial(EmbedConfig, hidden="keep")
"""Settings of an export: painted squares are no faces, of which something could be hidden."""
NO_FACE = (0, 7)
NUMBERS = (
    "score",
    "sharpness",
    "face_px",
    "track",
    "pitch",
    "yaw",
    "roll",
    "turned",
    "AU01",
    "AU12",
    "AU01_c",
    "AU12_c",
)
NUMBERS += (*sight_columns(), "confidence")
OF_478_LANDMARKS = (*eye_columns(), "head_x", "head_y", "head_z")
"""Columns that need mediapipe's landmarks, which this store has not."""


class RecordingEncoder(TorchEncoder):
    """The real encoder, which also remembers how many crops it was given at once."""

    def __init__(self, seed=0):
        super().__init__(build_encoder(8, seed), INFO)
        self.sizes = []

    def embed_all(self, batches):
        def remembered():
            for frames in batches:
                self.sizes.append(len(frames))
                yield frames

        return super().embed_all(remembered())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny networks are slower on several threads than on one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def encoder():
    return RecordingEncoder()


@pytest.fixture(scope="module")
def store(make_store, tmp_path_factory):
    """Two subjects with two clips of 20 frames; two frames of each have no face."""
    return make_store(tmp_path_factory.mktemp("store"), n_subjects=2, n_clips=2, n_frames=20, no_face=NO_FACE)


@pytest.fixture(scope="module")
def head_file(store, tmp_path_factory):
    return fit_au(store, RecordingEncoder(), tmp_path_factory.mktemp("head") / "au.safetensors", FitAuConfig()).path


@pytest.fixture(scope="module")
def exported(store, head_file, tmp_path_factory):
    """The store's features with a head; two clips done."""
    features = tmp_path_factory.mktemp("features")
    return embed(store, features, RecordingEncoder(), keep_guesses(batch_size=6), au_model=head_file)


@pytest.fixture
def copy(store, tmp_path):
    """A store that the test may change."""
    return shutil.copytree(store, tmp_path / "store")


def files_of(features):
    return {str(path.relative_to(features)): path for path in sorted(features.rglob("*.parquet"))}


def stamps(features):
    return {name: path.stat().st_ino for name, path in files_of(features).items()}  # a rewritten file is another inode


def edit(store, subject, change):
    with h5py.File(store / "subjects" / f"{subject}.h5", "r+") as file:
        change(file)


def set_clip(store, subject, clip, **attrs):
    edit(store, subject, lambda file: file[f"clips/{clip}"].attrs.update(attrs))


# ---- one row a frame


def test_pandas_reads_one_row_a_frame(exported, store):
    table = pd.read_parquet(exported.features)
    assert len(table) == exported.n_rows == 4 * 20
    assert len(table.columns) == exported.n_columns
    keys = table.groupby(["subject", "clip"], observed=True)["frame"].apply(list)
    with Store(store) as opened:
        expected = {(info.subject, info.clip): opened.read(info, "source_frame").tolist() for info in opened.clips}
    assert keys.to_dict() == expected
    assert set(table["subject"]) == {"F001", "F002"} and set(table["dataset"]) == {"bp4d"}


def test_pandas_reads_the_types_of_the_specification(exported):
    types = pd.read_parquet(exported.features).dtypes
    for name in ("dataset", "clip", "status", "subject"):
        assert isinstance(types[name], pd.CategoricalDtype)
    assert types["frame"] == np.int64 and types["timestamp"] == np.float64
    assert all(types[name] == np.float32 for name in ("score", "pitch", "yaw", "roll", "AU01", "AU12", "emb_007"))
    assert all(types[name] == pd.Int8Dtype() for name in ("AU01_c", "AU12_c", "AU01_true", "AU12_true"))


def test_files_have_the_columns_of_the_schema(exported):
    expected = features_schema(["AU01", "AU12"], ["AU01", "AU12"], 8, blendshapes=False, sight=True)
    for path in files_of(exported.features).values():
        assert pq.read_schema(path).equals(expected)
        assert pq.read_schema(path).field("timestamp").metadata[b"units"] == b"s"


def test_loader_and_pandas_agree(exported):
    ours = load(exported.features)
    theirs = pd.read_parquet(exported.features)[ours.columns]
    pd.testing.assert_frame_equal(ours, theirs, check_categorical=False)


def test_values_are_those_of_the_store(exported, store):
    table = load(exported.features, subjects=["F002"])
    table = table[table["clip"] == "T2"]
    with Store(store) as opened:
        info = next(info for info in opened.clips if info.name == "F002/T2")
        np.testing.assert_array_equal(table["timestamp"], opened.read(info, "timestamp"))
        np.testing.assert_array_equal(table["score"], opened.read(info, "score"))
        np.testing.assert_array_equal(table["sharpness"], opened.read(info, "sharpness"))
        np.testing.assert_array_equal(table["track"].fillna(NO_TRACK), opened.read(info, "track"))
        box = opened.read(info, "bbox")
        np.testing.assert_array_equal(table["face_px"], np.maximum(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]))
        np.testing.assert_array_equal(table[["pitch", "yaw", "roll"]], opened.read(info, "pose"))
        np.testing.assert_array_equal(table[["AU01_true", "AU12_true"]].to_numpy(np.int8), opened.read(info, "au"))
    assert [row for row, status in enumerate(table["status"]) if status == "no_face"] == list(NO_FACE)


def test_frames_without_a_face_are_null_and_keep_their_labels(exported):
    for path in files_of(exported.features).values():
        table = pq.read_table(path, partitioning=None)
        for name in table.column_names:
            number = name in NUMBERS or name.startswith("emb_")
            nulls = [row for row, valid in enumerate(table[name].is_valid().to_pylist()) if not valid]
            unknown = list(range(20)) if name in OF_478_LANDMARKS else []
            assert nulls == (list(NO_FACE) if number else unknown), name


def test_unknown_labels_are_null(copy, encoder, tmp_path):
    def forget(file):
        file["clips/T1/au"][3:5, 0] = -1

    edit(copy, "F001", forget)
    embed(copy, tmp_path / "features", encoder, keep_guesses())
    labels = load(tmp_path / "features", columns=["clip", "AU??_true"], subjects=["F001"])
    assert np.flatnonzero(labels["AU01_true"].isna()).tolist() == [3, 4]
    assert not labels["AU12_true"].isna().any()


def test_clips_with_different_labels_get_the_same_columns(copy, encoder, tmp_path):
    def unlabel(file):
        del file["clips/T1/au"]
        file["clips/T2/au"].attrs["names"] = ["AU02", "AU12"]

    edit(copy, "F002", unlabel)
    embed(copy, tmp_path / "features", encoder, keep_guesses())
    table = pd.read_parquet(tmp_path / "features")
    known = table.groupby(["subject", "clip"], observed=True)[["AU01_true", "AU02_true", "AU12_true"]].count()
    assert known.to_numpy().tolist() == [[20, 0, 20], [20, 0, 20], [0, 0, 0], [0, 20, 20]]


# ---- embeddings and AUs


def test_embeddings_are_the_encoders_whatever_the_blocks(exported, store, encoder):
    table = load(exported.features, columns=["clip", "emb_*"])
    with Store(store) as opened:
        for info in opened.clips:
            rows = table[(table["subject"] == info.subject) & (table["clip"] == info.clip)].filter(like="emb_")
            face = opened.face_mask(info)
            whole = encoder.embed(opened.read_crops(info)[face])
            np.testing.assert_allclose(rows[face], whole, atol=1e-5)
            np.testing.assert_allclose(np.linalg.norm(rows[face], axis=1), 1, atol=1e-5)


def test_no_clip_is_in_memory_as_frames(store, encoder, tmp_path):
    embed(store, tmp_path, encoder, keep_guesses(batch_size=6))
    assert max(encoder.sizes) <= 6 and sum(encoder.sizes) == 4 * 18


def test_aus_come_from_the_head(exported, head_file):
    table, head = load(exported.features).dropna(subset="score"), load_head(head_file)
    expected = head.predict(table.filter(like="emb_").to_numpy())
    np.testing.assert_allclose(table[["AU01", "AU12"]], expected, atol=1e-6)
    np.testing.assert_array_equal(table[["AU01_c", "AU12_c"]].to_numpy(np.int8), expected >= head.threshold)
    assert exported.au_source == f"head:{head.digest}"


def test_without_a_head_aus_come_from_blendshapes(store, encoder, tmp_path):
    result = embed(store, tmp_path, encoder, keep_guesses())
    table = load(tmp_path, subjects=["F001"])
    table = table[table["clip"] == "T1"]
    with Store(store) as opened:
        expected = predict_from_blendshapes(opened.read(opened.clips[0], "blendshapes"))
    np.testing.assert_allclose(table[list(MAPPED_AUS)], expected, atol=1e-6)
    face = ~np.isnan(expected[:, 0])
    decisions = table[[f"{name}_c" for name in MAPPED_AUS]][face].to_numpy(np.int8)
    np.testing.assert_array_equal(decisions, expected[face] >= THRESHOLD)
    assert result.au_source == f"blendshapes:v{MAPPING_VERSION}"


def test_without_head_and_blendshapes_there_are_no_au_columns(copy, encoder, tmp_path):
    def strip(file):
        for clip in file["clips"].values():
            del clip["blendshapes"]

    for subject in ("F001", "F002"):
        edit(copy, subject, strip)
    result = embed(copy, tmp_path / "features", encoder, keep_guesses())
    names = load(tmp_path / "features").columns
    assert result.au_source == "none"
    assert [name for name in names if name.startswith("AU")] == ["AU01_true", "AU12_true"]
    with pytest.raises(StoreError, match="blendshapes"):
        embed(copy, tmp_path / "other", encoder, keep_guesses(blendshapes=True))


def test_blendshape_columns_are_added_on_request(store, encoder, tmp_path):
    embed(store, tmp_path, encoder, keep_guesses(blendshapes=True))
    table = load(tmp_path, columns=["clip", "bs_*"], subjects=["F001"])
    with Store(store) as opened:
        expected = opened.read(opened.clips[0], "blendshapes")
    np.testing.assert_array_equal(table[table["clip"] == "T1"][[f"bs_{name}" for name in BLENDSHAPE_NAMES]], expected)


def test_a_head_refuses_another_encoder(store, head_file, tmp_path):
    with pytest.raises(ModelError, match="fitted on"):
        embed(store, tmp_path / "features", RecordingEncoder(seed=1), keep_guesses(), au_model=head_file)
    assert not (tmp_path / "features").exists()


# ---- provenance and going on


def test_metadata_say_where_everything_comes_from(exported, store, head_file):
    metadata = read_metadata(files_of(exported.features)["subject=F001/T1.parquet"])
    with Store(store) as opened:
        info = opened.clips[0]
    assert (metadata["format"], metadata["format_version"]) == ("tclr-features", 1)
    assert metadata["encoder"]["digest"] == RecordingEncoder().digest
    assert metadata["encoder"]["image_size"] == 32
    assert metadata["au_source"] == f"head:{load_head(head_file).digest}"
    assert metadata["source_sha256"] == info.attrs.source_sha256 and metadata["source"] == "F001/T1"
    assert metadata["detect_hash"] == info.root.detect_hash and metadata["align"]["size"] == 32
    assert {"tclr_version", "settings"} <= set(metadata)


def test_a_second_run_does_nothing(store, head_file, encoder, tmp_path):
    embed(store, tmp_path, encoder, keep_guesses(), au_model=head_file)
    before, encoder.sizes = stamps(tmp_path), []
    result = embed(store, tmp_path, encoder, keep_guesses(batch_size=5), au_model=head_file)
    assert result.n_skipped == result.n_clips == 4 and not encoder.sizes
    assert stamps(tmp_path) == before


@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_run_that_was_interrupted_goes_on(store, encoder, tmp_path, damage):
    embed(store, tmp_path, encoder, keep_guesses())
    before, complete = stamps(tmp_path), load(tmp_path)
    path = tmp_path / "subject=F002" / "T1.parquet"
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[:100] if damage == "cut" else b"")
    assert embed(store, tmp_path, encoder, keep_guesses()).n_skipped == 3
    after = stamps(tmp_path)
    assert {name for name in before if before[name] != after[name]} <= {"subject=F002/T1.parquet"}
    pd.testing.assert_frame_equal(load(tmp_path), complete)


@pytest.mark.parametrize("name", ["source_sha256", "fps", "detector", "source"])
def test_a_changed_clip_is_done_again_and_no_other(copy, encoder, tmp_path, name):
    features = tmp_path / "features"
    embed(copy, features, encoder, keep_guesses())
    before = stamps(features)
    set_clip(copy, "F001", "T2", **{name: 30.0 if name == "fps" else "other"})
    assert embed(copy, features, encoder, keep_guesses()).n_skipped == 3
    after = stamps(features)
    assert [name for name in before if before[name] != after[name]] == ["subject=F001/T2.parquet"]


def test_other_crops_are_done_again(copy, encoder, tmp_path):
    embed(copy, tmp_path / "features", encoder, keep_guesses())
    edit(copy, "F001", lambda file: file.attrs.update(align_hash="other"))
    assert embed(copy, tmp_path / "features", encoder, keep_guesses()).n_skipped == 2


def test_another_encoder_head_or_setting_does_every_clip_again(store, head_file, encoder, tmp_path):
    runs = [
        (encoder, keep_guesses(), "auto"),
        (RecordingEncoder(seed=1), keep_guesses(), "auto"),
        (encoder, keep_guesses(), head_file),
        (encoder, keep_guesses(blendshapes=True), head_file),
    ]
    for loaded, config, au_model in runs:
        assert embed(store, tmp_path, loaded, config, au_model=au_model, replace=True).n_skipped == 0
    assert len(pd.read_parquet(tmp_path)) == 80


def test_the_same_input_gives_the_same_bytes(store, head_file, tmp_path):
    for name in ("a", "b"):
        embed(store, tmp_path / name, RecordingEncoder(), keep_guesses(), au_model=head_file)
    first, second = files_of(tmp_path / "a"), files_of(tmp_path / "b")
    assert {name: path.read_bytes() for name, path in first.items()} == {
        name: path.read_bytes() for name, path in second.items()
    }


def test_features_of_clips_that_the_store_lacks_stop_the_run(store, copy, encoder, tmp_path):
    features = tmp_path / "features"
    embed(store, features, encoder, keep_guesses())
    os.remove(copy / "subjects" / "F002.h5")
    before = stamps(features)
    with pytest.raises(OutputError, match=r"not in the store.*F002"):
        embed(copy, features, encoder, keep_guesses())
    assert stamps(features) == before


def test_progress_ends_at_the_total(store, encoder, tmp_path):
    for _ in range(2):  # the second run skips everything
        seen = []
        embed(
            store,
            tmp_path,
            encoder,
            keep_guesses(),
            notify=lambda p, seen=seen: seen.append((p.n_frames, p.n_frames_total)),
        )
        assert seen[-1] == (80, 80) and [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("name", ["a+b#c@d-e.f", "Zoë", "S1e5"])
def test_pandas_sees_subjects_of_any_safe_name(copy, encoder, tmp_path, name):
    edit(copy, "F001", lambda file: file.attrs.update(subject=name))
    os.rename(copy / "subjects" / "F001.h5", copy / "subjects" / f"{name}.h5")
    embed(copy, tmp_path / "features", encoder, keep_guesses())
    assert set(pd.read_parquet(tmp_path / "features")["subject"]) == {name, "F002"}
    assert set(load(tmp_path / "features")["subject"]) == {name, "F002"}


def test_a_number_that_is_missing_with_a_face_is_null(copy, encoder, tmp_path):
    def forget(file):
        file["clips/T1/score"][4] = np.nan
        file["clips/T1/blendshapes"][4] = np.nan

    edit(copy, "F001", forget)
    embed(copy, tmp_path / "features", encoder, keep_guesses())
    table = pq.read_table(tmp_path / "features/subject=F001/T1.parquet", partitioning=None)
    for name in ("score", "AU01", "AU01_c"):
        assert table[name][4].as_py() is None, name
    assert table["emb_000"][4].as_py() is not None


def test_parquet_at_another_place_of_the_folder_stops_the_run(store, encoder, tmp_path):
    (tmp_path / "features").mkdir()
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "features" / "mine.parquet")
    with pytest.raises(OutputError, match=r"mine\.parquet"):
        embed(store, tmp_path / "features", encoder, keep_guesses())


# ---- what is written


def test_intensities_are_the_heads_where_it_has_any(make_store, encoder, tmp_path):
    store = make_store(tmp_path / "store", n_subjects=2, n_frames=20, no_face=NO_FACE, intensity=True)
    head_file = fit_au(store, encoder, tmp_path / "au.safetensors", FitAuConfig(folds=2)).path
    embed(store, tmp_path / "features", encoder, keep_guesses(), au_model=head_file)
    table = load(tmp_path / "features")
    columns = table.columns.tolist()
    assert columns[columns.index("AU01") :][:8] == [
        "AU01", "AU12", "AU01_c", "AU12_c", "AU01_r", "AU12_r", "AU01_true", "AU12_true",
    ]  # fmt: skip
    assert table["AU01_r"].isna().tolist() == table["score"].isna().tolist() and table["AU01_r"].dtype == np.float32
    seen = table.dropna(subset="score")
    expected = load_head(head_file).predict_intensity(seen.filter(like="emb_").to_numpy())
    np.testing.assert_allclose(seen[["AU01_r", "AU12_r"]], expected, atol=1e-5)


def test_smoothing_is_the_heads_unless_another_is_asked_for(store, encoder, tmp_path):
    head_file = fit_au(store, encoder, tmp_path / "au.safetensors", FitAuConfig(folds=2, smooth_s=0.08)).path
    embed(store, tmp_path / "raw", encoder, keep_guesses(smooth_s=0), au_model=head_file)
    for name, config, smooth_s in (("own", keep_guesses(), 0.08), ("other", keep_guesses(smooth_s=0.2), 0.2)):
        embed(store, tmp_path / name, encoder, config, au_model=head_file)
        for raw_file, file in zip(files_of(tmp_path / "raw").values(), files_of(tmp_path / name).values(), strict=True):
            raw, smoothed = pd.read_parquet(raw_file), pd.read_parquet(file)
            expected = smooth(raw[["AU01", "AU12"]].to_numpy(), raw["timestamp"].to_numpy(), smooth_s)
            np.testing.assert_allclose(smoothed[["AU01", "AU12"]], expected, atol=1e-5)
            cut = expected[:, 1] >= load_head(head_file).threshold[1]
            assert (smoothed["AU12_c"].dropna() == cut[~np.isnan(expected[:, 1])]).all()
            assert read_metadata(file)["au_smooth_s"] == smooth_s
            assert read_metadata(file)["au_head"]["smooth_s"] == 0.08


def test_smoothing_takes_blendshape_aus_but_leaves_blendshapes(store, encoder, tmp_path):
    embed(store, tmp_path, encoder, keep_guesses(blendshapes=True, smooth_s=0.1))
    table = load(tmp_path, subjects=["F001"])
    table = table[table["clip"] == "T1"]
    with Store(store) as opened:
        info = opened.clips[0]
        shapes, timestamps = opened.read(info, "blendshapes"), opened.read(info, "timestamp")
    np.testing.assert_array_equal(table[[f"bs_{name}" for name in BLENDSHAPE_NAMES]], shapes)
    expected = smooth(predict_from_blendshapes(shapes), timestamps, 0.1)
    np.testing.assert_allclose(table[list(MAPPED_AUS)], expected, atol=1e-5)


def test_embedding_as_one_column_of_lists_holds_the_same_numbers(exported, store, head_file, encoder, tmp_path):
    embed(store, tmp_path, encoder, keep_guesses(embedding="list"), au_model=head_file)
    table, wide = load(tmp_path), load(exported.features)
    assert not any(name.startswith("emb_") for name in table.columns)
    face = wide["score"].notna()
    assert table["emb"].notna().tolist() == face.tolist()
    np.testing.assert_allclose(np.stack(table["emb"][face]), wide.filter(like="emb_")[face], atol=1e-5)
    assert np.stack(table["emb"][face]).dtype == np.float32
    pd.testing.assert_frame_equal(table.drop(columns="emb"), wide[table.columns.drop("emb")], atol=1e-5)
    column = pq.read_schema(files_of(tmp_path)["subject=F001/T1.parquet"]).field("emb")
    assert column.type == pa.list_(pa.float32(), 8) and column.metadata[b"description"] == b"Embedding"
    assert load(tmp_path, columns=["emb"]).columns.tolist() == ["subject", "emb"]


def test_without_embedding_and_head_no_encoder_runs(store, encoder, tmp_path):
    embed(store, tmp_path, encoder, keep_guesses(embedding="none"))
    assert encoder.sizes == [] and not load(tmp_path).filter(like="emb").columns.tolist()
    assert read_metadata(files_of(tmp_path)["subject=F001/T1.parquet"])["encoder"] is None
    assert embed(store, tmp_path, None, keep_guesses(embedding="none"), au_model="blendshapes").n_skipped == 4
    assert len(pd.read_parquet(tmp_path)) == 80


def test_a_head_needs_its_encoder_also_without_the_embedding(exported, store, head_file, encoder, tmp_path):
    embed(store, tmp_path, encoder, keep_guesses(embedding="none"), au_model=head_file)
    table = load(tmp_path)
    pd.testing.assert_frame_equal(table, load(exported.features)[table.columns], atol=1e-5)
    with pytest.raises(SettingError, match="Give --encoder"):
        embed(store, tmp_path / "other", None, keep_guesses(embedding="none"), au_model=head_file)


def test_chosen_columns_are_written_with_the_keys(exported, store, head_file, encoder, tmp_path):
    config = keep_guesses(columns="pitch, AU*, emb_00[01]")
    result = embed(store, tmp_path, encoder, config, au_model=head_file)
    table = load(tmp_path)
    expected = ["subject", "clip", "frame", "timestamp", "pitch", "AU01", "AU12", "AU01_c", "AU12_c"]
    expected += ["AU01_true", "AU12_true", "emb_000", "emb_001"]
    assert table.columns.tolist() == expected and result.n_columns == len(pd.read_parquet(tmp_path).columns)
    pd.testing.assert_frame_equal(table, load(exported.features)[expected], atol=1e-5)
    assert read_metadata(files_of(tmp_path)["subject=F001/T1.parquet"])["columns"] == expected[1:]
    with pytest.raises(StoreError, match=r"Unknown column 'AU99'. Known columns: AU01, .*emb_000 ... emb_007, face_px"):
        embed(store, tmp_path, encoder, keep_guesses(columns="frame,AU99"), au_model=head_file)


def test_columns_without_predictions_need_no_head(store, head_file, encoder, tmp_path):
    result = embed(store, tmp_path, encoder, keep_guesses(columns="pitch"), au_model=head_file)
    assert encoder.sizes == [] and result.au_source == "none"
    assert load(tmp_path).columns.tolist() == ["subject", "clip", "frame", "timestamp", "pitch"]


@pytest.mark.parametrize(
    "config",
    [keep_guesses(embedding="list"), keep_guesses(columns="AU*"), keep_guesses(smooth_s=0.1)],
)
def test_other_choices_are_written_again_and_then_kept(store, encoder, tmp_path, config):
    embed(store, tmp_path, encoder, keep_guesses())
    assert embed(store, tmp_path, encoder, config, replace=True).n_skipped == 0
    assert embed(store, tmp_path, encoder, config).n_skipped == 4


OTHER_CHOICES = [
    ({}, {"embedding": "list"}, "auto", "embedding 'wide'"),
    ({}, {"columns": "AU*"}, "auto", "another encoder \\(resnet18\\), all columns"),
    ({"smooth_s": 0.1}, {}, "auto", "smoothing over 0.1 s"),
    ({}, {}, "head", "AUs from blendshapes"),
    ({"columns": "pitch", "embedding": "none"}, {"columns": "yaw", "embedding": "none"}, "auto", "columns 'pitch'"),
]


@pytest.mark.parametrize(("before", "now", "au_model", "told"), OTHER_CHOICES)
def test_features_of_other_choices_are_not_replaced_unasked(
    store, head_file, encoder, tmp_path, before, now, au_model, told
):
    embed(store, tmp_path, encoder, keep_guesses(**before))
    kept = stamps(tmp_path)
    (tmp_path / "subject=F001" / "T1.parquet").unlink()  # an interrupted run is not excepted
    del kept["subject=F001/T1.parquet"]
    with pytest.raises(ReplacementError, match=f"3 of its files were made with {told}. Give another .* or --replace"):
        embed(store, tmp_path, encoder, keep_guesses(**now), au_model=head_file if au_model == "head" else au_model)
    assert stamps(tmp_path) == kept


def test_labels_that_were_added_and_an_equal_number_of_another_version_are_no_choice(copy, encoder, tmp_path):
    embed(copy, tmp_path / "features", encoder, keep_guesses())
    edit(copy, "F001", lambda file: file["clips/T1/au"].attrs.update(names=["AU02", "AU12"]))
    result = embed(copy, tmp_path / "features", encoder, keep_guesses())
    assert result.n_skipped == 0 and "AU02_true" in load(tmp_path / "features")
    for path in (tmp_path / "features").rglob("*.parquet"):
        write_table(path, pq.read_table(path, partitioning=None), read_metadata(path) | {"tclr_version": "0.0.1"})
    assert embed(copy, tmp_path / "features", encoder, keep_guesses()).n_skipped == 0


@pytest.mark.parametrize(
    "config", [keep_guesses(embedding="list"), keep_guesses(embedding="none", columns="AU*,pitch")]
)
def test_report_reads_whatever_was_written(store, encoder, tmp_path, config):
    embed(store, tmp_path / "features", encoder, config)
    page = write_report(store, tmp_path / "r.html", features=tmp_path / "features").read_text()
    timelines = re.findall(r'data-plot="(timeline-\d+)"', page)
    assert sorted(timelines) == [f"timeline-{i}" for i in range(1, 5)]  # one a clip
